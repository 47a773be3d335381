"""One HTML page from run records: leaderboards, curves, statistics and how to repeat every row. It opens offline.

All that a record says - names, errors, hardware - is text to the template, which escapes it. The page asks for nothing
from outside, and says so to the browser in its content security policy.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from stablebench import __version__, leaderboard
from stablebench.data.metrics import higher_is_better
from stablebench.leaderboard import columns
from stablebench.report.board_columns import board_columns, overall_columns
from stablebench.report.pairs import pairs_of_table, pairs_over_tasks
from stablebench.report.sections import (
    environments_of,
    figures_of_task,
    overall_figures,
    palette_css,
    reproduction_of,
    styles_of,
)
from stablebench.report.summary import period, summary, title_of
from stablebench.schema.run_record import RunRecord
from stablebench.schema.suite import Suite
from stablebench.specs.repeat_command import commands_of
from stablebench.tables import visible

_FOLDER = Path(__file__).resolve().parent
_POINTS_IN_ALL = 20_000
"""Points of all learning curves together; each has between `_MIN_POINTS` and `_MAX_POINTS`."""
_MIN_POINTS, _MAX_POINTS = 16, 80
_MANY_RUNS = 5000
_MAX_CURVE_BYTES = 2**26
"""Bytes of all curves together."""
_NO_OVERRIDES = leaderboard.Overrides()


def page(
    title: str | None,
    runs: Sequence[tuple[Path, RunRecord]],
    *,
    how: str,
    unreadable: dict[str, str] | None = None,
    suite: Suite | None = None,
    overrides: leaderboard.Overrides = _NO_OVERRIDES,
    cards: leaderboard.Cards = leaderboard.registered_card,
) -> str:
    """Return the page.

    Args:
        title: What was run; the page's heading. None for the models and tasks of the runs.
        runs: Folder and record of each run, in any order.
        how: The command that makes this page.
        unreadable: By folder, what is wrong with records that could not be read.
        suite: Whose runs they are; with it the page says what they reproduce of its paper.
        overrides: What the runs have in place of the suite's own settings.
        cards: Where published numbers come from.
    """
    import jinja2

    records = leaderboard.latest(record for _, record in runs)
    folder_of = {id(record): folder for folder, record in runs}
    board = leaderboard.build(title or "", records, cards)
    statistics = leaderboard.statistics(board)
    reproduced = None if suite is None else leaderboard.reproduction(suite, board, overrides, cards)
    by_row = leaderboard.by_row(sorted(records, key=lambda record: record.spec.seed))
    rows = sum(len(table.rows) for table in board.tables)
    points = max(_MIN_POINTS, min(_MAX_POINTS, _POINTS_IN_ALL // max(rows, 1)))
    styles = styles_of(row.name for table in board.tables for row in table.rows)
    environments, environment_of = environments_of(records)
    firsts = [(held[0], [record.spec.seed for record in held]) for held in by_row.values()]
    apart = _is_large([folder_of[id(record)] for record in records])
    commands = dict(zip(by_row, commands_of(firsts, apart=apart), strict=True))
    tasks = []
    for number, (table, described) in enumerate(zip(board.tables, statistics.tables, strict=True), 1):
        records_of = {row.name: by_row[row.key] for row in table.rows}
        folders = {name: [folder_of[id(record)] for record in held] for name, held in records_of.items()}
        tasks.append(
            {
                "key": f"task-{number}",
                "table": table,
                "metric": columns.metric_of(table),
                "higher": higher_is_better(columns.metric_of(table)),
                "pairs": pairs_of_table(described),
                "unequal": leaderboard.format_unequal(table),
                "speeds": columns.timed_note(["updates/s", "train_s"], table),
                "columns": board_columns(table, described, {n: environment_of(r) for n, r in records_of.items()}),
                "commands": {row.name: commands[row.key] for row in table.rows},
                "figures": figures_of_task(f"task-{number}", table, described, records_of, folders, points),
            }
        )
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_FOLDER),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_shown,
    )
    return environment.get_template("page.html").render(
        title=title or title_of(board),
        version=__version__,
        how=how,
        reproduction=reproduction_of(reproduced),
        tasks=tasks,
        overall=statistics.overall,
        overall_columns=overall_columns(statistics.overall),
        overall_pairs=pairs_over_tasks(statistics.overall),
        overall_figures=overall_figures(statistics),
        left_out=leaderboard.left_out_notes(statistics.overall),
        r_max=statistics.r_max,
        styles=styles,
        environments=environments,
        unreadable=unreadable or {},
        counts={"runs": len(records), "models": len(styles), "tasks": len(tasks)},
        summary=summary(board, statistics, reproduced),
        started=period([record.started for record in records]),
        css=palette_css() + _text("page.css"),
        script=_text("page.js"),
    )


def _is_large(folders: Sequence[Path]) -> bool:
    """Return whether records or curves take so much memory that no further library should be loaded."""
    return len(folders) >= _MANY_RUNS or sum(map(_curve_bytes, folders)) > _MAX_CURVE_BYTES


def _curve_bytes(folder: Path) -> int:
    try:
        return (folder / "metrics.jsonl").stat().st_size
    except OSError:
        return 0


def _shown(value: Any) -> Any:
    """Return a value as the page shows it: in a text, characters that a browser would obey or hide are their codes."""
    return visible(value) if type(value) is str else value


def _text(name: str) -> str:
    return (_FOLDER / name).read_text(encoding="utf-8")
