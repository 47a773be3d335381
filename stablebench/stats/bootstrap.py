"""Percentile bootstrap intervals, resampled within strata.

The interval draws from its own generator, so global random state has no influence, and from the same draws for
every row with as many scores, so two rows with equal scores have equal intervals.

A bootstrap distribution of n scores is too narrow by sqrt((n - 1) / n), and knows nothing of Student's t. The quantiles
that are taken of it are therefore farther out, as Hesterberg has them; without that a 95 % interval of five seeds
covers 89 %.

References: Agarwal, Schwarzer, Castro, Courville, Bellemare. Deep Reinforcement Learning at the Edge of the Statistical
    Precipice. NeurIPS 2021. https://arxiv.org/abs/2108.13264 (interquartile mean, stratified bootstrap); Hesterberg.
    What Teachers Should Know About the Bootstrap. The American Statistician 69, 2015, section 5.3 (expanded quantiles)
"""

import math
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

from stablebench.stats.intervals import MIN_SEEDS, Interval
from stablebench.stats.summary import Statistic, of_ascending_rows, refuse_infinite

if TYPE_CHECKING:
    import numpy as np

RESAMPLES = 2000
"""Moves the ends of a 95 % interval by a few hundredths of its width from seed to seed of the generator."""
_BLOCK = 2**18
"""Scores of resamples processed at once: 2 MB, which stay in a processor's cache."""
_MAX_CACHED_INDICES = 2**20
"""Indices of resamples cached for the next row or pair with as many scores: 4 MB each."""
_MAX_CACHED_COUNTS = 2**19
"""Counts of resamples cached likewise: 2 MB each."""


def stratified_intervals(
    strata: Sequence[Sequence[float]], statistics: Sequence[Statistic], confidence: float = 0.95, seed: int = 0
) -> list[Interval | None]:
    """Return the percentile bootstrap intervals of statistics of all scores, resampled within each stratum.

    Args:
        strata: The scores of each task, one a seed.
        statistics: What the intervals are for, over the scores of all strata together; from the same resamples.
        confidence: What the intervals are to cover, in (0, 1).
        seed: Seed of the draws.

    Returns:
        Both ends of each; None where a stratum has fewer than five scores.
    """
    import numpy as np

    if not strata or any(len(scores) < MIN_SEEDS for scores in strata):
        return [None] * len(statistics)
    pooled = np.asarray([x for scores in strata for x in scores], dtype=float)
    refuse_infinite(pooled.tolist())
    if (pooled == pooled[0]).all():
        return [(float(pooled[0]), float(pooled[0]))] * len(statistics)
    order = np.argsort(pooled, kind="stable")
    values: list[list[np.ndarray]] = [[] for _ in statistics]
    for drawn in counts(tuple(len(scores) for scores in strata), seed):
        times = np.concatenate(drawn)[order].T.astype(np.int64)
        ascending = np.repeat(np.broadcast_to(pooled[order], times.shape).ravel(), times.ravel()).reshape(times.shape)
        for of_statistic, statistic in zip(values, statistics, strict=True):
            of_statistic.append(of_ascending_rows(ascending, statistic))
    ends = expanded_ends([len(scores) for scores in strata], confidence)
    intervals = [np.quantile(np.concatenate(of_statistic), ends).tolist() for of_statistic in values]
    return [(low, high) for low, high in intervals]


def expanded_ends(sizes: Sequence[int], confidence: float) -> list[float]:
    """Return the two shares of a bootstrap distribution between which an interval lies.

    Args:
        sizes: Scores of each stratum, >= 2.
        confidence: What the interval is to cover, in (0, 1).
    """
    from scipy import special

    shrinks = min(sizes) / (min(sizes) - 1)
    lower = -math.sqrt(shrinks) * special.stdtrit(sum(sizes) - len(sizes), (1 + confidence) / 2)
    tail = float(special.ndtr(lower))
    return [tail, 1 - tail]


def blocks(size: int) -> Iterator[slice]:
    """Yield slices of the resamples, in order: so many at once as stay in the processor's cache.

    Args:
        size: Scores of a resample.
    """
    rows = max(1, _BLOCK // size)
    for first in range(0, RESAMPLES, rows):
        yield slice(first, min(first + rows, RESAMPLES))


def each_draw(sizes: tuple[int, ...], seed: int) -> "Iterator[np.ndarray]":
    """Yield the arrays of `draws`; of many scores, one stratum's is in memory at a time."""
    if RESAMPLES * sum(sizes) <= _MAX_CACHED_INDICES:
        yield from _cached_draws(sizes, seed)
    else:
        yield from _draw(sizes, seed)


def draws(sizes: tuple[int, ...], seed: int) -> "tuple[np.ndarray, ...]":
    """Return for each stratum the indices of all resamples, (resamples, size).

    Strata are drawn independently of each other.

    Args:
        sizes: Scores of each stratum.
        seed: Seed of the generator, which is used for nothing else.
    """
    few = RESAMPLES * sum(sizes) <= _MAX_CACHED_INDICES
    return _cached_draws(sizes, seed) if few else tuple(_draw(sizes, seed))


@lru_cache(maxsize=16)
def _cached_draws(sizes: tuple[int, ...], seed: int) -> "tuple[np.ndarray, ...]":
    return tuple(_draw(sizes, seed))


def _draw(sizes: tuple[int, ...], seed: int) -> "Iterator[np.ndarray]":
    import numpy as np

    rng = np.random.default_rng(seed)
    for n in sizes:
        yield rng.integers(n, size=(RESAMPLES, n), dtype=np.int32)


def counts(sizes: tuple[int, ...], seed: int) -> "Iterator[tuple[np.ndarray, ...]]":
    """Yield for each stratum how often each of its scores is drawn, (size, resamples of a block), as whole float32.

    Args:
        sizes: Scores of each stratum.
        seed: As for `draws`, whose resamples these are.
    """
    if RESAMPLES * sum(sizes) <= _MAX_CACHED_COUNTS:
        yield _all_counts(sizes, seed)
        return
    drawn = draws(sizes, seed)
    for rows in blocks(sum(sizes)):
        yield tuple(_counts(index[rows], size) for index, size in zip(drawn, sizes, strict=True))


@lru_cache(maxsize=64)
def _all_counts(sizes: tuple[int, ...], seed: int) -> "tuple[np.ndarray, ...]":
    return tuple(_counts(index, size) for index, size in zip(draws(sizes, seed), sizes, strict=True))


def _counts(drawn: "np.ndarray", size: int) -> "np.ndarray":
    import numpy as np

    n = len(drawn)
    counts = np.bincount((drawn * n + np.arange(n)[:, None]).ravel(), minlength=size * n)
    return counts.reshape(size, n).astype(np.float32)
