"""Percentile bootstrap intervals, resampled within strata.

The interval draws from its own generator, so global random state has no influence, and from the same draws for
every row with as many scores, so two rows with equal scores have equal intervals.

Reference: Agarwal, Schwarzer, Castro, Courville, Bellemare. Deep Reinforcement Learning at the Edge of the Statistical
    Precipice. NeurIPS 2021. https://arxiv.org/abs/2108.13264 (interquartile mean, stratified bootstrap)
"""

from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

from stablebench.stats.summary import Statistic, along_rows, refuse_infinite

if TYPE_CHECKING:
    import numpy as np

RESAMPLES = 2000
"""Moves the ends of a 95 % interval by a few hundredths of its width from seed to seed of the generator."""
_BLOCK = 2**18
"""Scores of resamples processed at once: 2 MB, which stay in a processor's cache."""
_MAX_CACHED_INDICES = 2**20
"""Indices of resamples cached for the next row or pair with as many scores: 4 MB each."""


def bootstrap_interval(
    scores: Sequence[float], statistic: Statistic = "iqm", confidence: float = 0.95, seed: int = 0
) -> tuple[float, float] | None:
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
) -> tuple[float, float] | None:
    """Return the percentile bootstrap interval of a statistic of all scores, resampled within each stratum.

    Args:
        strata: The scores of each task, one a seed.
        statistic: What the interval is for, over the scores of all strata together.
        confidence: The share of resamples inside, in (0, 1).
        seed: Seed of the draws.

    Returns:
        Both ends; None where a stratum has fewer than two scores and nothing is known about its spread.
    """
    import numpy as np

    if not strata or any(len(scores) < 2 for scores in strata):
        return None
    refuse_infinite([x for scores in strata for x in scores])
    first = strata[0][0]
    if all(x == first for scores in strata for x in scores):
        return float(first), float(first)
    sizes = tuple(len(scores) for scores in strata)
    arrays = [np.asarray(scores, dtype=float) for scores in strata]
    drawn = draws(sizes, seed)
    values = []
    for rows in blocks(sum(sizes)):
        samples = [scores[index[rows]] for scores, index in zip(arrays, drawn, strict=True)]
        values.append(along_rows(np.concatenate(samples, axis=1), statistic))
    low, high = np.quantile(np.concatenate(values), [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)


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


def shares(sizes: tuple[int, ...], seed: int) -> "Iterator[tuple[np.ndarray, ...]]":
    """Yield for each stratum the share that each of its scores has of each resample, (resamples of a block, size).

    Args:
        sizes: Scores of each stratum.
        seed: As for `draws`, whose resamples these are.
    """
    if RESAMPLES * sum(sizes) <= _BLOCK:
        yield _all_shares(sizes, seed)
        return
    drawn = draws(sizes, seed)
    for rows in blocks(sum(sizes)):
        yield tuple(_shares(index[rows], size) for index, size in zip(drawn, sizes, strict=True))


@lru_cache(maxsize=64)
def _all_shares(sizes: tuple[int, ...], seed: int) -> "tuple[np.ndarray, ...]":
    return tuple(_shares(index, size) for index, size in zip(draws(sizes, seed), sizes, strict=True))


def _shares(drawn: "np.ndarray", size: int) -> "np.ndarray":
    import numpy as np

    first = size * np.arange(len(drawn))[:, None]
    counts = np.bincount((drawn + first).ravel(), minlength=size * len(drawn))
    return counts.reshape(len(drawn), size) / size
