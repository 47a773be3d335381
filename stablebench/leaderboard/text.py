"""A leaderboard as text."""

from typing import Any, Literal

from stablebench.leaderboard.format import (
    MEAN_INTERVAL,
    MEDIAN_INTERVAL,
    format_interval,
    format_median_interval,
    format_range,
    format_seeds,
)
from stablebench.leaderboard.published import format_entry
from stablebench.leaderboard.reproduction import reproduction_table
from stablebench.leaderboard.row import ENDED
from stablebench.schema.leaderboard import Leaderboard, LeaderboardRow, LeaderboardTable
from stablebench.schema.leaderboard_statistics import Goal, Unit
from stablebench.stats import student_interval
from stablebench.tables import Format, Table, json_text
from stablebench.tables import render as render_tables
from stablebench.visible import visible

_PUBLISHED_COLUMNS = (
    *("model", "metric", "statistic", "published", "ours", "units", "protocol", "differs", "source", "where"),
)
_STATISTICS = {"mean": "mean", "best seed": "best", "best on validation": "best_on_validation"}
"""Columns of a row's scores as papers report theirs."""


IntervalOf = Literal["median", "mean"]


def render(board: Leaderboard, fmt: Format = "table", interval: IntervalOf = "median") -> str:
    """Return a leaderboard as text.

    Args:
        board: The leaderboard.
        fmt: The format.
        interval: Whether rows have the interval of the median, or Student's of the mean.
    """
    if fmt == "json":
        return json_text(board.as_dict()).rstrip("\n")
    if not board.tables:
        why = "no run that can be read" if board.unreadable else "no runs yet"
        return visible(f"{board.suite}: {why}.") if fmt != "csv" else ""
    if fmt == "csv":
        return render_tables([_flat_table(board)], "csv")
    tables = []
    for table in board.tables:
        tables.append(_ranked_table(table, interval))
        models = {row.model for row in table.rows}
        entries = [format_entry(entry) for entry in table.published if entry.model in models]
        if entries:
            tables.append(
                Table(
                    columns=_PUBLISHED_COLUMNS,
                    rows=[[entry[c] for c in _PUBLISHED_COLUMNS] for entry in entries],
                    title=f"{table.task}: published",
                    wrap=frozenset({"differs", "source", "where"}),
                    minor=("where", "differs", "source", "units"),
                )
            )
    if board.reproduction is not None:
        tables.append(reproduction_table(board.reproduction))
    return render_tables(tables, fmt)


def _ranked_table(table: LeaderboardTable, interval: IntervalOf) -> Table:
    heading = MEDIAN_INTERVAL if interval == "median" else MEAN_INTERVAL
    metric, rows = table.metric, table.rows
    others = sorted({name for row in rows for name in row.others})
    columns: dict[str, list[Any]] = {
        "#": [row.rank for row in rows],
        "model": [row.name for row in rows],
        metric: [_score(row) for row in rows],
        **{column: [_statistic(row, metric, name) for row in rows] for column, name in _STATISTICS.items()},
        "min to max": [format_range(row.min, row.max) for row in rows],
        heading: [_interval(row, interval) for row in rows],
        "seeds": [format_seeds(row.n, row.diverged) for row in rows],
        **{name: [row.others.get(name) for row in rows] for name in others},
        "steps to baseline": [_time_to(row, "steps", "baseline") for row in rows],
        "s to baseline": [_time_to(row, "seconds", "baseline") for row in rows],
        "steps to target": [_time_to(row, "steps", "target") for row in rows],
        "s to target": [_time_to(row, "seconds", "target") for row in rows],
        "parameters": [_parameters(row) for row in rows],
        "steps/s": [None if row.steps_per_s is None else f"{row.steps_per_s:.3g}" for row in rows],
        "peak MB": [None if row.peak_bytes is None else round(row.peak_bytes / 1e6) for row in rows],
    }
    if table.target is None:
        columns = {name: values for name, values in columns.items() if not name.endswith("to target")}
    shown = list(columns)
    score = shown.index(metric)
    return Table(
        columns=shown,
        rows=[list(row) for row in zip(*columns.values(), strict=True)],
        title=_title(table),
        notes=_notes(table),
        bold=frozenset((i, score) for i, row in enumerate(rows) if row.best),
        minor=[
            name
            for name in (
                "peak MB",
                *_STATISTICS,
                "parameters",
                "s to baseline",
                "s to target",
                *others,
                "min to max",
                "steps/s",
                "steps to target",
                "steps to baseline",
                heading,
            )
            if name in columns
        ],
    )


def _title(table: LeaderboardTable) -> str:
    goals = []
    if table.baseline is not None:
        goals.append(f"baseline {table.baseline:.4g}")
    if table.target is not None:
        goals.append(f"target {table.target_metric} {table.target:.4g}")
    direction = "higher is better" if table.higher_is_better else "lower is better"
    return ", ".join([f"{table.task}: {table.metric} ({direction})", *goals])


def _notes(table: LeaderboardTable) -> list[str]:
    notes = [f"Medians over seeds; {'; or '.join(table.selection)}."]
    if table.cards > 1:
        notes.append(f"The runs saw {table.cards} editions of the task card.")
    for row in table.rows:
        rest = {status: count for status, count in row.statuses.items() if status not in ENDED}
        if rest:
            notes.append(f"{row.name}: " + ", ".join(f"{count} {status}" for status, count in rest.items()) + ".")
    return notes + table.code_notes


def _score(row: LeaderboardRow) -> str:
    if row.score is not None:
        return f"{row.score:.4g}"
    return "diverged" if row.diverged else "none"


def _parameters(row: LeaderboardRow) -> int | str:
    """Return the trained parameters; those of tokens' vectors separately, which papers leave out."""
    embedding = row.embedding_parameters
    return f"{row.parameters - embedding} + {embedding} embedded" if embedding else row.parameters


def _statistic(row: LeaderboardRow, metric: str, name: str) -> float | None:
    """Return a row's score as a paper reports it, None where no run has the metric."""
    scores = row.statistics.get(metric)
    return None if scores is None else getattr(scores, name)


def _interval(row: LeaderboardRow, of: IntervalOf) -> str | None:
    if of == "mean":
        return None if row.diverged else format_interval(student_interval(list(row.seeds.values())))
    return format_median_interval(row.interval, row.coverage, row.ended, row.min, row.max)


def _time_to(row: LeaderboardRow, unit: Unit, goal: Goal) -> str | None:
    if not row.ended:
        return None
    value, reached = row.median_time_to(goal, unit), row.reached(goal)
    share = "" if reached == row.ended else f"({reached}/{row.ended})"
    number = "" if value is None else (f"{value:.0f}" if unit == "steps" else f"{value:.3g}")
    return f"{number} {share}".strip()


def _flat_table(board: Leaderboard) -> Table:
    """One row a model and task with plain numbers, for other programs."""
    plain = [
        *("name", "model", "spec_hash", "engine", "device", "hidden", "rank", "best", "score", "min", "max", "iqm"),
        *("n", "ended", "diverged", "steps_to_baseline", "seconds_to_baseline", "reached_baseline"),
        *("steps_to_target", "seconds_to_target", "reached_target", "parameters", "embedding_parameters"),
        *("steps_per_s", "peak_bytes"),
    ]
    rows = [
        [
            *(
                table.task,
                table.metric,
                *(getattr(row, c) for c in plain),
                *(row.interval or [None, None]),
                row.coverage,
            ),
            *(_statistic(row, table.metric, name) for name in _STATISTICS.values()),
        ]
        for table in board.tables
        for row in table.rows
    ]
    return Table(
        columns=[
            "task",
            "metric",
            *plain,
            "interval_low",
            "interval_high",
            "interval_coverage",
            *(name.replace(" ", "_") for name in _STATISTICS),
        ],
        rows=rows,
    )
