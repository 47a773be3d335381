"""Engines run a recurrent model's chain over time. `reference` defines the model, the others compute the same."""
