"""Write stored runs into a text file that can be committed: records and curves, without weights."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from stablebench.cli.shared.commands import OUTPUT, option
from stablebench.cli.shared.options import RunsDir
from stablebench.cli.shared.requests import SuiteRunOptions
from stablebench.cli.shared.selection import SuiteOrRuns, selected_runs
from stablebench.cli.shared.text import listed
from stablebench.cli.ui.output import note, say
from stablebench.errors import UserError

if TYPE_CHECKING:
    from stablebench.runs.archive import ArchivedRun


def pack(
    *,
    what: SuiteOrRuns = None,
    asked: SuiteRunOptions,
    runs_dir: RunsDir = Path("runs"),
    output: Annotated[
        Path,
        option("The archive, FILE.jsonl; or a folder, for TASK.jsonl of each task.", OUTPUT, "--output", "-o"),
    ] = Path("runs.jsonl"),
    force: Annotated[bool, option("Replace runs that the archive has with another record.", OUTPUT, "--force")] = False,
) -> None:
    """Write stored runs into a text file, a line a run.

    A line of about 3 kB has the record and the curve at its evaluations; checkpoints, and the code of models of your
    own, are not kept. Runs are added to those that the file has. `runs unpack` makes a run store of it again.

    Example:
        stablebench runs pack core --recipes core -o results/core
    """
    from stablebench.runs.archive import archive_text, packed, read_archive, with_runs
    from stablebench.runs.atomic import write_atomically
    from stablebench.runs.store import RunFolder

    selection = selected_runs(what, runs_dir, asked)
    runs: dict[Path, dict[str, ArchivedRun]] = {}
    running = 0
    for path, record in selection.records:
        folder = RunFolder(path)
        if record.status == "running" and not folder.lock_is_stale():
            running += 1
            continue
        try:
            run = packed(folder, record)
        except ValueError as error:
            raise UserError(f"{path}: {error}.") from None
        archive = output if output.suffix == ".jsonl" else output / f"{record.spec.task.name}.jsonl"
        if run.name in runs.setdefault(archive, {}):
            raise UserError(f"{path}: another folder has the same run, {run.name}; pack one of them.")
        runs[archive][run.name] = run
    kept: list[str] = []
    archives = {path: read_archive(path) if path.exists() else {} for path in runs}  # all, before one is written
    for archive, there in archives.items():
        merged, new, differ = with_runs(there, runs[archive].values(), force=force)
        text = archive_text(merged.values()).encode()
        if new or not archive.exists():
            write_atomically(archive, text)
        say(f"{archive}: {len(merged):,} runs, {len(new):,} of them new; {len(text):,} bytes")
        kept += differ
    if running:
        note(f"left out: {running} that are running")
    if kept:
        note(f"there with another record, and left as they are without --force: {listed(kept)}")
    for problem in selection.unreadable.values():
        note(f"not packed: {problem}")
    raise typer.Exit(1 if kept or selection.unreadable else 0)
