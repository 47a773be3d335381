"""Figures for papers from a leaderboard and its runs, and the numbers behind each as lines of a CSV file.

Colours are those of Okabe and Ito, told apart by most people who do not see all colours; dashes differ as well.
"""

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path
from typing import Any

from stablebench.tables import visible

_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#000000")
_DASHES = ("-", "--", ":", "-.")
_COLUMN_INCHES = 3.3
"""Width of a column of a two-column paper."""


@dataclass(frozen=True)
class Line:
    """One model's line.

    Args:
        name: The model.
        x: Where.
        y: Its values.
        low: Lower end of a band; empty for none.
        high: Its upper end.
    """

    name: str
    x: Sequence[float]
    y: Sequence[float]
    low: Sequence[float] = ()
    high: Sequence[float] = ()


@dataclass(frozen=True)
class Plot:
    """A panel of a figure.

    Args:
        title: What stands above.
        x_label: Of the axis.
        y_label: Of the axis.
        lines: What is drawn.
        steps: Whether lines are step functions.
        log_y: Whether the vertical axis is logarithmic.
        level: A dashed horizontal line, None for none.
    """

    title: str
    x_label: str
    y_label: str
    lines: list[Line]
    steps: bool = False
    log_y: bool = False
    level: float | None = None


def save(path: Path, plots: Sequence[Plot]) -> None:
    """Write a figure of panels side by side, three a row, with one legend below.

    Args:
        path: Where; the suffix says the format.
        plots: At least one.
    """
    import matplotlib as mpl
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    across = min(len(plots), 3)
    down = -(-len(plots) // across)
    names = sorted({line.name for plot in plots for line in plot.lines})
    many = zip(names, islice(cycle(_COLOURS), len(names)), strict=True)
    looks: dict[str, dict[str, Any]] = {
        name: {"color": colour, "linestyle": _DASHES[i // len(_COLOURS) % len(_DASHES)]}
        for i, (name, colour) in enumerate(many)
    }
    paper: dict[Any, Any] = {
        "font.size": 8,
        "font.family": "serif",
        "axes.spines.top": False,
        "axes.spines.right": False,
    }
    # text stays text in SVG and PDF; no date, so that the same runs give the same file
    paper |= {"svg.fonttype": "none", "pdf.fonttype": 42, "svg.hashsalt": "stablebench"}
    with mpl.rc_context(paper):
        legend_rows = -(-len(names) // (2 * across))
        height = 2.3 * down + 0.17 * legend_rows
        figure = Figure(figsize=(_COLUMN_INCHES * across, height), layout="constrained")
        FigureCanvasAgg(figure)
        handles: dict[str, Any] = {}
        for number, plot in enumerate(plots):
            axes = figure.add_subplot(down, across, number + 1)
            for line in plot.lines:
                drawn = axes.plot(
                    line.x, line.y, label=line.name, linewidth=1.1, drawstyle="steps-post" if plot.steps else "default",
                    **looks[line.name],
                )  # fmt: skip
                handles[line.name] = drawn[0]
                if line.low:
                    axes.fill_between(line.x, line.low, line.high, color=drawn[0].get_color(), alpha=0.18, linewidth=0)
            if plot.level is not None:
                axes.axhline(plot.level, color="grey", linewidth=0.7, linestyle=(0, (4, 3)))
            if plot.log_y:
                axes.set_yscale("log")
            axes.set_title(_plain(plot.title), fontsize=8)
            axes.set_xlabel(_plain(plot.x_label))
            axes.set_ylabel(_plain(plot.y_label))
        shown = [handles[name] for name in names]
        figure.legend(
            shown, [_plain(n) for n in names], loc="outside lower center", ncols=2 * across, frameon=False, fontsize=7
        )
        dateless = {".pdf": {"CreationDate": None}, ".svg": {"Date": None}}.get(path.suffix.lower(), {})
        figure.savefig(path, dpi=300, metadata=dateless)


def _plain(text: str) -> str:
    """Return a text that matplotlib does not read as a formula, and that every format can hold."""
    return visible(text).replace("$", r"\$")


def as_csv(plots: Sequence[Plot]) -> str:
    """Return the numbers of a figure: one line a point."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["panel", "model", "x", "y", "low", "high"])
    for plot in plots:
        for line in plot.lines:
            bands = zip(line.low, line.high, strict=True) if line.low else cycle([("", "")])
            for x, y, (low, high) in zip(line.x, line.y, bands, strict=False):
                writer.writerow([plot.title, line.name, x, y, low, high])
    return text.getvalue()
