"""A few repetitions in three numbers, and the power law through times at several sizes."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Spread:
    """A median with the quartiles around it."""

    median: float
    q1: float
    q3: float


@dataclass(frozen=True)
class PowerLaw:
    """value = factor * size^exponent, the least squares line through the logarithms.

    Args:
        exponent: Its slope.
        factor: The value at size 1.
        r2: The share of the variance of log(value) that it explains; NaN where there is none.
    """

    exponent: float
    factor: float
    r2: float


def spread(values: Sequence[float]) -> Spread:
    """Return median and quartiles, interpolated linearly between the values."""
    q1, median, q3 = np.quantile(values, [0.25, 0.5, 0.75]).tolist()
    return Spread(median, q1, q3)


def paired_ratios(numerators: Sequence[float], denominators: Sequence[float]) -> list[float]:
    """Return the ratio of each repetition; what slows both down for a while leaves it as it is."""
    return [a / b for a, b in zip(numerators, denominators, strict=True)]


def power_law(sizes: Sequence[float], values: Sequence[float]) -> PowerLaw:
    """Return the power law through values > 0 at two or more different sizes > 0."""
    if len(set(sizes)) < 2:
        raise ValueError(f"a power law needs two different sizes, got {list(sizes)}.")
    x, y = np.log(np.asarray(sizes, dtype=float)), np.log(np.asarray(values, dtype=float))
    dx, dy = x - x.mean(), y - y.mean()
    exponent = float(dx @ dy / (dx @ dx))
    variance = float(dy @ dy)
    error = float(np.square(dy - exponent * dx).sum())
    return PowerLaw(exponent, math.exp(y.mean() - exponent * x.mean()), 1 - error / variance if variance else math.nan)
