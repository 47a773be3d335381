"""Tests of pairs on the page: a table of what is decided, and the matrix of all pairs."""

from collections.abc import Sequence
from typing import Any

from stablebench.leaderboard import leaders_note, matrix_of, pair_table
from stablebench.schema.leaderboard_statistics import Improvement, OverallStatistics, PairTest, TableStatistics

_MOST_MODELS = 40
"""Models up to which the matrix is shown."""


def pairs_of_table(part: TableStatistics) -> dict[str, Any] | None:
    """Return the pairs of a task as `table` and `matrix`; None where there are none."""
    named = [(pair.better, pair.worse, pair) for pair in part.pairs]
    rows = [row.name for row in part.rows]
    return _compared("Pairs", rows, named, leaders_note(part), part.equal_within) if named else None


def pairs_over_tasks(part: OverallStatistics) -> dict[str, Any] | None:
    """Return the pairs of models over tasks likewise."""
    named = [(pair.name, pair.over, pair) for pair in part.improvement]
    rows = [row.name for row in part.rows]
    return _compared("Probability of improvement", rows, named, leaders_note(part)) if named else None


def _compared(
    title: str,
    names: Sequence[str],
    named: Sequence[tuple[str, str, PairTest | Improvement]],
    leaders: str | None,
    equal_within: float | None = None,
) -> dict[str, Any]:
    pairs = [pair for *_, pair in named]
    drawn = len(names) <= _MOST_MODELS and any(pair.decision is not None for pair in pairs)
    matrix = [
        (name, [("", "") if cell is None else (f"{cell[0]:.2f}", cell[1]) for cell in cells])
        for name, cells in zip(names, matrix_of(names, pairs), strict=True)
    ]
    return {"table": pair_table(title, named, leaders, equal_within), "matrix": matrix if drawn else None}
