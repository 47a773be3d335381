"""Summaries of a few scores: interquartile mean, median, and a bootstrap interval that says how far to trust them.

The interval draws from a generator of its own, so global random state has no influence, and from the same draws for
every row with as many scores, so two rows with equal scores have equal intervals.

Reference: Agarwal, Schwarzer, Castro, Courville, Bellemare. Deep Reinforcement Learning at the Edge of the Statistical
    Precipice. NeurIPS 2021. https://arxiv.org/abs/2108.13264 (interquartile mean, stratified bootstrap)
"""

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import numpy as np

Statistic = Literal["iqm", "median"]
RESAMPLES = 2000
"""Moves the ends of a 95 % interval by a few hundredths of its width from seed to seed of the generator."""


def iqm(scores: Sequence[float]) -> float:
    """Return the interquartile mean: a quarter of the scores, rounded down, is left out at either end."""
    return _summary(scores, "iqm")


def median(scores: Sequence[float]) -> float:
    """Return the median; of an even number the mean of the middle two."""
    return _summary(scores, "median")


def bootstrap_interval(
    scores: Sequence[float], statistic: Statistic = "iqm", confidence: float = 0.95, seed: int = 0
) -> tuple[float, float] | None:
    """Return the percentile bootstrap interval of a statistic, None where there are fewer than two scores.

    Args:
        scores: Finite scores, one a seed.
        statistic: What the interval is for.
        confidence: The share of resamples inside, in (0, 1).
        seed: Of the draws.
    """
    return stratified_interval([scores], statistic, confidence, seed)


def stratified_interval(
    strata: Sequence[Sequence[float]], statistic: Statistic = "iqm", confidence: float = 0.95, seed: int = 0
) -> tuple[float, float] | None:
    """Return the percentile bootstrap interval of a statistic of all scores, resampled within each stratum.

    Args:
        strata: The scores of each task, one a seed.
        statistic: What the interval is for, over the scores of all strata together.
        confidence: The share of resamples inside, in (0, 1).
        seed: Of the draws.

    Returns:
        Both ends; None where a stratum has fewer than two scores and nothing can be said about its spread.
    """
    import numpy as np

    if not strata or any(len(scores) < 2 for scores in strata):
        return None
    _refuse_infinite([x for scores in strata for x in scores])
    first = strata[0][0]
    if all(x == first for scores in strata for x in scores):
        return float(first), float(first)
    draws = _draws(tuple(len(scores) for scores in strata), seed)
    samples = [np.asarray(scores, dtype=float)[index] for scores, index in zip(strata, draws, strict=True)]
    values = _along_rows(np.concatenate(samples, axis=1), statistic)
    low, high = np.quantile(values, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)


def _summary(scores: Sequence[float], statistic: Statistic) -> float:
    import numpy as np

    if not len(scores):
        raise ValueError(f"the {statistic} needs at least one score.")
    _refuse_infinite(scores)
    return float(_along_rows(np.asarray([scores], dtype=float), statistic)[0])


def _along_rows(values: "np.ndarray", statistic: Statistic) -> "np.ndarray":
    import numpy as np

    if statistic == "median":
        return np.median(values, axis=1)
    n = values.shape[1]
    cut = n // 4  # as scipy.stats.trim_mean(x, 0.25)
    return np.sort(values, axis=1)[:, cut : n - cut].mean(axis=1)


@lru_cache(maxsize=64)
def _draws(sizes: tuple[int, ...], seed: int) -> "tuple[np.ndarray, ...]":
    """Return for each stratum the indices of all resamples, (resamples, size)."""
    import numpy as np

    rng = np.random.default_rng(seed)
    return tuple(rng.integers(n, size=(RESAMPLES, n)) for n in sizes)


def _refuse_infinite(scores: Sequence[float]) -> None:
    bad = [x for x in scores if not math.isfinite(x)]
    if bad:
        raise ValueError(f"scores must be finite, got {bad[0]}; count diverged runs apart.")
