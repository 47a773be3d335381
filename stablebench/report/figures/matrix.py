"""Figures of pairs of models: a matrix of how often one beats the other, and what a test says of it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy
from matplotlib.figure import Figure

from stablebench.report.figures import style

COLUMNS = ("panel", "model", "other", "P(better)", "verdict")
_CELL = 0.34
"""Inches."""


@dataclass(frozen=True)
class Matrix:
    """A panel of a figure.

    Args:
        title: Its title.
        names: The models, of rows and columns.
        cells: By row and column how often a run of the row's model beats one of the column's, and what is decided:
            `better`, `worse`, `equal` or `undecided`; None where no test was made.
    """

    title: str
    names: Sequence[str]
    cells: Sequence[Sequence[tuple[float, str] | None]]


@style.styled
def draw_matrices(matrices: Sequence[Matrix]) -> Figure:
    """Return a figure of at least one matrix; what is decided is bold, what is equal underlined by a frame."""
    widest = max(len(matrix.names) for matrix in matrices)
    side = 1.4 + _CELL * widest
    figure, panels = style.new_panels(len(matrices), 2, (side, side))
    for axes, matrix in zip(panels, matrices, strict=True):
        values = [[numpy.nan if cell is None else cell[0] for cell in row] for row in matrix.cells]
        axes.imshow(numpy.array(values), cmap="PuOr_r", vmin=0, vmax=1)
        for i, row in enumerate(matrix.cells):
            for j, cell in enumerate(row):
                if cell is not None:
                    decided = cell[1] in ("better", "worse")
                    text = f"={cell[0]:.2f}" if cell[1] == "equal" else f"{cell[0]:.2f}"
                    dark = abs(cell[0] - 0.5) > 0.35
                    axes.text(
                        j,
                        i,
                        text,
                        ha="center",
                        va="center",
                        fontsize=5.5,
                        fontweight="bold" if decided else "normal",
                        color="white" if dark else "black",
                    )
        places, names = range(len(matrix.names)), [style.plain(name) for name in matrix.names]
        axes.set_xticks(places, names, rotation=90)
        axes.set_yticks(places, names)
        axes.grid(visible=False)
        axes.set_title(style.plain(f"{matrix.title}: P(row beats column); bold: decided at 5 %"))
    return figure


def save_matrices(path: Path, matrices: Sequence[Matrix]) -> list[Path]:
    """Write a figure and its numbers; return both paths."""
    return style.save_with_csv(path, draw_matrices(matrices), COLUMNS, _numbers_of(matrices))


def _numbers_of(matrices: Sequence[Matrix]) -> Iterator[Sequence[Any]]:
    for matrix in matrices:
        for name, row in zip(matrix.names, matrix.cells, strict=True):
            for other, cell in zip(matrix.names, row, strict=True):
                if cell is not None:
                    yield matrix.title, name, other, *cell
