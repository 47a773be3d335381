"""Percentile bootstrap intervals, resampled within strata.

The interval draws from its own generator, so global random state has no influence, and from the same draws for
every row with as many scores, so two rows with equal scores have equal intervals.

Reference: Agarwal, Schwarzer, Castro, Courville, Bellemare. Deep Reinforcement Learning at the Edge of the Statistical
    Precipice. NeurIPS 2021. https://arxiv.org/abs/2108.13264 (interquartile mean, stratified bootstrap)
"""

from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

from stablebench.stats.summary import Statistic, of_ascending_rows, refuse_infinite

if TYPE_CHECKING:
    import numpy as np

Interval = tuple[float, float]
"""Both ends."""

RESAMPLES = 2000
"""Moves the ends of a 95 % interval by a few hundredths of its width from seed to seed of the generator."""
_BLOCK = 2**18
"""Scores of resamples processed at once: 2 MB, which stay in a processor's cache."""
_MAX_CACHED_INDICES = 2**20
"""Indices of resamples cached for the next row or pair with as many scores: 4 MB each."""
_MAX_CACHED_COUNTS = 2**19
"""Counts of resamples cached likewise: 2 MB each."""


def bootstrap_interval(
    scores: Sequence[float], statistic: Statistic = "iqm", confidence: float = 0.95, seed: int = 0
) -> Interval | None:
    """Return the percentile bootstrap interval of a statistic, None where there are fewer than two scores.

    Args:
        scores: Finite scores, one a seed.
        statistic: What the interval is for.
        confidence: The share of resamples inside, in (0, 1).
        seed: Seed of the draws.
    """
    return stratified_interval([scores], statistic, confidence, seed)


def stratified_interval(
    strata: Sequence[Sequence[float]], statistic: Statistic = "iqm", confidence: float = 0.95, seed: int = 0
) -> Interval | None:
    """Return the interval of one statistic; see `stratified_intervals`."""
    return stratified_intervals(strata, [statistic], confidence, seed)[0]


def stratified_intervals(
    strata: Sequence[Sequence[float]], statistics: Sequence[Statistic], confidence: float = 0.95, seed: int = 0
) -> list[Interval | None]:
    """Return the percentile bootstrap intervals of statistics of all scores, resampled within each stratum.

    Args:
        strata: The scores of each task, one a seed.
        statistics: What the intervals are for, over the scores of all strata together; from the same resamples.
        confidence: The share of resamples inside, in (0, 1).
        seed: Seed of the draws.

    Returns:
        Both ends of each; None where a stratum has fewer than two scores and nothing is known about its spread.
    """
    import numpy as np

    if not strata or any(len(scores) < 2 for scores in strata):
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
    ends = [(1 - confidence) / 2, (1 + confidence) / 2]
    intervals = [np.quantile(np.concatenate(of_statistic), ends).tolist() for of_statistic in values]
    return [(low, high) for low, high in intervals]


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
