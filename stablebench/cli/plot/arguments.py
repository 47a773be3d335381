"""Arguments that `plot` commands share."""

from pathlib import Path
from typing import Annotated

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
