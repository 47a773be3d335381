"""Probability of improvement: how often a run of one model beats a run of another, averaged over tasks.

On a task it is the Mann-Whitney statistic over the number of pairs of runs, a tie counting one half.

Reference: Agarwal et al. 2021 (see `bootstrap`), section 4.3.
"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from stablebench.stats.bootstrap import RESAMPLES, shares

if TYPE_CHECKING:
    import numpy as np

    Chance = Callable[[np.ndarray, np.ndarray], np.ndarray]

_PRODUCT = 250_000
"""Pairs of runs up to which it is faster to multiply by a matrix of all pairs than to look up places."""


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
        chance_of = _chance_by_product(a, b) if len(a) * len(b) <= _PRODUCT else _chance_by_order(a, b)
        total += np.concatenate([chance_of(*weights) for weights in shares((len(a), len(b)), seed + k)])
    low, high = np.quantile(total / len(x), [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)


def _chance_by_product(a: Sequence[float], b: Sequence[float]) -> "Chance":
    """Return P(a run of a is better) as a function of the runs' weights, (resamples, runs), by all pairs."""
    import numpy as np

    left, right = np.asarray(a, dtype=float)[:, None], np.asarray(b, dtype=float)
    wins = (left < right) + 0.5 * (left == right)
    return lambda of_a, of_b: ((of_a @ wins) * of_b).sum(axis=1)


def _chance_by_order(a: Sequence[float], b: Sequence[float]) -> "Chance":
    """Return that function for many runs: the weight of b below each run of a is read off b's cumulated weights."""
    import numpy as np

    below, up_to = _places(a, b)
    order = np.argsort(np.asarray(b, dtype=float), kind="stable")

    def chance(of_a: "np.ndarray", of_b: "np.ndarray") -> "np.ndarray":
        under = np.cumsum(np.pad(of_b[:, order], ((0, 0), (1, 0))), axis=1)
        return 1 - (of_a * (under[:, below] + under[:, up_to])).sum(axis=1) / 2

    return chance


def _places(a: Sequence[float], b: Sequence[float]) -> "tuple[np.ndarray, np.ndarray]":
    """Return for each run of a how many of b are better, and how many better or equal; lower is better."""
    import numpy as np

    ordered, runs = np.sort(np.asarray(b, dtype=float)), np.asarray(a, dtype=float)
    return np.searchsorted(ordered, runs, side="left"), np.searchsorted(ordered, runs, side="right")
