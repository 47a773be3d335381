"""Make text files of runs a run store again."""

from pathlib import Path
from typing import Annotated

import typer

from stablebench.cli.shared.options import RunsDir
from stablebench.cli.shared.text import listed
from stablebench.cli.ui.output import note, say
from stablebench.errors import UserError


def unpack(
    *,
    archives: Annotated[
        list[Path], typer.Argument(metavar="FILE|DIR", help="Archives of `runs pack`, or folders of them.")
    ],
    runs_dir: RunsDir = Path("runs"),
) -> None:
    """Make text files of runs a run store.

    `compare --no-run`, `report`, `plot`, `list runs` and `show run` read them as the runs that were packed, and
    `compare` does not run them again. They have no weights. Nothing that the run store has is overwritten.

    Example:
        stablebench runs unpack results/core --runs-dir core_runs
    """
    from stablebench.runs.archive import read_archive, unpack

    files: list[Path] = []
    for path in archives:
        inside = sorted(path.glob("*.jsonl")) if path.is_dir() else [path]
        if not inside:
            raise UserError(f"{path}: there is no archive, *.jsonl, in this folder.")
        files += inside
    runs = [(run, path) for path in files for run in read_archive(path).values()]  # all, before one is written
    written = there = 0
    kept: list[str] = []
    for run, path in runs:
        done = unpack(run, runs_dir, str(path))
        written += done is True
        there += done is False
        if done is None:
            kept.append(run.name)
    say(f"{runs_dir}: {written:,} runs unpacked" + (f", {there:,} were there" if there else ""))
    if kept:
        note(f"there with another record, and left as they are: {listed(kept)}")
    raise typer.Exit(1 if kept else 0)
