"""Summaries of a few scores: interquartile mean and median, and what papers print."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import numpy as np

Statistic = Literal["iqm", "median"]


def iqm(scores: Sequence[float]) -> float:
    """Return the interquartile mean: a quarter of the scores, rounded down, is left out at either end."""
    return _summary(scores, "iqm")


def median(scores: Sequence[float]) -> float:
    """Return the median; of an even number the mean of the middle two."""
    return _summary(scores, "median")


def mean(scores: Sequence[float]) -> float:
    """Return the arithmetic mean."""
    return math.fsum(_finite(scores, "mean")) / len(scores)


def standard_deviation(scores: Sequence[float]) -> float | None:
    """Return the standard deviation of the sample (n - 1 in the denominator), None of fewer than two scores."""
    import statistics

    return statistics.stdev(_finite(scores, "standard deviation")) if len(scores) > 1 else None


def standard_error(scores: Sequence[float]) -> float | None:
    """Return the standard error of the mean, None of fewer than two scores."""
    spread = standard_deviation(scores)
    return None if spread is None else spread / math.sqrt(len(scores))


def of_ascending_rows(values: "np.ndarray", statistic: Statistic) -> "np.ndarray":
    """Return a statistic of each row of an array of finite scores (n, scores), each row in ascending order."""
    n = values.shape[1]
    cut = (n - 1) // 2 if statistic == "median" else n // 4  # n // 4 as scipy.stats.trim_mean(x, 0.25)
    return values[:, cut : n - cut].mean(axis=1)


def medians_with_infinity(values: "np.ndarray") -> "np.ndarray":
    """Return the median of each row (n, scores); between a number and infinity lies infinity."""
    import numpy as np

    ordered, n = np.sort(values, axis=1), values.shape[1]
    lower, upper = ordered[:, (n - 1) // 2], ordered[:, n // 2]
    return np.where(np.isfinite(upper), (lower + upper) / 2, np.inf)


def refuse_infinite(scores: Sequence[float]) -> None:
    """Raise `ValueError` for a score that is no finite number."""
    bad = [x for x in scores if not math.isfinite(x)]
    if bad:
        raise ValueError(f"scores must be finite, got {bad[0]}; count diverged runs separately.")


def _summary(scores: Sequence[float], statistic: Statistic) -> float:
    import numpy as np

    return float(of_ascending_rows(np.sort([_finite(scores, statistic)]).astype(float), statistic)[0])


def _finite(scores: Sequence[float], name: str) -> Sequence[float]:
    if not len(scores):
        raise ValueError(f"the {name} needs at least one score.")
    refuse_infinite(scores)
    return scores
