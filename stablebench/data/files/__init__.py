"""One file a data set: where it lies, how it is fetched, verified and read."""
