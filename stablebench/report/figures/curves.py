"""Curves of several seeds as one: the median, and a band from the lowest to the highest, thinned to a few points."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from stablebench.runs.curve import read_curve
from stablebench.schema.leaderboard_statistics import Profile, TimeToGoal
from stablebench.schema.run_record import RunRecord

_MOST_KEPT = 4096
"""Points of a measured curve that are held: many times as many as are drawn."""


@dataclass(frozen=True)
class Line:
    """One line of a figure.

    Args:
        name: What the legend calls it.
        x: Where, increasing.
        y: Its values; one dot where there is one point and `dots`.
        low: Lower end of a band; empty for none.
        high: Its upper end.
        steps: Whether it is a step function.
        dots: Whether its points stand apart.
    """

    name: str
    x: Sequence[float]
    y: Sequence[float]
    low: Sequence[float] = ()
    high: Sequence[float] = ()
    steps: bool = False
    dots: bool = False


def band_of(
    name: str, seeds: Sequence[Mapping[float, float]], points: int, ended: Sequence[bool] | None = None
) -> Line | None:
    """Return the median over the seeds that have a value, and from two seeds on their lowest and highest as its band.

    Args:
        name: What the legend calls it.
        seeds: Finite values by x, one mapping a seed.
        points: How many points it may have, >= 2; evenly spaced ones stay, both ends among them.
        ended: Which seeds stopped because they were done: they keep their last value from there on. The others
            (diverged, broken off) are left out of the median from where they end.

    Returns:
        None where there is no value at all.
    """
    held = [dict(sorted(seed.items())) for seed in seeds]
    done = ended or [False] * len(held)
    rows: dict[float, list[float]] = {}
    for at in thinned(sorted({x for seed in held for x in seed}), points):
        values = [_value(seed, at, stays) for seed, stays in zip(held, done, strict=True)]
        if row := [value for value in values if value is not None]:
            rows[at] = row
    if not rows:
        return None
    middle, low, high = ([of(row) for row in rows.values()] for of in (median, min, max))
    return Line(name, list(rows), middle, low, high) if sum(map(bool, held)) > 1 else Line(name, list(rows), middle)


def arrivals_line(name: str, time: TimeToGoal | None) -> Line | None:
    """Return the share of runs that have arrived at a goal, by Kaplan and Meier; None where none was followed."""
    if time is None or not time.horizon:
        return None
    corners = [(at, 1 - share) for at, share in time.curve]
    corners.append((max(time.horizon, corners[-1][0]), corners[-1][1]))
    return Line(name, *zip(*corners, strict=True), steps=True)


def profile_lines(profile: Profile) -> list[Line]:
    """Return the performance profile of each model, none where no model solved a task."""
    if not any(row.solved for row in profile.rows):
        return []
    return [Line(row.name, *zip(*row.curve, strict=True), steps=True) for row in profile.rows]


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
    """Return what a run's curve file holds besides its losses: gradient norms, and what probes measured.

    Args:
        path: `metrics.jsonl`.

    Returns:
        By name, finite values by step, of long curves evenly thinned; empty where there is no such file.
    """
    curves: dict[str, ThinnedCurve] = {}
    for split, step, name, value in measures(path):
        if math.isfinite(value) and (split == "probe" or (split, name) == ("train", "gradient_norm")):
            curves.setdefault(name, ThinnedCurve()).add(float(step), value)
    return {name: curve.values() for name, curve in curves.items()}


def measures(path: Path) -> Iterator[tuple[str, float, str, float]]:
    """Yield split, step, name and value of every number in a run's curve file, none where there is no such file."""
    for line in read_curve(path):
        step, split = line.get("step"), str(line.get("split"))
        if isinstance(step, (int, float)):
            for name, value in line.items():
                if isinstance(value, (int, float)) and not isinstance(value, bool) and name not in ("step", "wall_s"):
                    yield split, step, current_name(name), float(value)


def current_name(measure: str) -> str:
    """Return what a measure of a curve file is called now: version 0.1 wrote `watched.` for `diagnostics.`."""
    first, dot, rest = measure.partition(".")
    return f"diagnostics{dot}{rest}" if first == "watched" else measure


class ThinnedCurve:
    """Values over steps of which, as they come, at most a fixed number is kept: every one, every second, fourth, ...

    The first and the last are always among them.

    Args:
        most: How many may be kept, even.
    """

    def __init__(self, most: int = _MOST_KEPT) -> None:
        self._most, self._every, self._seen = most, 1, 0
        self._kept: dict[float, float] = {}
        self._last: tuple[float, float] | None = None

    def add(self, step: float, value: float) -> None:
        """Take the next value; one of a step that is there takes its place."""
        if step in self._kept or self._seen % self._every == 0:
            self._kept[step] = value
            if len(self._kept) > self._most:
                self._every *= 2
                self._kept = dict(list(self._kept.items())[::2])
        self._last = (step, value)
        self._seen += 1

    def values(self) -> dict[float, float]:
        """Return the values, by step."""
        return self._kept | (dict([self._last]) if self._last is not None else {})
