"""Curves of several seeds as one: the median, and a band from the lowest to the highest, thinned to a few points."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from stablebench.schema.run_record import RunRecord
from stablebench.training.run_store import read_curve


@dataclass(frozen=True)
class Band:
    """Seeds over an axis.

    Args:
        x: Where, increasing.
        middle: Median over the seeds that have a value there.
        low: Their lowest value.
        high: Their highest.
        seeds: How many there are.
    """

    x: list[float]
    middle: list[float]
    low: list[float]
    high: list[float]
    seeds: int


def band_of(seeds: Sequence[Mapping[float, float]], points: int, ended: Sequence[bool] | None = None) -> Band | None:
    """Return the band of several seeds.

    Args:
        seeds: Finite values by x, one mapping a seed.
        points: How many points it may have, >= 2; evenly spaced ones stay, both ends among them.
        ended: Which seeds stopped because they were done: they keep their last value from there on. The others
            (diverged, broken off) are left out of the median from where they end.

    Returns:
        None where there is no value at all.
    """
    held = [dict(sorted(seed.items())) for seed in seeds]
    x = thinned(sorted({x for seed in held for x in seed}), points)
    done = ended or [False] * len(held)
    rows: list[list[float]] = []
    for at in x:
        values = [_value(seed, at, stays) for seed, stays in zip(held, done, strict=True)]
        rows.append([v for v in values if v is not None])
    kept = [(at, row) for at, row in zip(x, rows, strict=True) if row]
    if not kept:
        return None
    return Band(
        [at for at, _ in kept],
        [median(row) for _, row in kept],
        [min(row) for _, row in kept],
        [max(row) for _, row in kept],
        sum(bool(seed) for seed in held),
    )


def _value(seed: dict[float, float], at: float, stays: bool) -> float | None:
    if at in seed or not seed:
        return seed.get(at)
    last = next(reversed(seed))
    return seed[last] if stays and at > last else None


def thinned(values: Sequence[float], points: int) -> list[float]:
    """Return at most `points` of the values, evenly spaced in their order, the first and the last among them."""
    if len(values) <= points:
        return list(values)
    return [values[round(i * (len(values) - 1) / (points - 1))] for i in range(points)]


def learning_curve(record: RunRecord, metric: str) -> dict[float, float]:
    """Return a run's values of a metric on validation examples, by step."""
    return {float(e.step): e.metrics[metric] for e in record.evaluations if metric in e.metrics}


def measured(path: Path) -> dict[str, dict[float, float]]:
    """Return what a run's curve file holds beside its losses: gradient norms, and what probes measured.

    Args:
        path: `metrics.jsonl`.

    Returns:
        By name, finite values by step; empty where there is no such file.
    """
    found: dict[str, dict[float, float]] = {}
    for line in read_curve(path):
        step, split = line.get("step"), line.get("split")
        if not isinstance(step, (int, float)) or split not in ("train", "probe"):
            continue
        for name, value in line.items():
            number = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
            if number and name not in ("step", "wall_s") and (split == "probe" or name == "gradient_norm"):
                found.setdefault(name, {})[float(step)] = float(value)
    return found
