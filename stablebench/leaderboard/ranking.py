"""The order of a table's rows, and which of them is bold."""

from collections.abc import Sequence

from stablebench.data.metrics import higher_is_better
from stablebench.schema.leaderboard import LeaderboardRow


def rank(rows: Sequence[LeaderboardRow], metric: str) -> list[LeaderboardRow]:
    """Return rows sorted by their scores with their ranks, those without a score last, and the best one marked.

    The best row is marked only where its interval lies clear of every other's; below five seeds there is none.
    """
    sign = -1.0 if higher_is_better(metric) else 1.0

    def goodness(row: LeaderboardRow) -> tuple[float, float, str]:
        if row.score is not None:
            return 0, sign * row.score, row.name
        return (1 if row.diverged else 2), 0.0, row.name

    ordered = sorted(rows, key=goodness)
    scores = [row.score for row in ordered]  # equal ones stand next to each other
    ranks = [None if score is None else scores.index(score) + 1 for score in scores]
    return [
        row.replaced(rank=place, best=i == 0 and _is_best(ordered, sign))
        for i, (row, place) in enumerate(zip(ordered, ranks, strict=True))
    ]


def _is_best(rows: Sequence[LeaderboardRow], sign: float) -> bool:
    """Whether the first row's interval lies clear of every other row's."""
    first, *others = rows
    if first.score is None or first.interval is None or not others:
        return False
    worst = sign * first.interval[0 if sign < 0 else 1]

    def is_worse(row: LeaderboardRow) -> bool:
        if row.score is None:
            return bool(row.diverged)
        return row.interval is not None and worst < sign * row.interval[1 if sign < 0 else 0]

    return all(map(is_worse, others))
