"""One row: the runs of one spec on one engine and device, their seeds summed up."""

import math
import statistics
from collections import Counter
from collections.abc import Sequence
from typing import Any

from stablebench.metrics import higher_is_better
from stablebench.schema.run_record import RunRecord
from stablebench.stats import bootstrap_interval, iqm

ENDED = ("finished", "diverged")
"""Statuses of runs that count."""


def row_of(records: list[RunRecord]) -> dict[str, Any]:
    """Return the row of runs that differ in their seed alone: numbers, texts and None."""
    records = sorted(records, key=lambda record: record.spec.seed)
    first, metric = records[0], records[0].metric
    ended = [r for r in records if r.status in ENDED]
    scores = {r.spec.seed: r.result.test[metric] for r in records if _is_scored(r) and r.result.test}
    values = list(scores.values())
    diverged = sum(r.status == "diverged" for r in records)
    interval = None if diverged else bootstrap_interval(values)
    others = sorted({name for r in records if _is_scored(r) for name in r.result.test or {}} - {metric})
    return {
        "name": first.spec.model.label,
        "model": first.spec.model.label,
        "spec_hash": first.spec_hash,
        "engine": first.environment.engine,
        "device": first.environment.device,
        "hidden": first.spec.model.hidden,
        "rank": None,
        "best": False,
        "score": _median_with_worst(values, diverged, metric),
        "min": min(values, default=None),
        "max": max(values, default=None),
        "iqm": iqm(values) if values else None,
        "interval": None if interval is None else list(interval),
        "n": len(values),
        "seeds": {str(seed): value for seed, value in scores.items()},
        "others": {name: _median_of_others(records, name) for name in others},
        "ended": len(ended),
        "diverged": diverged,
        "statuses": dict(sorted(Counter(r.status for r in records).items())),
        "tested": first.result.tested,
        **_arrivals(ended, "baseline"),
        **_arrivals(ended, "target"),
        "parameters": first.parameters,
        "steps_per_s": _median([r.result.steps_per_s for r in ended if r.result.steps_per_s is not None]),
        "peak_bytes": max((r.result.peak_bytes for r in ended if r.result.peak_bytes is not None), default=None),
    }


def _is_scored(record: RunRecord) -> bool:
    return record.status == "finished" and record.metric in (record.result.test or {})


def _median_of_others(records: list[RunRecord], name: str) -> float | None:
    tests = [r.result.test or {} for r in records if _is_scored(r)]
    return _median([test[name] for test in tests if name in test])


def _median(values: Sequence[float]) -> float | None:
    return float(statistics.median(values)) if values else None


def _median_with_worst(values: list[float], worst: int, metric: str) -> float | None:
    """Return the median of `values` and `worst` more that are worse than any; None if that is no number."""
    sign = -1.0 if higher_is_better(metric) else 1.0
    signed = [sign * value for value in values] + [math.inf] * worst
    middle = _median(signed)
    return None if middle is None or not math.isfinite(middle) else sign * middle


def _arrivals(ended: list[RunRecord], goal: str) -> dict[str, Any]:
    """Return the median steps and seconds to a goal, and how many of the ended runs got there."""
    found: dict[str, Any] = {}
    for unit in ("steps", "seconds"):
        values = [getattr(r.result, f"{unit}_to_{goal}") for r in ended]
        middle = _median([math.inf if v is None else v for v in values])
        found[f"{unit}_to_{goal}"] = middle if middle is not None and math.isfinite(middle) else None
    found[f"reached_{goal}"] = sum(getattr(r.result, f"steps_to_{goal}") is not None for r in ended)
    return found
