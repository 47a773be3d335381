"""The columns of a leaderboard on the page: the eight of the terminal's table, and those that a switch shows."""

from dataclasses import dataclass
from typing import Any

from stablebench.data.metrics import higher_is_better
from stablebench.leaderboard import (
    MEDIAN_INTERVAL,
    columns,
    format_median_interval,
    format_origin,
    format_range,
)
from stablebench.schema.leaderboard import LeaderboardRow, LeaderboardTable
from stablebench.schema.leaderboard_statistics import (
    GOALS,
    UNITS,
    Interval,
    OverallStatistics,
    RowStatistics,
    TableStatistics,
    TimeToGoal,
)

_Sortable = tuple[str | None, Any]
"""A cell's text, None for an empty one, and the value to sort it by."""
_TIME_TO_GOAL = (
    "mean over seeds, in which one that did not arrive counts with the time for which all rows can be followed "
    "(restricted mean); arrived of runs"
)


@dataclass(frozen=True)
class Column:
    """A column of the page.

    Args:
        name: Its heading.
        help: What it holds, where the heading does not say it.
        cells: Text, value to sort by and whether it is bold, a row.
        more: Whether only the switch shows it.
        falling: Whether the largest value is to come first when it is first sorted by.
    """

    name: str
    help: str
    cells: list[tuple[str, Any, bool]]
    more: bool = False
    falling: bool = False


def board_columns(table: LeaderboardTable, statistics: TableStatistics, environments: dict[str, str]) -> list[Column]:
    """Return a leaderboard's columns behind the models' names, those of the terminal's table first.

    Args:
        table: The leaderboard's table.
        statistics: Its statistics.
        environments: Labels of each row's environments.
    """
    metric, rows = table.metric, table.rows
    described = {row.name: row for row in statistics.rows}
    shown = [column for name in columns.chosen(None, table) if name != "model" and (column := _shown(name, table))]
    hidden: list[Column] = []

    def add(name: str, cells: list[_Sortable], explained: str = "", bold: bool = False) -> None:
        if any(text for text, _ in cells):
            hidden.append(Column(name, explained, _texts(table, cells, bold), more=True))

    if columns.metric_of(table) != metric:
        scores = [_number(row.score) if row.score is not None else (_no_score(row), None) for row in rows]
        add(metric, scores, "median over seeds, a diverged one worse than any", bold=True)
    add(MEDIAN_INTERVAL, [_ends(row) for row in rows], "from order statistics; of fewer than five seeds only the range")
    add("IQM", [_number(described[row.name].iqm) for row in rows], "interquartile mean")
    add("mean ± sd", [_mean(described[row.name]) for row in rows])
    ranges = [(format_range(row.shown.min, row.shown.max), row.shown.min) for row in rows]
    add("range", ranges, "lowest to highest seed")
    add("seeds", [(_seeds(row), row.n) for row in rows])
    add("recipe", [(format_origin(row.recipe), format_origin(row.recipe)) for row in rows], "who tuned it, and how")
    add("updates", [_number(row.steps, ",d") for row in rows], "asked for")
    add("batch", [_number(row.batch_size, ",d") for row in rows])
    add("units", [_number(row.hidden, ",d") for row in rows])
    for other in sorted({name for row in rows for name in row.others} - {columns.metric_of(table)}):
        add(other, [_number(row.others.get(other)) for row in rows], "median over seeds")
    for goal in GOALS:
        for unit in UNITS:
            times = [described[row.name].time_to(goal, unit) for row in rows]
            add(
                f"mean {'updates' if unit == 'steps' else unit} to {goal}",
                [_time(time) for time in times],
                _TIME_TO_GOAL,
            )
    add("train s", [_number(columns.train_seconds(row), ".3g") for row in rows], "seconds of training, median")
    add("peak MB", [_number(None if row.peak_bytes is None else row.peak_bytes / 1e6, ".0f") for row in rows])
    add("where", [(environments[row.name], environments[row.name]) for row in rows], "environments, listed below")
    return shown + hidden


def overall_columns(part: OverallStatistics) -> list[Column]:
    """Return the columns of the table over tasks behind the models' names; those that hold nothing are left out."""
    units = [profile.unit for profile in part.profiles]
    held: list[tuple[str, list[_Sortable]]] = [
        ("mean rank", [_number(row.rank, ".3g") for row in part.rows]),
        ("95 % of the rank", [_interval(row.rank_interval) for row in part.rows]),
        ("IQM", [_number(row.iqm) for row in part.rows]),
        ("95 % of the IQM", [_interval(row.iqm_interval) for row in part.rows]),
        ("median", [_number(row.median) for row in part.rows]),
        ("95 % of the median", [_interval(row.median_interval) for row in part.rows]),
        ("runs", [_number(row.runs, ",d") for row in part.rows]),
        ("diverged", [_number(row.diverged, ",d") for row in part.rows]),
    ]
    for profile in part.profiles:
        scores = {row.name: row.score for row in profile.rows}
        where = f" ({profile.hardware})" if profile.hardware and units.count(profile.unit) > 1 else ""
        held.append((f"profile, {profile.unit}{where}", [_number(scores.get(row.name), ".3g") for row in part.rows]))
    return [
        Column(name, "", [(text or "", value, False) for text, value in cells])
        for name, cells in held
        if any(text for text, _ in cells)
    ]


def _shown(name: str, table: LeaderboardTable) -> Column | None:
    """Return one of the terminal's columns; None where nothing stands in it."""
    rows, cells = table.rows, columns.cells(name, table)
    if all(cell is None for cell in cells):
        return None
    at = "better than the baseline" if table.target is None else "at the target"
    values = {
        "score": [row.shown.score for row in rows],
        "solved": [None if row.solved is None or not row.ended else row.solved / row.ended for row in rows],
        "to_target": [row.steps_to_target for row in rows],
        "to_baseline": [row.steps_to_baseline for row in rows],
        "parameters": [row.parameters for row in rows],
        "updates/s": [row.steps_per_s for row in rows],
    }.get(name, cells)
    texts = [format(cell, ",d") if isinstance(cell, int) else cell for cell in cells]
    explained = {
        "rank": "rank by the median over seeds",
        "score": "median over seeds, a diverged one worst; in brackets its interval, below five seeds the range",
        "solved": f"runs whose test score is {at}, of those that ended",
        "marks": "; ".join(f"{mark} {meaning}" for mark, meaning in table.legend.items()),
    }
    falling = name in ("solved", "updates/s") or (name == "score" and higher_is_better(columns.metric_of(table)))
    paired = list(zip(texts, values, strict=True))
    heading = "marks" if name == "marks" else columns.heading(name, table)
    return Column(heading, explained.get(name, ""), _texts(table, paired, name == "score"), falling=falling)


def _texts(table: LeaderboardTable, cells: list[_Sortable], bold: bool) -> list[tuple[str, Any, bool]]:
    return [(text or "", value, bold and row.best) for row, (text, value) in zip(table.rows, cells, strict=True)]


def _number(value: float | None, form: str = ".4g") -> _Sortable:
    return (None if value is None else format(value, form)), value


def _ends(row: LeaderboardRow) -> _Sortable:
    shown = row.shown
    text = format_median_interval(shown.interval, row.coverage, row.ended, shown.min, shown.max)
    return text, shown.min if shown.interval is None else shown.interval[0]


def _interval(ends: Interval | None) -> _Sortable:
    return (None, None) if ends is None else (f"{ends[0]:.3g} to {ends[1]:.3g}", ends[0])


def _no_score(row: LeaderboardRow) -> str:
    return "diverged" if row.diverged else "none"


def _seeds(row: LeaderboardRow) -> str:
    rest = [f"{count} {status}" for status, count in row.statuses.items() if status != "finished"]
    return ", ".join([str(row.n), *rest])


def _mean(row: RowStatistics) -> _Sortable:
    if row.mean is None:
        return None, None
    spread = "" if row.standard_deviation is None else f" ± {row.standard_deviation:.2g}"
    return f"{row.mean:.4g}{spread}", row.mean


def _time(time: TimeToGoal | None) -> _Sortable:
    if time is None:
        return None, None
    if not time.reached:
        followed = "" if time.horizon is None else f", > {time.horizon:.4g}"
        return f"never (0/{time.of}{followed})", time.restricted_mean
    return f"{time.restricted_mean:.4g} ({time.reached}/{time.of})", time.restricted_mean
