"""The one style of all figures: canvas, colours, lines with bands, legends, and the file with its numbers.

Colours and dashes are those of `stablebench.report.palette`: a model has the same in all figures. Legends lie outside
the axes, where no curve can be.
"""

import csv
import io
import math
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.rcsetup import cycler
from matplotlib.ticker import FuncFormatter, MaxNLocator

from stablebench.report import palette
from stablebench.report.figures.curves import Line
from stablebench.runs.atomic import write_atomically
from stablebench.tables import visible

COLOURS = palette.LIGHT
_DPI = 200
_STYLE: Any = {
    "font.size": 8,
    "axes.titlesize": 8,
    "figure.titlesize": 8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.3,
    "lines.linewidth": 1.1,
    "lines.markersize": 4,
    "legend.frameon": False,
    "legend.fontsize": 7,
    "axes.prop_cycle": cycler(color=COLOURS),
    # text stays text in SVG and PDF; no date, so that the same runs give the same file
    "svg.fonttype": "none",
    "pdf.fonttype": 42,
    "svg.hashsalt": "stablebench",
}
_DATELESS: Mapping[str, dict[str, Any]] = {".pdf": {"CreationDate": None}, ".svg": {"Date": None}}

styled = mpl.rc_context(_STYLE)
"""Decorates what draws, so that it draws in this style."""


def new_figure(width: float, height: float) -> Figure:
    """Return an empty figure, sizes in inches."""
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def new_panels(count: int, across: int, size: tuple[float, float], legend: float = 0.0) -> tuple[Figure, list[Axes]]:
    """Return an empty figure and its panels, row by row.

    Args:
        count: How many panels, >= 1.
        across: How many there are in a row at most.
        size: Width and height of a panel in inches.
        legend: Height that is left for what stands below them.
    """
    columns = min(count, across)
    rows = -(-count // columns)
    figure = new_figure(size[0] * columns, size[1] * rows + legend)
    return figure, [figure.add_subplot(rows, columns, number) for number in range(1, count + 1)]


@styled
def save(path: Path, figure: Figure) -> None:
    """Write a figure; the suffix of `path` decides the format."""
    content, suffix = io.BytesIO(), path.suffix.lower()
    figure.savefig(content, format=suffix[1:], dpi=_DPI, metadata=_DATELESS.get(suffix, {}))
    write_atomically(path, content.getvalue())


def save_with_csv(path: Path, figure: Figure, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> list[Path]:
    """Write a figure, and its numbers as a CSV file of the same name; return both paths.

    Args:
        path: The figure's file.
        figure: The figure.
        columns: Headings of its numbers.
        rows: Its numbers.
    """
    save(path, figure)
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([columns, *rows])
    numbers = path.with_suffix(".csv")
    write_atomically(numbers, text.getvalue().encode())
    return [path, numbers]


def plain(text: str) -> str:
    """Return a text that matplotlib does not read as a formula, and that every format can hold."""
    return visible(text).replace("$", r"\$")


def look(number: int, dashes: int | None = None) -> dict[str, Any]:
    """Return colour and dashes of the line with these numbers; by its first alone, different for the first 54."""
    colour, own = palette.colour_and_dashes(number)
    lengths = palette.DASHES[own if dashes is None else dashes % len(palette.DASHES)]
    return {"color": COLOURS[colour], "linestyle": (0, lengths) if lengths else "-"}


def looks(names: Iterable[str]) -> dict[str, dict[str, Any]]:
    """Return colour and dashes of each model of a figure, by its name."""
    return {name: look(number) for name, number in palette.looks(names).items()}


def draw_line(axes: Axes, line: Line, **style: Any) -> Any:
    """Draw a line with its band, and return its handle; a point without neighbours is drawn as a marker.

    Args:
        axes: Where.
        line: The line; NaN interrupts it.
        style: matplotlib's arguments of a line.
    """
    x, y = numpy.asarray(line.x, float), numpy.asarray(line.y, float)
    drawn = numpy.concatenate([[False], numpy.isfinite(y), [False]])
    lonely = numpy.flatnonzero(drawn[1:-1] & ~drawn[:-2] & ~drawn[2:])
    style = {"label": plain(line.name), "drawstyle": "steps-post" if line.steps else "default"} | style
    (handle,) = axes.plot(x, y, marker="o", markevery=lonely.tolist(), **style)
    if not len(lonely):
        handle.set_marker("none")
    if len(line.low):
        low, high, colour = numpy.asarray(line.low, float), numpy.asarray(line.high, float), handle.get_color()
        axes.fill_between(x, low, high, color=colour, alpha=0.18, linewidth=0)
        if len(lonely):
            axes.vlines(x[lonely], low[lonely], high[lonely], color=colour, alpha=0.4)
    return handle


def name_points(axes: Axes, lines: Iterable[Line]) -> None:
    """Write next to each line's last point what it is; names of points that lie close to each other stand apart."""
    points = sorted((line for line in lines if len(line.x)), key=lambda line: (line.y[-1], line.x[-1], line.name))
    heights: list[float] = []
    axes.margins(x=0.15)
    low, high = axes.get_ylim()
    left, right = axes.get_xlim()
    apart = 0.055 * (high - low)
    for line in points:
        height = max(line.y[-1], heights[-1] + apart) if heights else line.y[-1]
        heights.append(height)
    excess = max(0.0, heights[-1] - high) if heights else 0.0
    for line, height in zip(points, heights, strict=True):
        at = (line.x[-1], line.y[-1])
        place = (line.x[-1] + 0.02 * (right - left), height - excess)
        axes.annotate(
            plain(line.name),
            at,
            xytext=place,
            textcoords="data",
            xycoords="data",
            fontsize=6,
            ha="left",
            va="center",
            bbox={"facecolor": "none", "edgecolor": "none", "pad": 2.5},
            arrowprops={"arrowstyle": "-", "color": "grey", "linewidth": 0.4, "shrinkA": 0, "shrinkB": 0},
        )


def draw_unit_circle(axes: Axes) -> None:
    """Draw the unit circle of the complex plane, with both axes on one scale."""
    angle = numpy.linspace(0, 2 * math.pi, 361)
    axes.plot(numpy.cos(angle), numpy.sin(angle), color="black", linewidth=0.8, label="unit circle")
    axes.set_aspect("equal", adjustable="datalim")


def label_axes(axes: Axes, x: str, y: str, title: str = "") -> None:
    """Write the labels of an axes; texts may hold formulas."""
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.set_title(title)


def title_above(figure: Figure, title: str, caption: str = "") -> None:
    """Write above a figure what it is and, in as many lines as it takes, how it is to be read."""
    width = int(17 * figure.get_figwidth())
    figure.suptitle("\n".join(textwrap.fill(plain(part), width) for part in (title, caption) if part))


def show_powers_of_ten(axis: Axis, **locator: Any) -> None:
    """Label an axis of logarithms to base 10 with the powers; `locator` are arguments of `MaxNLocator`."""
    axis.set_major_locator(MaxNLocator(**({"integer": True, "min_n_ticks": 2} | locator)))
    axis.set_major_formatter(FuncFormatter(lambda v, _: f"$10^{{{v:.4g}}}$"))


def keep_flat_lines_flat(axes: Axes) -> None:
    """Widen a vertical axis of logarithms to one decade, so that rounding noise is not blown up."""
    low, high = axes.get_ylim()
    if high - low < 1:
        axes.set_ylim((low + high) / 2 - 0.5, (low + high) / 2 + 0.5)


def legend_below(figure: Figure) -> None:
    """Name the lines of all panels once, below them."""
    handles = {label: h for axes in figure.axes for h, label in zip(*axes.get_legend_handles_labels(), strict=True)}
    if handles:
        columns = _columns(handles, figure.get_figwidth())
        figure.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=columns)


def legend_below_axes(axes: Axes, width: float, most: int = 14) -> None:
    """Name the lines of one panel below it.

    Args:
        axes: The panel.
        width: Its width in inches.
        most: Lines that are named; of more, the last entry says how many are left out.
    """
    handles, labels = axes.get_legend_handles_labels()
    if len(handles) > most:
        labels = [*labels[: most - 1], f"{len(labels) - most + 1} more: see the numbers"]
        handles = handles[:most]
    # five lines of its text below the panel: under the labels of its horizontal axis
    position = {"loc": "upper center", "bbox_to_anchor": (0.5, 0), "borderaxespad": 5}
    axes.legend(handles, labels, ncols=_columns(labels, width), **position)


def _columns(labels: Iterable[str], width: float) -> int:
    """Return in how many columns a legend is as wide as `width` inches at most."""
    sizes = [len(label) for label in labels]
    return max(1, min(len(sizes), int(14 * width) // (max(sizes, default=0) + 7)))


plain_numbers = FuncFormatter(lambda value, _: f"{value:g}")
"""Labels a logarithmic axis with its numbers."""


def finite(values: Sequence[float | None]) -> list[float]:
    """Return values with NaN for None and for what is not finite."""
    return [value if value is not None and math.isfinite(value) else math.nan for value in values]
