"""What an optimiser does to parameters, ordinary ones and those on a group of matrices."""
