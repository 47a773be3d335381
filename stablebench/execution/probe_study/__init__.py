"""Do probes predict? What is measured of every run at its start, held against how it ended."""
