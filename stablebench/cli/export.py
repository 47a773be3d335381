"""Write stored runs as one table for other programs, or as records of Every Eval Ever."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from stablebench.cli.shared.commands import OUTPUT, option
from stablebench.cli.shared.options import RunsDir
from stablebench.cli.shared.requests import SuiteRunOptions
from stablebench.cli.shared.selection import SuiteOrRuns, selected_runs
from stablebench.cli.ui.output import note, say

if TYPE_CHECKING:
    from stablebench.cli.shared.selection import Selection

_MAX_NOTES = 20
"""Unreadable records that are listed."""
_FIRST = " The file comes first: `stablebench export runs.parquet {}`."


def export(
    *,
    file: Annotated[
        Path,
        typer.Argument(metavar="FILE", help="Where to write: .parquet, .csv or .jsonl; a folder for every-eval-ever."),
    ],
    what: SuiteOrRuns = None,
    curves: Annotated[
        Path | None, option("The runs' curves too, into this file: a row an evaluation.", OUTPUT, metavar="FILE")
    ] = None,
    as_: Annotated[
        Literal["runs", "every-eval-ever"],
        option("A row a run; or a leaderboard's records in the shared format Every Eval Ever.", OUTPUT, "--as"),
    ] = "runs",
    organization: Annotated[
        str, option("Who ran them, in records of Every Eval Ever.", OUTPUT, metavar="NAME")
    ] = "not stated",
    asked: SuiteRunOptions,
    runs_dir: RunsDir = Path("runs"),
    force: Annotated[bool, option("Overwrite files that exist.", OUTPUT, "--force")] = False,
) -> None:
    """Write stored runs as a table, a row a run, a column a setting and a test metric; nothing is run.

    Of a suite, the runs are those that its options name, as `compare` ran them. Records that cannot be read are named,
    and make the exit code 1.

    Example:
        stablebench export runs.parquet --curves curves.parquet
        stablebench export quick.csv quick --model rnn,roarnn
        stablebench export results quick --as every-eval-ever
    """
    from stablebench.api.table_files import check_table_file
    from stablebench.cli.shared.output_file import refuse_existing
    from stablebench.errors import UserError

    if as_ == "every-eval-ever":
        if curves is not None:
            raise UserError("--curves: records of Every Eval Ever have none; leave one of the two out.")
        if file.exists() and not file.is_dir():
            raise UserError(f"{file}: must be a folder for --as every-eval-ever, this is a file.")
        selection = selected_runs(what, runs_dir, asked)
        _write_evaluations(file, selection, organization, force)
    else:
        for path, name in [(file, "FILE"), (curves, "--curves")]:
            if path is not None:
                check_table_file(path, "" if path.suffix or what or path is curves else _FIRST.format(path))
                refuse_existing(path, force, name)
        if curves is not None and curves.resolve() == file.resolve():
            raise UserError(f"--curves {curves}: must be another file than that of the runs.")
        selection = selected_runs(what, runs_dir, asked)
        _write_tables(file, curves, selection)
    for problem in list(selection.unreadable.values())[:_MAX_NOTES]:
        note(f"not exported: {problem}")
    raise typer.Exit(1 if selection.unreadable else 0)


def _write_tables(file: Path, curves: Path | None, selection: "Selection") -> None:
    from stablebench.api.run_tables import curve_rows, run_rows
    from stablebench.api.table_files import write_rows

    write_rows(file, run_rows(selection.records))
    say(f"{file}: {len(selection.records)} runs")
    if curves is not None:
        rows = curve_rows(selection.records)
        write_rows(curves, rows)
        say(f"{curves}: {len(rows):,} entries of curves")


def _write_evaluations(folder: Path, selection: "Selection", organization: str, force: bool) -> None:
    import json
    from datetime import UTC, datetime

    from stablebench import leaderboard
    from stablebench.cli.shared.output_file import refuse_existing
    from stablebench.leaderboard.every_eval_ever import SCHEMA_VERSION, evaluation_records
    from stablebench.runs.atomic import write_atomically

    runs = leaderboard.latest(record for _, record in selection.records)
    board = leaderboard.build(selection.name, runs)
    documents, unscored = evaluation_records(board, runs, organization, datetime.now(UTC))
    for name in documents:
        refuse_existing(folder / name, force, "FILE")
    for name, document in documents.items():
        write_atomically(folder / name, (json.dumps(document, indent=2, ensure_ascii=False) + "\n").encode())
    say(f"{folder}: {len(documents)} records of Every Eval Ever, schema {SCHEMA_VERSION}")
    for line in unscored:
        note(f"no score, not in the records: {line}")
