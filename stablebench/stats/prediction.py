"""How well one number of each run, known early, tells how runs end: rank correlation, prediction of unseen models."""

from collections.abc import Sequence
from functools import cache

import numpy
from scipy import stats

from stablebench.schema.leaderboard_statistics import Interval

MIN_MODELS = 5
"""Models below which nothing is said: their ranks can be ordered by chance too easily."""
RESAMPLES = 2000
_CONFIDENCE = 0.95


def rank_correlation(x: Sequence[float], y: Sequence[float]) -> float | None:
    """Return Spearman's rank correlation, -1 to 1; None where either is constant or there are fewer than three.

    Args:
        x: One number a run; infinite ones are ranked as such.
        y: Another, as many.
    """
    if len(x) < 3:
        return None
    a, b = stats.rankdata(x), stats.rankdata(y)
    a, b = a - a.mean(), b - b.mean()
    size = numpy.sqrt((a @ a) * (b @ b))
    return float(a @ b / size) if size > 0 else None


def correlation_interval(
    x: Sequence[float], y: Sequence[float], models: Sequence[str], *, resamples: int = RESAMPLES, seed: int = 0
) -> Interval | None:
    """Return the 95 % bootstrap interval of the rank correlation, models resampled with all of their runs.

    Runs of one model are no independent pairs: with them resampled one by one the interval would be far too narrow.
    None below `MIN_MODELS` models.

    Args:
        x: One number a run.
        y: Another.
        models: The model of each run.
        resamples: Bootstrap samples.
        seed: Of the resampling.
    """
    names = sorted(set(models))
    if len(names) < MIN_MODELS:
        return None
    drawn = _drawn(len(names), resamples, seed)[:, numpy.searchsorted(names, models)]
    values = _weighted_correlations(numpy.asarray(x, dtype=float), numpy.asarray(y, dtype=float), drawn)
    tail = (1 - _CONFIDENCE) / 2
    low, high = numpy.quantile(values, [tail, 1 - tail])
    return float(low), float(high)


@cache
def _drawn(models: int, resamples: int, seed: int) -> numpy.ndarray:
    """Return how often each model is drawn in each resample, (resamples, models)."""
    random = numpy.random.default_rng(seed)
    draws = [random.integers(models, size=models) for _ in range(resamples)]
    return numpy.stack([numpy.bincount(draw, minlength=models) for draw in draws]).astype(float)


def _weighted_correlations(x: numpy.ndarray, y: numpy.ndarray, weights: numpy.ndarray) -> numpy.ndarray:
    """Return Spearman's rank correlation in each resample, (resamples); 0 where it is not defined.

    Args:
        x: One number a run.
        y: Another.
        weights: How often each run is drawn, (resamples, runs).
    """
    a, b = _weighted_ranks(x, weights), _weighted_ranks(y, weights)
    size = numpy.sqrt((weights * a * a).sum(1) * (weights * b * b).sum(1))  # exactly 0 of equal ranks
    return numpy.where(size > 0, (weights * a * b).sum(1) / numpy.where(size > 0, size, 1.0), 0.0)


def _weighted_ranks(values: numpy.ndarray, weights: numpy.ndarray) -> numpy.ndarray:
    """Return the ranks of runs less their mean in each resample, (resamples, runs)."""
    known, group = numpy.unique(values, return_inverse=True)
    sizes = weights @ (group[:, None] == numpy.arange(len(known))).astype(float)  # of equal values, (resamples, known)
    ranks = (sizes.cumsum(1) - sizes / 2 + 0.5)[:, group]  # equal ones share the mean of their ranks
    return ranks - (weights * ranks).sum(1, keepdims=True) / weights.sum(1, keepdims=True)


def left_out_skill(x: Sequence[float], y: Sequence[float], models: Sequence[str]) -> float | None:
    """Return how much better a model's rank is predicted from `x` than without it, the model itself left out.

    The ranks of `y` (0 the worst run, 1 the best) of a model's runs are predicted by a straight line over the ranks of
    `x`, fitted to the runs of all other models; the trivial prediction is the mean rank of those. Returned is 1 - the
    mean absolute error over the trivial one's: 1 is exact, 0 no better than without `x`, below 0 worse.

    Args:
        x: One number a run.
        y: How it ended.
        models: The model of each run.

    Returns:
        The skill; None below `MIN_MODELS` models, or where all ended alike.
    """
    names = sorted(set(models))
    if len(names) < MIN_MODELS:
        return None
    ranks, values = _unit_ranks(y), numpy.asarray(x, dtype=float)
    of_model = numpy.asarray(models)
    error = trivial = 0.0
    for name in names:
        out = of_model == name
        known = numpy.sort(values[~out])
        place = (known.searchsorted(values, "left") + known.searchsorted(values, "right")) / (2 * len(known))
        line = numpy.polynomial.polynomial.polyfit(place[~out], ranks[~out], 1) if numpy.ptp(place[~out]) > 0 else None
        mean = ranks[~out].mean()
        predicted = numpy.full(out.sum(), mean) if line is None else line[0] + line[1] * place[out]
        error += float(numpy.abs(ranks[out] - predicted).sum())
        trivial += float(numpy.abs(ranks[out] - mean).sum())
    return None if trivial == 0 else 1 - error / trivial


def _unit_ranks(y: Sequence[float]) -> numpy.ndarray:
    return (stats.rankdata(y) - 1) / max(len(y) - 1, 1)
