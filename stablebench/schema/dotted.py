"""Nested values by dotted key: `optim.lr`, `train.steps`."""

from collections.abc import Mapping
from typing import Any


def dotted(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested values in one level, by dotted key; an empty mapping is a value like any other."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        nested = isinstance(value, Mapping) and value
        flat |= dotted(value, f"{prefix}{key}.") if nested else {f"{prefix}{key}": value}
    return flat


def laid_over(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Return `below` with the values of `above` in their places, also inside groups."""
    merged = dict(below)
    for key, value in above.items():
        here = merged.get(key)
        merged[key] = laid_over(here, value) if isinstance(here, Mapping) and isinstance(value, Mapping) else value
    return merged
