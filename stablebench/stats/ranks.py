"""Ranks over tasks, with an interval: scores of different metrics need no common unit to be ranked."""

from collections.abc import Sequence

from stablebench.stats.bootstrap import RESAMPLES, each_draw
from stablebench.stats.summary import medians_with_infinity


def mean_ranks(scores: Sequence[Sequence[Sequence[float]]]) -> list[float]:
    """Return each model's rank, by its median over seeds, averaged over tasks; equal medians share their mean rank.

    Args:
        scores: By model, task and seed, lower is better; infinite for a diverged seed.
    """
    import numpy as np
    from scipy import stats

    medians = np.array(
        [[medians_with_infinity(np.asarray([seeds], dtype=float))[0] for seeds in row] for row in scores]
    )
    return stats.rankdata(medians, axis=0).mean(axis=1).tolist()


def rank_intervals(
    scores: Sequence[Sequence[Sequence[float]]], confidence: float = 0.95, seed: int = 0
) -> list[tuple[float, float] | None]:
    """Return the bootstrap interval of each model's mean rank, seeds resampled within model and task.

    Args:
        scores: As for `mean_ranks`.
        confidence: The share of resamples inside, in (0, 1).
        seed: Seed of the draws.

    Returns:
        By model; None for all where a model has fewer than two seeds on a task: every rank depends on all models.
    """
    import numpy as np
    from scipy import stats

    if any(len(seeds) < 2 for row in scores for seeds in row):
        return [None] * len(scores)
    total = np.zeros((RESAMPLES, len(scores)))
    for k in range(len(scores[0])):
        drawn = each_draw(tuple(len(row[k]) for row in scores), seed + k)
        medians = [
            medians_with_infinity(np.asarray(row[k], dtype=float)[index])
            for row, index in zip(scores, drawn, strict=True)
        ]
        total += stats.rankdata(np.stack(medians, axis=1), axis=1)
    ends = np.quantile(total / len(scores[0]), [(1 - confidence) / 2, (1 + confidence) / 2], axis=0)
    return [(float(low), float(high)) for low, high in ends.T]
