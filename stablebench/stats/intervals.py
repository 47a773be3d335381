"""Intervals of a few seeds that cover what they say: of the median from five seeds on, of the mean by Student's t.

The interval of the median runs from the k-th lowest to the k-th highest score. Of n independent scores it holds the
median with probability 1 - 2 P(B < k), B binomial (n, 1/2), whatever their distribution; ties make it more. k is the
largest with which that is 95 %; five seeds reach 93.75 % at most. Below five there is only the range, which covers 50 %
of two, 75 % of three and 87.5 % of four.

References: David, Nagaraja. Order Statistics. 2003, section 7.1 (the interval of the median); Student. The Probable
    Error of a Mean. Biometrika 6, 1908.
"""

import math
from collections.abc import Sequence
from functools import cache

from stablebench.stats.summary import mean, standard_error

Interval = tuple[float, float]
"""Both ends."""

MIN_SEEDS = 5
"""Below it there is no interval of a median, and no two models are told apart."""
CONFIDENCE = 0.95


@cache
def _order_of(n: int, confidence: float) -> int:
    """Return k, >= 1: the largest with which the interval covers enough, else 1."""
    k, left_out = 1, 2.0 ** (1 - n)
    while True:
        left_out += 2.0 ** (1 - n) * math.comb(n, k)
        if 1 - left_out < confidence:
            return k
        k += 1


def median_coverage(n: int, confidence: float = CONFIDENCE) -> float | None:
    """Return with which probability `median_interval` of n scores holds the median; None where there is none."""
    if n < MIN_SEEDS:
        return None
    return 1 - 2.0 ** (1 - n) * sum(math.comb(n, i) for i in range(_order_of(n, confidence)))


def median_interval(scores: Sequence[float], confidence: float = CONFIDENCE) -> Interval | None:
    """Return the interval of the median, None of fewer than five scores.

    Args:
        scores: One a seed; infinite ones are worse, or later, than all others.
        confidence: What it covers at least from six scores on, in (0, 1).

    Returns:
        Both ends, of which one may be infinite.
    """
    if len(scores) < MIN_SEEDS:
        return None
    ordered, k = sorted(scores), _order_of(len(scores), confidence)
    return ordered[k - 1], ordered[-k]


def student_interval(scores: Sequence[float], confidence: float = CONFIDENCE) -> Interval | None:
    """Return Student's interval of the mean, None of fewer than two scores; exact only where scores are normal.

    Args:
        scores: Finite, one a seed.
        confidence: In (0, 1).
    """
    error = standard_error(scores)
    if error is None:
        return None
    from scipy import special

    width = error * float(special.stdtrit(len(scores) - 1, (1 + confidence) / 2))
    return mean(scores) - width, mean(scores) + width
