"""The order of a table's rows, and which of them is bold."""

from collections.abc import Sequence

from stablebench.data.metrics import higher_is_better
from stablebench.schema.leaderboard import LeaderboardRow


def rank(rows: Sequence[LeaderboardRow], metric: str, *, comparable: bool = True) -> list[LeaderboardRow]:
    """Return rows sorted by their scores with their ranks, those without a score last, and the best one marked.

    The best row is marked only where its interval lies clear of every other's; below five seeds there is none.

    Args:
        rows: The rows.
        metric: What their scores are.
        comparable: Whether they had equal budgets; otherwise no row has a rank, and none is the best.
    """

    def goodness(row: LeaderboardRow) -> tuple[float, list[float], str]:
        if row.score is not None:
            return 0, _scores(row, metric), row.name
        return (1 if row.diverged else 2), [], row.name

    ordered = sorted(rows, key=goodness)
    scores = [None if row.score is None else _scores(row, metric) for row in ordered]  # equal ones are neighbours
    ranks = [None if score is None or not comparable else scores.index(score) + 1 for score in scores]
    return [
        row.replaced(rank=place, best=i == 0 and comparable and _is_best(ordered, metric))
        for i, (row, place) in enumerate(zip(ordered, ranks, strict=True))
    ]


def _scores(row: LeaderboardRow, metric: str) -> list[float]:
    """Return a row's quoted score and its own, with the sign that makes lower better; a row has one or both."""
    named = [(row.quoted.metric, row.quoted.score)] if row.quoted is not None else []
    return [_sign(name) * score for name, score in [*named, (metric, row.score)] if score is not None]


def _sign(metric: str) -> float:
    return -1.0 if higher_is_better(metric) else 1.0


def _is_best(rows: Sequence[LeaderboardRow], metric: str) -> bool:
    """Whether the first row's interval lies clear of every other row's, in the quoted metric where there is one."""
    first, *others = rows
    sign, interval = _sign(first.shown.metric), first.shown.interval
    if first.score is None or interval is None or not others:
        return False
    worst = sign * interval[0 if sign < 0 else 1]

    def is_worse(row: LeaderboardRow) -> bool:
        if row.score is None:
            return bool(row.diverged)
        interval = row.shown.interval
        return interval is not None and worst < sign * interval[1 if sign < 0 else 0]

    return all(map(is_worse, others))
