"""Whether our runs bear out what a figure shows without numbers: the order of models, and values reached or missed.

Models are ordered by the score in the metric shown, and told apart by a one-sided rank test, in either direction. A
value is of the task's metric: it is reached where all of the interval of our median, below five seeds all of the seeds'
range, reaches it, and missed where none of it does. What is stated of every seed fails with one.
"""

from collections.abc import Mapping, Sequence
from math import inf
from typing import Any

from stablebench.data.metrics import higher_is_better, reaches_target
from stablebench.leaderboard.pairs import lower_is_better
from stablebench.leaderboard.published import scores_in
from stablebench.leaderboard.verdicts import Judgement, spread_in
from stablebench.schema.leaderboard import LeaderboardRow, LeaderboardTable
from stablebench.schema.suite import Expectation
from stablebench.stats import LEVEL, rank_sum_p


def best_row(table: LeaderboardTable, model: str, where: Mapping[str, Any] | None = None) -> LeaderboardRow | None:
    """Return a model's best row in the metric shown, None where none has ended.

    Args:
        table: Where it stands.
        model: The model.
        where: Values that the row has, as `--set` takes them.
    """
    values = {key.removeprefix("model.").removeprefix("train."): value for key, value in (where or {}).items()}
    of_model = [row for row in table.rows if row.model == model and row.ended]
    of_model = [row for row in of_model if all(row.settings.get(key) == value for key, value in values.items())]
    return max(of_model, key=lambda row: _goodness(row, table.shown_metric), default=None)


def score_of(row: LeaderboardRow, metric: str, every_seed: bool = False) -> float:
    """Return a row's score, or that of its worst seed; worse than any number where that diverged.

    Args:
        row: The row.
        metric: What the score is in.
        every_seed: Whether it is that of the worst seed, not the median.
    """
    kept, larger = scores_in(row, metric), higher_is_better(metric)
    score = None if kept is None or (every_seed and row.diverged) else kept.score
    if kept is not None and score is not None and every_seed:
        score = kept.min if larger else kept.max
    return score if score is not None else -inf if larger else inf


def _goodness(row: LeaderboardRow, metric: str, every_seed: bool = False) -> float:
    """Return a score with the sign that makes higher better."""
    score = score_of(row, metric, every_seed)
    return score if higher_is_better(metric) else -score


def measured_by(expected: Expectation, table: LeaderboardTable) -> tuple[str, str]:
    """Return the metric of our number, the task's where the statement is about values, and what it was judged by."""
    if (expected.reaches, expected.misses, expected.others_miss) == (None, None, None):
        return table.shown_metric, table.shown_metric
    order = f" (order by {table.shown_metric})" if expected.better_than and table.shown_metric != table.metric else ""
    return table.metric, f"{table.metric}{order}"


def stated(
    expected: Expectation, row: LeaderboardRow, others: Sequence[LeaderboardRow], table: LeaderboardTable
) -> Judgement:
    """Return the verdict on a statement of a figure.

    Args:
        expected: The statement.
        row: The model that it is about.
        others: The models that it is to be better than.
        table: Where they stand.
    """
    spread = spread_in(row, measured_by(expected, table)[0])
    said = {} if spread is None else spread.said()
    single = [one.name for one in (row, *others) if one.ended < 2]
    if single:
        return Judgement("undecided", f"one seed of {', '.join(single)}", **said)
    orders = [_order(expected, row, other, table.shown_metric) for other in others]
    values = [_side(expected, row, *value) for value in _values(expected, row, others)]
    if any(one is False for one in (*orders, *values)):
        return Judgement("fails", **said)
    alike = [one for one in orders if isinstance(one, str)]
    reasons = [f"not told apart at 5 %: {', '.join(alike)}"] if alike else []
    reasons += [one for one in values if isinstance(one, str)]
    return Judgement("overlaps", "; ".join(reasons), **said) if reasons else Judgement("holds", **said)


def _order(expected: Expectation, row: LeaderboardRow, other: LeaderboardRow, metric: str) -> bool | str:
    """Return whether a row is better than another, or in words that so many seeds do not tell."""
    better = _goodness(row, metric, expected.every_seed) > _goodness(other, metric)
    if expected.every_seed and not better:
        return False
    own, theirs = [lower_is_better(row)], [lower_is_better(other)]
    p = rank_sum_p(own, theirs, "lower")
    if better:
        return p <= LEVEL or f"{other.name} p {p:.2g}"
    return rank_sum_p(theirs, own, "lower") > LEVEL and f"{other.name} no worse by median, p {p:.2g}"


def _side(expected: Expectation, row: LeaderboardRow, one: LeaderboardRow, value: float, reached: bool) -> bool | str:
    """Return whether a row is on the stated side of a value, or in words that its interval is on both."""
    if expected.every_seed and one is row:
        return _reaches(one, value, _extreme(one, reached)) == reached
    met = _reaches(one, value, score_of(one, one.metric)) == reached
    spread = spread_in(one, one.metric)
    if spread is None or _reaches(one, value, spread.bad) == _reaches(one, value, spread.good):
        return met
    return f"{'interval' if spread.tested else 'range'} of {one.name} on both sides of {value:g}"


def _values(
    expected: Expectation, row: LeaderboardRow, others: Sequence[LeaderboardRow]
) -> list[tuple[LeaderboardRow, float, bool]]:
    """Return which rows are to reach, or not to reach, which values."""
    values = [] if expected.reaches is None else [(row, expected.reaches, True)]
    values += [] if expected.misses is None else [(row, expected.misses, False)]
    return values + ([] if expected.others_miss is None else [(one, expected.others_miss, False) for one in others])


def _reaches(row: LeaderboardRow, value: float, score: float) -> bool:
    return reaches_target(row.metric, value)(score)


def _extreme(row: LeaderboardRow, worst: bool) -> float:
    """Return the score of the worst seed, or of the best."""
    if worst:
        return score_of(row, row.metric, every_seed=True)
    best = row.max if higher_is_better(row.metric) else row.min
    return score_of(row, row.metric) if best is None else best
