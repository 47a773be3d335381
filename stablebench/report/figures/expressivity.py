"""What a cell can do against what its gradient does: a point a model, on the growth rate and on the isometry."""

from collections.abc import Sequence
from typing import Literal

from stablebench import leaderboard
from stablebench.errors import UserError
from stablebench.report.figures.curves import Line
from stablebench.report.figures.panels import Plot
from stablebench.schema.leaderboard import LeaderboardRow, LeaderboardTable
from stablebench.schema.measured import Moment
from stablebench.schema.run_record import RunRecord

ScoreOf = Literal["scaled", "length"]
_SCORES = {"scaled": "scaled accuracy", "length": "longest length held at 90 %"}
_MEASURES = {
    "growth": "growth of the gradient per step back",
    "isometry": "ln(sigma_max / sigma_min) per step",
}
_WEIGHTS = {"trained": "trained", "initial": "initial"}


def expressivity_plots(
    records: Sequence[RunRecord], score: ScoreOf = "scaled", moment: Moment = "trained", each_task: bool = False
) -> list[Plot]:
    """Return two panels, of the growth rate and of the isometry: means over tasks of medians over seeds.

    Args:
        records: The runs, each with what was measured of it.
        score: What is drawn upwards: the scaled accuracy of the test, or the longest length held.
        moment: The weights whose gradients are drawn.
        each_task: Whether every task has its two panels.

    Raises:
        UserError: No model has a score and measured gradients on all tasks.
    """
    tables = leaderboard.build("", records, lambda name: None).tables
    groups = [(table.task, [table]) for table in tables] if each_task else [(_title(tables), tables)]
    plots = []
    for title, group in groups:
        for measure, label in _MEASURES.items():
            points = points_of(group, score, moment, measure)
            if points:
                lines = [Line(name, [x], [y], dots=True) for name, (x, y) in points.items()]
                at = f"{label} ({_WEIGHTS[moment]})"
                plots.append(Plot(title, at, _SCORES[score], lines, labelled=True))
    if not plots:
        raise UserError(
            f"No model has a score in {_SCORES[score]} and measured gradients ({_WEIGHTS[moment]}) on every task."
        )
    return plots


def points_of(
    tables: Sequence[LeaderboardTable], score: ScoreOf, moment: Moment, measure: str
) -> dict[str, tuple[float, float]]:
    """Return measure and score of each model that has both on all tables, means over these."""
    points: dict[str, tuple[float, float]] = {}
    rows = [{row.name: row for row in table.rows} for table in tables]
    for name in rows[0] if rows else ():
        if not all(name in of_table for of_table in rows):
            continue
        pairs = [(_measure(of_table[name], moment, measure), _score(of_table[name], score)) for of_table in rows]
        whole = [(x, y) for x, y in pairs if x is not None and y is not None]
        if len(whole) == len(pairs):
            points[name] = sum(x for x, _ in whole) / len(whole), sum(y for _, y in whole) / len(whole)
    return points


def _title(tables: Sequence[LeaderboardTable]) -> str:
    return tables[0].task if len(tables) == 1 else f"mean over {len(tables)} tasks"


def _measure(row: LeaderboardRow, moment: str, measure: str) -> float | None:
    return None if moment not in row.gradients else getattr(row.gradients[moment], measure)


def _score(row: LeaderboardRow, score: ScoreOf) -> float | None:
    if score == "scaled":
        return row.others.get("scaled_accuracy")
    return None if row.lengths is None else row.lengths.longest_held
