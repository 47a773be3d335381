"""A search space in full."""

from stablebench import registry
from stablebench.cli.shared.text import format_value, format_values
from stablebench.cli.show.description import Description
from stablebench.schema.sweep import Dimension
from stablebench.tables import Table


def describe(name: str) -> Description:
    """Return what a search space searches, and how."""
    sweep = registry.sweep(name)
    made_for = f"Made for {sweep.model or 'any model'} on {sweep.task or 'any task'}"
    text = "\n".join(
        [
            f"{name}: {sweep.summary}",
            f"From: {sweep.source}",
            made_for + (f"; sampler {sweep.sampler}" if sweep.sampler else ""),
            *([f"Every trial: {format_values(sweep.overrides)}"] if sweep.overrides else []),
        ]
    )
    rows = [[key, _searched(dimension)] for key, dimension in sweep.space.items()]
    table = Table(["key", "searched"], rows, wrap=frozenset({"searched"}))
    return Description({"name": name, **sweep.model_dump(mode="json")}, text, [table])


def _searched(dimension: Dimension) -> str:
    if dimension.choices is not None:
        return ", ".join(map(format_value, dimension.choices))
    how = ["logarithmic"] * dimension.log + ["whole numbers"] * dimension.integer
    how += [f"{dimension.points} points of a grid"] if dimension.points else []
    return ", ".join([f"{dimension.low:g} to {dimension.high:g}", *how])
