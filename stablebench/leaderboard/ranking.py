"""The order of a table's rows, and which of them is bold."""

import math
from collections.abc import Sequence

from stablebench.data.metrics import higher_is_better
from stablebench.schema.leaderboard import LeaderboardRow, QuotedScore


def rank(rows: Sequence[LeaderboardRow], *, comparable: bool = True) -> list[LeaderboardRow]:
    """Return rows sorted by the scores that are shown with their ranks, and the best one marked.

    Rows with equal scores share a rank and stand in the order of the task's metric; those without a score are last.
    The best row is marked only where its interval lies clear of every other's; below five seeds there is none.

    Args:
        rows: The rows, all with scores in the same metrics.
        comparable: Whether they had equal budgets; otherwise no row has a rank, and none is the best.
    """

    def goodness(row: LeaderboardRow) -> tuple[float, float, float, str]:
        if row.shown.score is not None:
            return 0, _lower_is_better(row.shown), _lower_is_better(row), row.name
        return (1 if row.diverged else 2), 0, 0, row.name

    ordered = sorted(rows, key=goodness)
    scores = [None if row.shown.score is None else _lower_is_better(row.shown) for row in ordered]
    ranks = [None if score is None or not comparable else scores.index(score) + 1 for score in scores]
    return [
        row.replaced(rank=place, best=i == 0 and comparable and _is_best(ordered))
        for i, (row, place) in enumerate(zip(ordered, ranks, strict=True))
    ]


def _lower_is_better(scored: LeaderboardRow | QuotedScore) -> float:
    """Return a score with the sign that makes lower better; one that is missing is worse than any."""
    return math.inf if scored.score is None else _sign(scored.metric) * scored.score


def _sign(metric: str) -> float:
    return -1.0 if higher_is_better(metric) else 1.0


def _is_best(rows: Sequence[LeaderboardRow]) -> bool:
    """Whether the first row's interval lies clear of every other row's."""
    first, *others = rows
    sign, interval = _sign(first.shown.metric), first.shown.interval
    if first.shown.score is None or interval is None or not others:
        return False
    worst = sign * interval[0 if sign < 0 else 1]

    def is_worse(row: LeaderboardRow) -> bool:
        if row.shown.score is None:
            return bool(row.diverged)
        interval = row.shown.interval
        return interval is not None and worst < sign * interval[1 if sign < 0 else 0]

    return all(map(is_worse, others))
