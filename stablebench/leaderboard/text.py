"""A leaderboard as text."""

from collections.abc import Sequence
from typing import Literal

from stablebench.data.metrics import higher_is_better
from stablebench.leaderboard import columns
from stablebench.leaderboard.format import format_unequal
from stablebench.leaderboard.learning_rates import rates_table
from stablebench.leaderboard.length_curves import lengths_table
from stablebench.leaderboard.published import format_entry
from stablebench.leaderboard.reproduction import reproduction_table
from stablebench.leaderboard.row import ENDED
from stablebench.leaderboard.tidy import tidy_table
from stablebench.schema.leaderboard import Leaderboard, LeaderboardTable
from stablebench.tables import Format, Table, json_text, terminal_width, wrapped
from stablebench.tables import render as render_tables
from stablebench.visible import visible

_PUBLISHED_COLUMNS = (
    *("model", "metric", "statistic", "published", "ours", "units", "protocol", "differs", "source", "where"),
)


IntervalOf = Literal["median", "mean"]


def render(
    board: Leaderboard,
    fmt: Format = "table",
    asked: Sequence[str] | None = None,
    interval: IntervalOf = "median",
    option: str = "--columns NAMES or all",
) -> str:
    """Return a leaderboard as text.

    Args:
        board: The leaderboard.
        fmt: The format; `csv` has a row a run (`stablebench.leaderboard.tidy`) where the leaderboard has its runs.
        asked: Names of columns, or `all`; None for the eight that fit a terminal.
        interval: Whether the score is the median with its interval, or the mean with Student's.
        option: How the reader asks for more columns.

    Raises:
        UserError: There is no such column.
    """
    if fmt == "json":
        return json_text(board.as_dict()).rstrip("\n")
    if not board.tables:
        why = "no run that can be read" if board.unreadable else "no runs yet"
        return visible(f"{board.suite}: {why}.") if fmt != "csv" else ""
    if board.learning_rates is not None and fmt != "csv":
        return render_tables([rates_table(part) for part in board.learning_rates], fmt)
    if fmt == "csv":
        return render_tables([tidy_table(board.runs or [])], "csv")
    tables = []
    for table in board.tables:
        tables.append(_ranked_table(table, asked, interval))
        if (by_length := lengths_table(table)) is not None and asked is None:
            tables.append(by_length)
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
    text = render_tables(tables, fmt)
    if asked is not None or fmt != "table":
        return text
    hidden = dict.fromkeys(n for t in board.tables for n in columns.names(t) if n not in columns.chosen(None, t))
    more = wrapped(f"More columns, with {option}: {', '.join(hidden)}.", terminal_width())
    return "\n".join([text, "", *more])


def _ranked_table(table: LeaderboardTable, asked: Sequence[str] | None, interval: IntervalOf) -> Table:
    names = columns.chosen(asked, table) or ["model"]
    if interval == "mean":
        names = list(dict.fromkeys("mean_score" if name == "score" else name for name in names))
    cells = [columns.cells(name, table) for name in names]
    if asked is None:  # a column in which nothing stands only takes room
        filled = [any(cell is not None for cell in column) for column in cells]
        names = [name for name, there in zip(names, filled, strict=True) if there]
        cells = [column for column, there in zip(cells, filled, strict=True) if there]
    bold = {(i, names.index("score")) for i, row in enumerate(table.rows) if row.best and "score" in names}
    if (best := columns.best_mean(table)) is not None:
        bold |= {(best, names.index(name)) for name in ("mean_score", "mean_sd") if name in names}
    notes = _notes(table, names)
    if absent := [name for name in dict.fromkeys(asked or ()) if name not in (*names, "all", "score")]:
        notes.append(f"Without values on this task: {', '.join(absent)}.")
    return Table(
        columns=[columns.heading(name, table) for name in names],
        rows=[list(row) for row in zip(*cells, strict=True)],
        title=_title(table),
        notes=notes,
        bold=frozenset(bold),
        minor=[columns.heading(name, table) for name in columns.SHORTENED if name in names] if asked is None else [],
    )


def _title(table: LeaderboardTable) -> str:
    goals = []
    if table.baseline is not None:
        goals.append(f"baseline {table.metric} {table.baseline:.4g}")
    if table.target is not None:
        goals.append(f"target {table.target_metric} {table.target:.4g}")
    metric = columns.metric_of(table)
    direction = "higher is better" if higher_is_better(metric) else "lower is better"
    title = ", ".join([f"{table.task}: {metric} ({direction})", *goals])
    unequal = format_unequal(table)
    return title if unequal is None else f"{title}. {unequal[0].upper()}{unequal[1:]}"


def _notes(table: LeaderboardTable, names: Sequence[str]) -> list[str]:
    said = "; ".join([*_over_seeds(table, names), "; or ".join(table.selection)])
    notes = [f"{said[:1].upper()}{said[1:]}."]
    if "solved" in names:
        at = "better than the baseline" if table.target is None else "at the target"
        said = f"{columns.heading('solved', table).capitalize()}: seeds that finished with a test score {at}"
        goal = next((name.removeprefix("to_") for name in names if name in ("to_target", "to_baseline")), None)
        brackets = goal is not None and any("(" in (cell or "") for cell in columns.cells(f"to_{goal}", table))
        held = f"; behind updates to {goal}, those that held it over three validations" if brackets else ""
        notes.append(f"{said}{held}.")
    if (differ := columns.timed_note(names, table)) is not None:
        notes.append(differ)
    if "marks" in names and table.legend:
        notes.append("; ".join(f"{mark} {meaning}" for mark, meaning in table.legend.items()) + ".")
    if table.cards > 1:
        notes.append(f"The runs saw {table.cards} editions of the task card.")
    for row in table.rows:
        rest = {status: count for status, count in row.statuses.items() if status not in ENDED}
        if rest:
            notes.append(f"{row.name}: " + ", ".join(f"{count} {status}" for status, count in rest.items()) + ".")
    return notes + table.code_notes


def _over_seeds(table: LeaderboardTable, names: Sequence[str]) -> list[str]:
    """Return what of several seeds the columns show, and what stands in brackets."""
    medians = "score" in names or not ("mean_score" in names or columns.NO_MEDIANS.issuperset(names))
    parts = [_medians(table) if "score" in names else "medians over seeds"] if medians else []
    parts += ["means over seeds, in brackets Student's 95 % interval"] if "mean_score" in names else []
    return [*parts, *(["ranked by medians over seeds"] if "rank" in names and not medians else [])]


def _medians(table: LeaderboardTable) -> str:
    """Return what the scores and the numbers in brackets are."""
    kinds = {columns.kind_of_spread(row) for row in table.rows if row.score is not None} - {None}
    return "medians over seeds" + (f", in brackets {' or '.join(sorted(map(str, kinds)))}" if kinds else "")
