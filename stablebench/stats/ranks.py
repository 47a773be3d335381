"""Ranks over tasks, with an interval: scores of different metrics need no common unit to be ranked."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from stablebench.stats.bootstrap import RESAMPLES, each_draw
from stablebench.stats.intervals import MIN_SEEDS
from stablebench.stats.summary import medians_with_infinity

if TYPE_CHECKING:
    import numpy as np


def mean_ranks(scores: Sequence[Sequence[Sequence[float]]]) -> list[float]:
    """Return each model's rank, by its median over seeds, averaged over tasks; equal medians share their mean rank.

    Args:
        scores: By model, task and seed, lower is better; infinite for a diverged seed.
    """
    import numpy as np

    medians = np.array(
        [[medians_with_infinity(np.asarray([seeds], dtype=float))[0] for seeds in row] for row in scores]
    )
    return _ranked(medians.T).mean(axis=0).tolist()


def rank_intervals(
    scores: Sequence[Sequence[Sequence[float]]], confidence: float = 0.95, seed: int = 0
) -> list[tuple[float, float] | None]:
    """Return the bootstrap interval of each model's mean rank, seeds resampled within model and task.

    Args:
        scores: As for `mean_ranks`.
        confidence: The share of resamples inside, in (0, 1).
        seed: Seed of the draws.

    Returns:
        By model; None for all where a model has fewer than five seeds on a task: every rank depends on all models.
    """
    import numpy as np

    if any(len(seeds) < MIN_SEEDS for row in scores for seeds in row):
        return [None] * len(scores)
    total = np.zeros((RESAMPLES, len(scores)))
    for k in range(len(scores[0])):
        drawn = each_draw(tuple(len(row[k]) for row in scores), seed + k)
        medians = [
            medians_with_infinity(np.asarray(row[k], dtype=float)[index])
            for row, index in zip(scores, drawn, strict=True)
        ]
        total += _ranked(np.stack(medians, axis=1))
    ends = np.quantile(total / len(scores[0]), [(1 - confidence) / 2, (1 + confidence) / 2], axis=0)
    return [(float(low), float(high)) for low, high in ends.T]


def _ranked(values: "np.ndarray") -> "np.ndarray":
    """Return the rank of each value in its row (n, values), equal ones sharing their mean rank."""
    import numpy as np

    order = np.argsort(values, axis=1, kind="stable")
    ascending, places = np.take_along_axis(values, order, axis=1), np.arange(values.shape[1])
    differs = ascending[:, 1:] != ascending[:, :-1]
    edge = np.ones((len(values), 1), dtype=bool)
    first = np.maximum.accumulate(np.where(np.hstack([edge, differs]), places, 0), axis=1)
    backwards = np.where(np.hstack([differs, edge]), places, places[-1])[:, ::-1]
    last = np.minimum.accumulate(backwards, axis=1)[:, ::-1]
    ranks = np.empty(values.shape)
    np.put_along_axis(ranks, order, (first + last) / 2 + 1, axis=1)
    return ranks
