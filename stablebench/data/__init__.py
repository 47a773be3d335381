"""Data: pure functions from sizes, parameters and a generator's state to tensors, and the real data sets."""
