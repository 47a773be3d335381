"""A study as tables."""

from stablebench.execution.probe_study.measures import SCALARS
from stablebench.execution.probe_study.study import KNOWN, TaskStudy
from stablebench.schema.leaderboard_statistics import Interval
from stablebench.tables import Table


def study_tables(studies: list[TaskStudy], early: float) -> list[Table]:
    """Return a table a task, and one of what the scalars mean.

    Args:
        studies: Of each task.
        early: After which part of the updates runs were measured the second time.
    """
    tables = []
    times = {"initial": "at initialisation", "early": f"after {early:.0%}"}
    for one in studies:
        rows = [
            [
                row.scalar,
                times[row.when],
                _signed(row.score),
                _interval(row.score_interval),
                _signed(row.updates),
                _interval(row.updates_interval),
                _signed(row.skill),
                row.runs,
            ]
            for row in one.correlations
        ]
        columns = ["probe", "when", "score", "95 %", "updates", "95 % ", "skill", "runs"]
        title = f"{one.task}: rank correlations over {one.runs} runs of {one.models} models"
        tables.append(Table(columns, rows, title=title, minor=["runs", "95 % "]))
    meanings = [[one.name, one.meaning] for one in SCALARS] + [[name, text] for name, text in KNOWN.items()]
    notes = [
        "score: Spearman's rank correlation with the test score, higher better, a diverged run the worst.",
        "updates: that with the updates to the target, or to the baseline where there is none; below 0 is sooner.",
        "95 %: bootstrap interval, models resampled with all their runs; none below five models.",
        "skill: 1 - error of the rank predicted for a model that is left out / that of the others' mean; 0: no help.",
    ]
    return [*tables, Table(["probe", "meaning"], meanings, notes=notes, wrap=frozenset({"meaning"}))]


def _signed(value: float | None) -> str | None:
    return None if value is None else f"{value:+.2f}"


def _interval(interval: Interval | None) -> str | None:
    return None if interval is None else f"{interval[0]:+.2f} to {interval[1]:+.2f}"
