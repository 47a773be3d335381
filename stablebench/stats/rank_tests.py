"""Is one model better than another? Rank tests of every pair, corrected for their number, and what they would take.

The statistic of a task is the rank sum of one model's runs among both models' (Mann, Whitney); over several tasks the
share of pairs of runs that it wins is averaged (Mack, Skillings, with equal weights). Its distribution over all
arrangements of the runs within each task is exact, also with ties, while it is small; beyond that it is normal, with
the variance corrected for ties. Holm's procedure bounds the chance of any false positive among the pairs.

References: Mann, Whitney. Annals of Mathematical Statistics 18, 1947; Mack, Skillings. JASA 75, 1980; Holm. A Simple
    Sequentially Rejective Multiple Test Procedure. Scandinavian Journal of Statistics 6, 1979; Noether. Sample Size
    Determination for Some Common Nonparametric Tests. JASA 82, 1987; Birnbaum, Klose. Bounds for the Variance of the
    Mann-Whitney Statistic. Annals of Mathematical Statistics 28, 1957.
"""

import math
from collections.abc import Sequence
from functools import lru_cache
from itertools import combinations
from statistics import NormalDist
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import numpy as np

Alternative = Literal["two-sided", "lower"]
LEVEL = 0.05
POWER = 0.8
_EXACT_TIED = 12_870
"""Arrangements up to which the distribution with ties is computed: 8 seeds a side."""
_EXACT_PAIRS = 2_500
"""Pairs of seeds up to which the distribution without ties is computed: 50 seeds a side."""
_MANY = 1_000
"""Seeds beyond which an effect counts as one that no test will show."""


def pair_p_values(scores: Sequence[Sequence[float]]) -> list[tuple[int, int, float]]:
    """Return the two-sided p-value of every pair of models on one task, uncorrected.

    Args:
        scores: By model and seed; infinite for a diverged seed.

    Returns:
        Two positions, the first smaller, and p. A pair of which one has no seed is left out.
    """
    pairs = combinations(range(len(scores)), 2)
    return [(i, j, rank_sum_p([scores[i]], [scores[j]])) for i, j in pairs if scores[i] and scores[j]]


def rank_sum_p(
    x: Sequence[Sequence[float]], y: Sequence[Sequence[float]], alternative: Alternative = "two-sided"
) -> float:
    """Return the p-value of the scores of two models over tasks.

    Args:
        x: Scores by task and seed, at least one of each; infinite for a diverged seed.
        y: The other model's on the same tasks.
        alternative: Whether the two differ, or whether those of x are `lower`.
    """
    import numpy as np

    strata = [_stratum(a, b) for a, b in zip(x, y, strict=True)]
    sizes = {(len(a), len(b)) for a, b in zip(x, y, strict=True)}
    each = [_ways(ties, len(a)) for (ties, _), a in zip(strata, x, strict=True)] if len(sizes) == 1 else []
    ways = [way for way in each if way is not None]
    if len(ways) == len(x):
        total = np.ones(1)
        for way in ways:
            total = np.convolve(total, way)
        lowest = sum(_lowest(ties, len(a)) for (ties, _), a in zip(strata, x, strict=True))
        at = sum(doubled for _, doubled in strata) - lowest
        below = float(total[: at + 1].sum())
        if alternative == "lower":
            return min(1.0, below)
        twice_centre = 2 * (sum(len(a) * (len(a) + len(b) + 1) for a, b in zip(x, y, strict=True)) - lowest)
        positions = 2 * np.arange(len(total)) - twice_centre
        return min(1.0, float(total[np.abs(positions) >= abs(2 * at - twice_centre)].sum()))
    distance, variance, half_step = 0.0, 0.0, 0.0
    for (ties, doubled), a, b in zip(strata, x, y, strict=True):
        n, m = len(a), len(b)
        distance += (doubled / 2 - n * (n + m + 1) / 2) / (n * m)
        tied = sum(t**3 - t for t in ties) / ((n + m) * max(n + m - 1, 1))
        variance += (n + m + 1 - tied) / (12 * n * m)
        half_step = max(half_step, 0.5 / (n * m))
    if variance <= 0:
        return 1.0
    if alternative == "lower":
        return 0.5 * math.erfc(-(distance + half_step) / math.sqrt(2 * variance))
    return min(1.0, math.erfc((abs(distance) - half_step) / math.sqrt(2 * variance)))


def _stratum(a: Sequence[float], b: Sequence[float]) -> tuple[tuple[int, ...], int]:
    """Return how many runs share each value, in ascending order, and twice the rank sum of a."""
    import numpy as np

    _, of, sizes = np.unique([*a, *b], return_inverse=True, return_counts=True)
    doubled = 2 * np.cumsum(sizes) - sizes + 1
    return tuple(sizes.tolist()), int(doubled[of[: len(a)]].sum())


def _lowest(ties: tuple[int, ...], n: int) -> int:
    """Return twice the lowest rank sum of n runs."""
    total, first = 0, 0
    for size in ties:
        taken = min(size, n)
        total += taken * (2 * first + size + 1)
        first, n = first + size, n - taken
    return total


@lru_cache(maxsize=256)
def _ways(ties: tuple[int, ...], n: int) -> "np.ndarray | None":
    """Return the probabilities of twice the rank sum, from its lowest value on; None where that would take long.

    Args:
        ties: How many of all runs share each value.
        n: Runs of which the ranks are summed.
    """
    import numpy as np

    total = sum(ties)
    tied = len(ties) < total
    if (tied and math.comb(total, n) > _EXACT_TIED) or n * (total - n) > _EXACT_PAIRS:
        return None
    lowest, highest = _lowest(ties, n), 2 * n * (total + 1) - _lowest(ties[::-1], n)
    ways = np.zeros((n + 1, highest + 1))  # by runs taken and twice their rank sum
    ways[0, 0], first = 1.0, 0
    for size in ties:
        value, before = 2 * first + size + 1, ways.copy()
        for taken in range(1, min(size, n) + 1):
            shift = taken * value
            if shift <= highest:
                ways[taken:, shift:] += math.comb(size, taken) * before[: n + 1 - taken, : highest + 1 - shift]
        first += size
    return ways[n, lowest:] / math.comb(total, n)


def smallest_p(n: int, m: int) -> float:
    """Return the smallest two-sided p-value that the test can give with so many seeds a side."""
    return min(1.0, 2 / math.comb(n + m, n))


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p-values corrected by Holm's procedure, in the order given.

    Args:
        p_values: In [0, 1].
    """
    corrected, largest = [0.0] * len(p_values), 0.0
    for i, position in enumerate(sorted(range(len(p_values)), key=lambda k: p_values[k])):
        largest = max(largest, min(1.0, (len(p_values) - i) * p_values[position]))
        corrected[position] = largest
    return corrected


def seeds_needed(probability: float, comparisons: int = 1, tasks: int = 1) -> int | None:
    """Return about how many seeds of each model show an effect with probability 0.8, at 5 % for all comparisons.

    By the normal approximation, as Noether has it, but with the variance that belongs to the effect (at most that of
    Birnbaum and Klose), and at least as many as can reach such a p at all.

    Args:
        probability: That a run of one model beats one of the other, in [0, 1].
        comparisons: Pairs that are tested together, >= 1.
        tasks: Tasks that the probability is averaged over, >= 1.

    Returns:
        Seeds on each task; None where a thousand do not.
    """
    level, effect = LEVEL / comparisons, abs(probability - 0.5)
    if not effect:
        return None
    normal = NormalDist()
    # the share of pairs that is won has variance 1 / (6 n) if the two are equal, P (1 - P) / n at most if they are not
    reach = normal.inv_cdf(1 - level / 2) / math.sqrt(6) + normal.inv_cdf(POWER) * math.sqrt(
        probability * (1 - probability)
    )
    needed = math.ceil((reach / effect) ** 2 / tasks)
    if needed > _MANY:
        return None
    return max(needed, fewest_seeds(comparisons, tasks))


def fewest_seeds(comparisons: int = 1, tasks: int = 1) -> int:
    """Return how many seeds of each model can show any difference at 5 % for all comparisons, however large it is.

    Args:
        comparisons: Pairs that are tested together, >= 1.
        tasks: Tasks that are tested over, >= 1.

    Returns:
        Seeds on each task.
    """
    seeds = 1
    while comparisons * 2 / math.comb(2 * seeds, seeds) ** tasks > LEVEL:
        seeds += 1
    return seeds
