"""Percentile bootstrap intervals, resampled within strata.

The interval draws from a generator of its own, so global random state has no influence, and from the same draws for
every row with as many scores, so two rows with equal scores have equal intervals.

Reference: Agarwal, Schwarzer, Castro, Courville, Bellemare. Deep Reinforcement Learning at the Edge of the Statistical
    Precipice. NeurIPS 2021. https://arxiv.org/abs/2108.13264 (interquartile mean, stratified bootstrap)
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

from stablebench.stats.summary import Statistic, along_rows, refuse_infinite

if TYPE_CHECKING:
    import numpy as np

RESAMPLES = 2000
"""Moves the ends of a 95 % interval by a few hundredths of its width from seed to seed of the generator."""


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
    refuse_infinite([x for scores in strata for x in scores])
    first = strata[0][0]
    if all(x == first for scores in strata for x in scores):
        return float(first), float(first)
    drawn = draws(tuple(len(scores) for scores in strata), seed)
    samples = [np.asarray(scores, dtype=float)[index] for scores, index in zip(strata, drawn, strict=True)]
    values = along_rows(np.concatenate(samples, axis=1), statistic)
    low, high = np.quantile(values, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)


@lru_cache(maxsize=16)
def draws(sizes: tuple[int, ...], seed: int) -> "tuple[np.ndarray, ...]":
    """Return for each stratum the indices of all resamples, (resamples, size).

    Strata are drawn independently of each other.

    Args:
        sizes: Of the strata.
        seed: Of the generator, which is used for nothing else.
    """
    import numpy as np

    rng = np.random.default_rng(seed)
    return tuple(rng.integers(n, size=(RESAMPLES, n)).astype(np.int32) for n in sizes)


@lru_cache(maxsize=64)
def shares(sizes: tuple[int, ...], seed: int) -> "tuple[np.ndarray, ...]":
    """Return for each stratum the share that each of its scores has of each resample, (resamples, size).

    Args:
        sizes: Of the strata.
        seed: As for `draws`, whose resamples these are.
    """
    import numpy as np

    found = []
    for size, drawn in zip(sizes, draws(sizes, seed), strict=True):
        counts = np.zeros((RESAMPLES, size))
        np.add.at(counts, (np.arange(RESAMPLES)[:, None], drawn), 1)
        found.append(counts / size)
    return tuple(found)
