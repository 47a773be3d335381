"""Probability of improvement: how often a run of one model beats a run of another, averaged over tasks.

On a task it is the Mann-Whitney statistic over the number of pairs of runs, a tie counting one half.

Reference: Agarwal et al. 2021 (see `bootstrap`), section 4.3.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from stablebench.stats.bootstrap import RESAMPLES, counts

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


def improvement_interval(
    x: Sequence[Sequence[float]], y: Sequence[Sequence[float]], confidence: float = 0.95, seed: int = 0
) -> tuple[float, float] | None:
    """Return the bootstrap interval of that probability, seeds resampled within model and task.

    Args:
        x: As for `probability_of_improvement`.
        y: Likewise.
        confidence: The share of resamples inside, in (0, 1).
        seed: Seed of the draws.

    Returns:
        Both ends; None where a model has fewer than two seeds on a task.
    """
    import numpy as np

    if any(len(seeds) < 2 for seeds in (*x, *y)):
        return None
    total = np.zeros(RESAMPLES)
    for k, (a, b) in enumerate(zip(x, y, strict=True)):
        below, up_to = _places(a, b)
        order = np.argsort(np.asarray(b, dtype=float), kind="stable")
        drawn = counts((len(a), len(b)), seed + k)
        lost = [_lost(of_a, of_b, order, below, up_to) for of_a, of_b in drawn]
        total += 1 - np.concatenate(lost) / (len(a) * len(b))
    low, high = np.quantile(total / len(x), [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)


def _lost(
    of_a: "np.ndarray", of_b: "np.ndarray", order: "np.ndarray", below: "np.ndarray", up_to: "np.ndarray"
) -> "np.ndarray":
    """Return in how many pairs of each resample b is better, a tie counting one half.

    Args:
        of_a: How often each run of a is drawn, (runs, resamples).
        of_b: Likewise, whose sums over the better runs are looked up.
        order: The runs of b in ascending order.
        below: How many of them are below each run of a.
        up_to: How many are below it or equal.
    """
    import numpy as np

    exact = np.float32 if len(of_a) * len(of_b) < 2**22 else np.float64  # all sums are halves
    better = np.zeros((len(of_b) + 1, of_b.shape[1]), dtype=exact)
    np.cumsum(of_b[order], axis=0, out=better[1:])
    beaten = better[below]
    beaten += beaten if (below == up_to).all() else better[up_to]
    return np.einsum("ij,ij->j", of_a, beaten).astype(float) / 2


def _places(a: Sequence[float], b: Sequence[float]) -> "tuple[np.ndarray, np.ndarray]":
    """Return for each run of a how many of b are better, and how many better or equal; lower is better."""
    import numpy as np

    ordered, runs = np.sort(np.asarray(b, dtype=float)), np.asarray(a, dtype=float)
    return np.searchsorted(ordered, runs, side="left"), np.searchsorted(ordered, runs, side="right")
