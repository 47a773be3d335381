"""Figures of panels side by side, three a row, with one legend below: what the figures for papers are made of."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from stablebench.report.figures import style
from stablebench.report.figures.curves import Line

COLUMNS = ("panel", "model", "x", "y", "low", "high")


@dataclass(frozen=True)
class Plot:
    """A panel of a figure.

    Args:
        title: Its title.
        x_label: Label of the horizontal axis.
        y_label: Label of the vertical axis.
        lines: What is drawn.
        log_y: Whether the vertical axis is logarithmic.
        level: Height of a dashed horizontal line, None for none.
        guide: A dashed grey line that is no model's: guessing.
        log_x: Whether the horizontal axis is logarithmic.
        shaded: Ends of a part of the horizontal axis with a grey ground, and what it is.
        labelled: Whether each line is one point with its name next to it, in place of the legend.
    """

    title: str
    x_label: str
    y_label: str
    lines: list[Line]
    log_y: bool = False
    level: float | None = None
    guide: Line | None = None
    log_x: bool = False
    shaded: tuple[float, float, str] | None = None
    labelled: bool = False


@style.styled
def draw_plots(plots: Sequence[Plot]) -> Figure:
    """Return a figure of at least one panel; a model looks the same in each."""
    looks = style.looks(line.name for plot in plots for line in plot.lines)
    legend = 0.17 * -(-len(looks) // (2 * min(len(plots), 3)))
    figure, panels = style.new_panels(len(plots), 3, (3.3, 2.3), legend)
    for axes, plot in zip(panels, plots, strict=True):
        for line in sorted(plot.lines, key=lambda line: line.name):
            style.draw_line(axes, line, **looks[line.name])
        if plot.labelled:
            style.name_points(axes, plot.lines)
        if plot.guide is not None:
            grey = {"color": "grey", "linewidth": 0.8, "linestyle": (0, (4, 3))}
            style.draw_line(axes, plot.guide, **grey)
        if plot.log_x:
            axes.set_xscale("log", base=2)
            axes.xaxis.set_major_formatter(style.plain_numbers)
        if plot.shaded is not None:
            low, high, what = plot.shaded
            axes.axvspan(low, high, color="grey", alpha=0.15, linewidth=0, label=style.plain(what))
        if plot.level is not None:
            axes.axhline(plot.level, color="grey", linewidth=0.7, linestyle=(0, (4, 3)))
        if plot.log_y:
            axes.set_yscale("log")
        style.label_axes(axes, style.plain(plot.x_label), style.plain(plot.y_label), style.plain(plot.title))
    if not all(plot.labelled for plot in plots):
        style.legend_below(figure)
    return figure


def numbers_of(plots: Sequence[Plot]) -> Iterator[Sequence[Any]]:
    """Yield the numbers of a figure under `COLUMNS`, a row a point."""
    for plot in plots:
        for line in [*plot.lines, *([] if plot.guide is None else [plot.guide])]:
            bands = zip(line.low, line.high, strict=True) if len(line.low) else cycle([("", "")])
            for x, y, (low, high) in zip(line.x, line.y, bands, strict=False):
                yield plot.title, line.name, x, y, low, high


def save_plots(path: Path, plots: Sequence[Plot]) -> list[Path]:
    """Write a figure and its numbers; return both paths."""
    return style.save_with_csv(path, draw_plots(plots), COLUMNS, numbers_of(plots))
