"""Arguments that `plot` commands share."""

from pathlib import Path
from typing import Annotated

import typer

from stablebench.cli.shared.commands import OUTPUT, option
from stablebench.cli.shared.output_file import checked_figure

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
