"""Arguments that `plot` commands share."""

from pathlib import Path
from typing import Annotated

import typer

from stablebench.cli.shared.commands import OUTPUT, option
from stablebench.cli.shared.output_file import checked_figure
from stablebench.cli.shared.selection import runs_within
from stablebench.errors import UserError
from stablebench.runs.store import RunFolder

FigureFile = Annotated[
    Path,
    option(
        "The figure: .png, .svg or .pdf. Its numbers are written as .csv, too.",
        OUTPUT,
        "--output",
        "-o",
        metavar="FILE",
        callback=checked_figure,
    ),
]
RunOrCheckpoint = Annotated[
    Path | None, typer.Argument(help="A run folder, or one checkpoint file in it.", metavar="RUN")
]


def run_folder(path: Path) -> RunFolder:
    """Return the folder of one run.

    Raises:
        UserError: It is a folder without a record; the message names a run in it, if there is one.
    """
    folder = RunFolder(path)
    if path.is_dir() and not folder.record_path.exists():
        below = runs_within(path)
        way_out = f"; one in it is {below[0].path}" if below else ""
        raise UserError(f"{path}: must be the folder of one run, with a record.json{way_out}.")
    return folder


def run_and_checkpoint(path: Path) -> tuple[RunFolder, Path | None]:
    """Return the run that a path is, or that it is a checkpoint of, and the checkpoint.

    Raises:
        UserError: It is a folder without a record.
    """
    checkpoint = path if path.suffix == ".safetensors" else None
    return run_folder(path.parent.parent if checkpoint else path), checkpoint
