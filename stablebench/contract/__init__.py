"""Whether a model that is run keeps to the contract of `stablebench.models.base`."""
