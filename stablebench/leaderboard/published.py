"""Published numbers beside ours."""

import statistics
from collections.abc import Mapping
from typing import Any

from stablebench.schema.card import Published, TaskCard

_PUBLISHED = {
    "loss": ("loss", 1.0),
    "cross_entropy": ("loss", 1.0),
    "mse": ("mse", 1.0),
    "test_mse": ("mse", 1.0),
    "accuracy": ("accuracy", 1.0),
    "accuracy_pct": ("accuracy", 0.01),
    "test_accuracy_pct": ("accuracy", 0.01),
}
"""The papers' names of a metric on test data, as ours and the factor to our unit; `_mean`, `_min` and `_max` may
follow."""


def has_params(card: TaskCard, variant: str | None, params: Mapping[str, Any]) -> bool:
    """Return whether a card's variant (None: the card itself) has these resolved parameters."""
    said = card.data.params | (card.variants.get(variant, {}) if variant else {})
    return all(name in params and params[name] == value for name, value in said.items())


def published(
    card: TaskCard, params: Mapping[str, Any], rows: list[dict[str, Any]], metric: str
) -> list[dict[str, Any]]:
    """Return the numbers that a card's papers report at these parameters, with ours of the same model beside each.

    Args:
        card: The task's card.
        params: The table's resolved parameters.
        rows: The table's rows, the best first.
        metric: What they are ranked by.
    """
    found = []
    for entry in card.published:
        if entry.value is None or isinstance(entry.value, bool) or not has_params(card, entry.variant, params):
            continue
        name, factor, summary = _our_metric(entry.metric)
        row = next((row for row in rows if row["model"] == entry.model), None)
        found.append(
            {
                "key": entry.key,
                "model": entry.model,
                "metric": name or entry.metric,
                "published": entry.value * factor,
                "ours": None if row is None else _ours(row, name, summary, metric, entry),
                "units": entry.units,
                "protocol": entry.protocol,
                "differs": entry.differs,
                "source": entry.source,
                "where": entry.where,
            }
        )
    return found


def _our_metric(published: str) -> tuple[str | None, float, str]:
    base, _, summary = published.rpartition("_")
    if summary not in ("mean", "min", "max"):
        base, summary = published, "median"
    name, factor = _PUBLISHED.get(base, (None, 1.0))
    return name, factor, summary


def _ours(row: dict[str, Any], name: str | None, summary: str, metric: str, entry: Published) -> float | None:
    if entry.metric == "nan_trials":
        return float(row["diverged"])
    if entry.metric.startswith("iterations_to_beat_baseline"):
        return row["steps_to_baseline"]
    if name is None:
        return None
    if name != metric:
        return row["others"].get(name)
    if summary == "median" or row["score"] is None:
        return row["score"]
    values = list(row["seeds"].values())
    return {"mean": statistics.fmean, "min": min, "max": max}[summary](values)
