"""Housekeeping of a run store: list, remove, move, measure, label and compare runs."""

import sys
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from stablebench.cli.list_ import print_runs
from stablebench.cli.shared import completion
from stablebench.cli.shared.commands import option
from stablebench.cli.shared.options import PrintedTables, RunName, RunsDir, Where
from stablebench.cli.shared.text import counted, format_value
from stablebench.cli.ui.output import Table, note, print_json, print_tables
from stablebench.errors import StablebenchError, UserError

if TYPE_CHECKING:
    from stablebench.runs.filters import StoredRun
    from stablebench.runs.housekeeping import DiskSize

Runs = Annotated[
    list[str] | None,
    typer.Argument(
        help="Runs: folders, names or the start of them, or last.", metavar="RUN...", autocompletion=completion.runs
    ),
]
DryRun = Annotated[bool, option("Print what would be done, and stop.", None, "--dry-run")]
Yes = Annotated[bool, option("Do it without asking.", None, "--yes", "-y")]
_ENDED = ("finished", "diverged", "failed")
"""Statuses of runs that need no checkpoint to go on from."""


def list_(*, where: Where = None, runs_dir: RunsDir = Path("runs"), printed: PrintedTables) -> None:
    """List runs, as `stablebench list runs` does.

    Examples:
        stablebench runs list --where status=failed
        stablebench runs list --where task=copy,model=lstm --json
    """
    print_runs(runs_dir, where, printed)


def rm(
    *,
    runs: Runs = None,
    where: Where = None,
    checkpoints: Annotated[
        bool, option("Remove only the checkpoints of ended runs; record and curve stay.", None, "--checkpoints")
    ] = False,
    dry_run: DryRun = False,
    yes: Yes = False,
    runs_dir: RunsDir = Path("runs"),
    printed: PrintedTables,
) -> None:
    """Remove runs, or only their checkpoints; a run that a process is running is left.

    What would go is printed first, and asked for in a terminal. Without checkpoints a run can no longer be evaluated,
    probed, verified beyond its curve or extended. Exit code 1 where a run was left.

    Examples:
        stablebench runs rm copy/dizzy/1dd9e824cdfa-s0
        stablebench runs rm --where status=failed --dry-run
        stablebench runs rm --where task=copy,model=lstm --checkpoints --yes
    """
    from stablebench.runs import housekeeping

    chosen = _chosen(runs, where, runs_dir)
    if checkpoints:
        chosen = [run for run in chosen if _may_lose_checkpoints(run)]
        doing = "remove the checkpoints of"
        freed = {id(run): housekeeping.size_of(run.folder).checkpoints for run in chosen}
        chosen = [run for run in chosen if freed[id(run)]]
    else:
        doing = "remove"
        freed = {id(run): housekeeping.size_of(run.folder).total for run in chosen}
    if _agreed(doing, chosen, [_bytes_text(freed[id(run)]) for run in chosen], "frees", printed, dry_run, yes):
        act = housekeeping.prune if checkpoints else housekeeping.remove
        _each(chosen, lambda run: act(run.folder), "removed" if not checkpoints else "pruned", printed)


def mv(
    *,
    runs: Runs = None,
    to: Annotated[Path, option("The other run store; it is made if it is not there.", None, "--to", metavar="DIR")],
    where: Where = None,
    dry_run: DryRun = False,
    yes: Yes = False,
    runs_dir: RunsDir = Path("runs"),
    printed: PrintedTables,
) -> None:
    """Move runs into another run store, where `--runs-dir` finds them; no run there is overwritten.

    An interrupted move leaves the run whole in one of the stores, and the same command finishes it. A run that a
    process is running is left. Exit code 1 where a run was left.

    Examples:
        stablebench runs mv copy/dizzy/1dd9e824cdfa-s0 --to archive
        stablebench runs mv --where model=lstm --to /data/runs --dry-run
    """
    from stablebench.runs import housekeeping

    if to.exists() and not to.is_dir():
        raise UserError(f"--to {to}: must be a folder; there is a file of this name.")
    chosen = _chosen(runs, where, runs_dir)
    there = [str(housekeeping.destination(run.folder, to)) for run in chosen]
    if _agreed("move", chosen, there, "to", printed, dry_run, yes):
        _each(chosen, lambda run: housekeeping.move(run.folder, to), "moved", printed)


def du(*, where: Where = None, runs_dir: RunsDir = Path("runs"), printed: PrintedTables) -> None:
    """Print what the runs of each model on each task take on disk, and what removing checkpoints would free.

    Examples:
        stablebench runs du
        stablebench runs du --where task=copy --format csv
    """
    from stablebench.runs.filters import runs_where
    from stablebench.runs.housekeeping import DiskSize, size_of

    sizes: dict[tuple[str, str], list[Any]] = defaultdict(lambda: [0, DiskSize(), 0])
    for run in runs_where(runs_dir, _conditions(where)):
        task, model, _ = run.name.split("/")
        total, size = sizes[task, model], size_of(run.folder)
        freed = size.checkpoints if run.status in _ENDED else 0
        sizes[task, model] = [total[0] + 1, total[1] + size, total[2] + freed]
    rows = [[task, model, *_sized(*values)] for (task, model), values in sizes.items()]
    columns = ["task", "model", "runs", "bytes", "checkpoints", "prunable"]
    if printed.as_json:
        print_json([dict(zip(columns, row, strict=True)) for row in rows])
        return
    if not rows:
        note(f"There are no runs in {runs_dir}.")
        return
    totals = [sum(row[i] for row in rows) for i in range(2, 6)]
    plain = printed.fmt == "csv"
    shown = [*rows, ["all", "", *totals]] if not plain else rows
    text = shown if plain else [[*row[:3], *map(_bytes_text, row[3:])] for row in shown]
    notes = [f"`stablebench runs rm --checkpoints --where status=finished` frees at most {_bytes_text(totals[3])}."]
    print_tables([Table(columns, text, notes=[] if plain else notes)], printed.fmt)


def _sized(count: int, size: "DiskSize", freed: int) -> list[int]:
    return [count, size.total, size.checkpoints, freed]


def label(
    *,
    runs: Runs = None,
    text: Annotated[
        str, option("What the runs are called; an empty text removes the label.", None, "--as", metavar="TEXT")
    ],
    where: Where = None,
    runs_dir: RunsDir = Path("runs"),
) -> None:
    """Give runs a label, which `list`, `show`, `compare`, `report` and look-ups by name know.

    Leaderboards show it where all seeds of a row have the same one.

    Examples:
        stablebench runs label copy/dizzy/last --as "leak 0.05"
        stablebench runs label --where hash=1dd9e824cdfa --as baseline
    """
    from stablebench.runs import housekeeping

    chosen = _chosen(runs, where, runs_dir)
    for run in chosen:
        housekeeping.label(run.folder, text)
    note(f"{counted(len(chosen), 'run')} labelled '{text.strip()}'." if text.strip() else "labels removed.")


def diff(*, a: RunName, b: RunName, runs_dir: RunsDir = Path("runs"), printed: PrintedTables) -> None:
    """Print in which settings two runs differ, where each came from, their code, and their results side by side.

    Examples:
        stablebench runs diff copy/dizzy/1dd9 copy/dizzy/last
        stablebench runs diff 1dd9e824cdfa-s0 1dd9e824cdfa-s1 --json
    """
    from stablebench.cli.shared.run_differences import differences, results
    from stablebench.runs.filters import stored
    from stablebench.runs.run_paths import run_folder

    pair = [stored(run_folder(name, runs_dir)) for name in (a, b)]
    for run in pair:
        run.folder.read_record()  # its errors say what is wrong
    first, second = ((run, run.record) for run in pair if run.record is not None)
    settings, outcome = differences(first[1], second[1]), results(first[1], second[1])
    if printed.as_json:
        document = {"runs": [run.name for run in pair], "settings": settings, "results": outcome}
        print_json(document)
        return
    names = [run.folder.label or run.name for run in pair]
    rows = [[d["key"], format_value(d["a"]), format_value(d["b"]), d["from_a"], d["from_b"]] for d in settings]
    columns = ["setting", *names, "from", "from "]
    notes = [] if rows else ["All settings are equal."]
    tables = [
        Table(columns, rows, title="Settings that differ", notes=notes, wrap=frozenset(columns[1:])),
        Table(["result", *names], [[r["what"], r["a"], r["b"]] for r in outcome], title="Results"),
    ]
    print_tables(tables, printed.fmt)


def _conditions(where: list[str] | None) -> list[str]:
    return [part for text in where or () for part in text.split(",")]


def _chosen(names: list[str] | None, where: list[str] | None, runs_dir: Path) -> "list[StoredRun]":
    """Return the runs that are named, of those that fulfil all conditions; each once.

    Raises:
        UserError: Neither is given, a name is none of a run, or a condition cannot be read.
    """
    from stablebench.runs.filters import runs_where, stored
    from stablebench.runs.run_paths import run_folder

    if not names and not where:
        raise UserError("RUN is missing: name runs, or give --where KEY=VALUE, for example --where status=failed.")
    if not names:
        return list(runs_where(runs_dir, _conditions(where)))
    folders = {run_folder(name, runs_dir).path.absolute(): run_folder(name, runs_dir) for name in names}
    for folder in folders.values():
        if not folder.record_path.exists():
            folder.read_record()  # its error says that there is none
    if not where:
        return [stored(folder) for folder in folders.values()]
    return [run for run in runs_where(runs_dir, _conditions(where)) if run.folder.path.absolute() in folders]


def _may_lose_checkpoints(run: "StoredRun") -> bool:
    if run.status in _ENDED:
        return True
    note(f"left: {run.name}: {run.status}; it goes on from its checkpoints.")
    return False


def _agreed(
    doing: str,
    runs: "Sequence[StoredRun]",
    details: Sequence[str],
    column: str,
    printed: PrintedTables,
    dry_run: bool,
    yes: bool,
) -> bool:
    """Print what would be done, and return whether it is to be done.

    Raises:
        UserError: It is to be asked for, and there is no terminal.
    """
    if not runs:
        note("No run is meant: nothing is done.")
        return False
    columns = ["run", "label", "status", column]
    rows = [[r.name, r.folder.label, r.status, detail] for r, detail in zip(runs, details, strict=True)]
    if dry_run and printed.as_json:
        print_json([dict(zip(columns, row, strict=True)) for row in rows])
    elif dry_run or (not yes and not printed.as_json):
        print_tables([Table(columns, rows, title=f"Would {doing}:")], printed.fmt if dry_run else "table")
    if dry_run:
        return False
    if yes:
        return True
    if not sys.stdin.isatty():
        raise UserError(f"to {doing} {counted(len(runs), 'run')} give --yes: there is no terminal to ask in.")
    return typer.confirm(f"{doing[0].upper()}{doing[1:]} {counted(len(runs), 'run')}?", err=True)


def _each(runs: "Sequence[StoredRun]", act: "Callable[[StoredRun], Any]", done: str, printed: PrintedTables) -> None:
    """Do it to each run, say which were left and why, and end with exit code 1 if there are any."""
    left = []
    results = []
    for run in runs:
        try:
            act(run)
            results.append({"run": run.name, "done": done, "problem": None})
        except StablebenchError as error:
            left.append(run)
            results.append({"run": run.name, "done": None, "problem": str(error)})
            note(f"left: {error}")
    if printed.as_json:
        print_json(results)
    note(f"{counted(len(runs) - len(left), 'run')} {done}" + (f", {len(left)} left." if left else "."))
    if left:
        raise typer.Exit(1)


def _bytes_text(count: int) -> str:
    from stablebench.cli.ui.progress import size_text

    return size_text(count)
