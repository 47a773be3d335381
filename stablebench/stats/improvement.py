"""Probability of improvement: how often a run of one model beats a run of another, averaged over tasks.

On a task it is the Mann-Whitney statistic over the number of pairs of runs, a tie counting one half.

Reference: Agarwal et al. 2021 (see `bootstrap`), section 4.3.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from stablebench.stats.bootstrap import RESAMPLES, shares

if TYPE_CHECKING:
    import numpy as np


def probability_of_improvement(x: Sequence[Sequence[float]], y: Sequence[Sequence[float]]) -> float:
    """Return the mean over tasks of P(a run of x is better than a run of y).

    Args:
        x: Scores by task and seed, lower is better; infinite for a diverged seed.
        y: The other model's on the same tasks.
    """
    return sum(float(_wins(a, b).mean()) for a, b in zip(x, y, strict=True)) / len(x)


def improvement_interval(
    x: Sequence[Sequence[float]], y: Sequence[Sequence[float]], confidence: float = 0.95, seed: int = 0
) -> tuple[float, float] | None:
    """Return the bootstrap interval of that probability, seeds resampled within model and task.

    Args:
        x: As for `probability_of_improvement`.
        y: Likewise.
        confidence: The share of resamples inside, in (0, 1).
        seed: Of the draws.

    Returns:
        Both ends; None where a cell has fewer than two seeds.
    """
    import numpy as np

    if any(len(seeds) < 2 for seeds in (*x, *y)):
        return None
    total = np.zeros(RESAMPLES)
    for k, (a, b) in enumerate(zip(x, y, strict=True)):
        of_a, of_b = shares((len(a), len(b)), seed + k)
        total += ((of_a @ _wins(a, b)) * of_b).sum(axis=1)
    low, high = np.quantile(total / len(x), [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)


def _wins(a: Sequence[float], b: Sequence[float]) -> "np.ndarray":
    """Return 1 where a run of a is better, 1/2 where equal, (len(a), len(b))."""
    import numpy as np

    left, right = np.asarray(a, dtype=float)[:, None], np.asarray(b, dtype=float)
    return (left < right) + 0.5 * (left == right)
