"""Probability of improvement: how often a run of one model beats a run of another, averaged over tasks.

On a task it is the Mann-Whitney statistic over the number of pairs of runs, a tie counting one half.

Reference: Agarwal et al. 2021 (see `bootstrap`), section 4.3.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np


def probability_of_improvement(x: Sequence[Sequence[float]], y: Sequence[Sequence[float]]) -> float:
    """Return the mean over tasks of P(a run of x is better than a run of y).

    Args:
        x: Scores by task and seed, lower is better; infinite for a diverged seed.
        y: The other model's on the same tasks.
    """
    chances = []
    for a, b in zip(x, y, strict=True):
        below, up_to = _places(a, b)
        chances.append(1 - float((below + up_to).sum()) / (2 * len(a) * len(b)))
    return sum(chances) / len(x)


def _places(a: Sequence[float], b: Sequence[float]) -> "tuple[np.ndarray, np.ndarray]":
    """Return for each run of a how many of b are better, and how many better or equal; lower is better."""
    import numpy as np

    ordered, runs = np.sort(np.asarray(b, dtype=float)), np.asarray(a, dtype=float)
    return np.searchsorted(ordered, runs, side="left"), np.searchsorted(ordered, runs, side="right")
