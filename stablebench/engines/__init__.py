"""Engines run a model's chain over time or layers. `reference` defines the model, the others compute the same."""

from stablebench.engines.select import Choice, choose

__all__ = ["Choice", "choose"]
