"""Is one model better than another on a task? Two-sided rank tests of every pair, corrected for their number.

Without ties the Mann-Whitney test is exact. With ties - equal accuracies, diverged seeds - the exact permutation
distribution of the rank sum replaces it up to `_EXACT` arrangements, beyond that the normal approximation with its
correction for ties. Holm's procedure bounds the chance of any false positive in a table by the level asked for.

References: Mann, Whitney. Annals of Mathematical Statistics 18, 1947; Holm. A Simple Sequentially Rejective Multiple
    Test Procedure. Scandinavian Journal of Statistics 6, 1979.
"""

import math
from collections import defaultdict
from collections.abc import Sequence
from functools import lru_cache
from itertools import combinations
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

_EXACT = 12_870
"""Arrangements up to which all are counted: 8 seeds a side."""
_EXACT_PAIRS = 10_000
"""Pairs of seeds up to which the distribution without ties is computed."""


def pair_p_values(scores: Sequence[Sequence[float]]) -> list[tuple[int, int, float]]:
    """Return the two-sided p-value of every pair of models, uncorrected.

    Args:
        scores: By model and seed; infinite for a diverged seed. Two of them at least.

    Returns:
        Two positions, the first smaller, and p. A pair of which one has no seed is left out.
    """
    alike: dict[tuple[int, int, bool], list[tuple[int, int]]] = defaultdict(list)
    for i, j in combinations(range(len(scores)), 2):
        pooled = [*scores[i], *scores[j]]
        if scores[i] and scores[j]:
            alike[len(scores[i]), len(scores[j]), len(set(pooled)) < len(pooled)].append((i, j))
    if not alike:
        return []
    from scipy import stats

    tests: list[tuple[int, int, float]] = []
    for (n, m, tied), pairs in alike.items():
        if tied and math.comb(n + m, n) <= _EXACT:
            p_values = [_permutation_p(scores[i], scores[j]) for i, j in pairs]
        else:
            x, y = [scores[i] for i, _ in pairs], [scores[j] for _, j in pairs]
            exact = not tied and min(n, m) <= 50 and n * m <= _EXACT_PAIRS
            method = "exact" if exact else "asymptotic"
            p_values = [float(p) for p in stats.mannwhitneyu(x, y, axis=1, method=method).pvalue]
        # all scores equal: the approximation divides by a variance of 0
        tests += [(i, j, 1.0 if math.isnan(p) else p) for (i, j), p in zip(pairs, p_values, strict=True)]
    return sorted(tests)


def _permutation_p(x: Sequence[float], y: Sequence[float]) -> float:
    """Return the share of all arrangements whose rank sum lies as far from its mean as that of x, or farther.

    `scipy.stats.permutation_test` gives the same numbers, but refuses a model with a single seed.
    """
    import numpy as np
    from scipy import stats

    ranks = stats.rankdata([*x, *y])
    sums = ranks[_arrangements(len(ranks), len(x))].sum(axis=1)
    centre = ranks.mean() * len(x)
    # ranks are halves, so sums are exact
    return float(np.mean(np.abs(sums - centre) >= abs(ranks[: len(x)].sum() - centre) - 1e-9))


@lru_cache(maxsize=8)
def _arrangements(total: int, size: int) -> "np.ndarray":
    import numpy as np

    return np.array(list(combinations(range(total), size)))


def smallest_p(n: int, m: int) -> float:
    """Return the smallest p-value that the test can give with so many seeds a side."""
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
