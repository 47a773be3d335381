"""Checks, by running it, that a model keeps to the contract of `stablebench.models.base`."""
