"""Gradient norms over time as a picture: a figure file, or a few lines of text for a terminal."""

import math
from collections.abc import Mapping
from pathlib import Path

from stablebench.errors import UserError
from stablebench.probes.gradient_flow import GradientFlow

_SUFFIXES = (".png", ".svg", ".pdf")


def check_figure_path(path: Path, option: str = "--png") -> None:
    """Raise `UserError` unless `path` names a figure that can be written.

    Args:
        path: What was asked for.
        option: By which option.

    Raises:
        UserError: Its suffix is none of a figure's, or its folder does not exist.
    """
    if path.suffix.lower() not in _SUFFIXES:
        raise UserError(f"{option} {path}: must end in {', '.join(_SUFFIXES)}.")
    if not path.parent.is_dir():
        raise UserError(f"{option} {path}: there is no folder {path.parent}.")


def save_figure(path: Path, flows: Mapping[str, GradientFlow], title: str) -> None:
    """Write a figure of the norms of all models: medians, and bands from 5 to 95 % of the samples.

    The axis is drawn over log10 of the norm, because norms may lie beyond what a float can hold.

    Args:
        path: Where; the suffix says the format.
        flows: By model.
        title: What stands above.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    figure = Figure(figsize=(7, 4.2), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    for name, flow in flows.items():
        rows = {k: [math.nan if v is None else v for v in row] for k, row in flow.quantiles().items()}
        t = range(len(rows["median"]))
        (line,) = axes.plot(t, rows["median"], label=name)
        axes.fill_between(t, rows["p5"], rows["p95"], color=line.get_color(), alpha=0.2, linewidth=0)
    axes.yaxis.set_major_formatter(FuncFormatter(lambda v, _: f"$10^{{{v:g}}}$"))
    axes.yaxis.set_major_locator(MaxNLocator(min_n_ticks=2))
    low, high = axes.get_ylim()
    if high - low < 1:  # a flat line is flat, not rounding noise blown up
        axes.set_ylim((low + high) / 2 - 0.5, (low + high) / 2 + 0.5)
    axes.set_xlabel("t")
    axes.set_ylabel(r"$\|\partial L / \partial h_t\|$")
    axes.set_title(title)
    axes.legend(frameon=False)
    axes.grid(alpha=0.3)
    figure.savefig(path, dpi=150)


def text_plot(flows: Mapping[str, GradientFlow], width: int = 64, height: int = 12) -> str:
    """Return the medians of log10 of the norm over t, in plain characters.

    Args:
        flows: By model; each gets a letter.
        width: Columns of the plot itself.
        height: Its lines.
    """
    medians = {name: flow.quantiles()["median"] for name, flow in flows.items()}
    values = [v for row in medians.values() for v in row if v is not None]
    if not values:
        return "every gradient is exactly 0: nothing to plot"
    end = max(len(row) for row in medians.values()) - 1
    low, high = min(values), max(values)
    if high - low < 1:
        low, high = (low + high) / 2 - 0.5, (low + high) / 2 + 0.5
    grid = [[" "] * width for _ in range(height)]
    marks = ["*"] if len(medians) == 1 else [chr(ord("a") + i % 26) for i in range(len(medians))]
    for mark, row in zip(marks, medians.values(), strict=True):
        for t, value in enumerate(row):
            if value is not None:
                x = round(t / max(end, 1) * (width - 1))
                y = round((high - value) / (high - low) * (height - 1))
                grid[y][x] = mark
    lines = []
    for y, row in enumerate(grid):
        label = f"{high - (high - low) * y / (height - 1):8.1f}" if y % 3 == 0 or y == height - 1 else ""
        lines.append(f"{label:>8} |{''.join(row)}".rstrip())
    lines.append(f"{'':8} +{'-' * width}")
    lines.append(f"{'':10}t = 0{f' t = {end}':>{width - 5}}")
    legend = "" if len(medians) == 1 else ": " + ", ".join(f"{m} {n}" for m, n in zip(marks, medians, strict=True))
    return "\n".join([f"log10 ||dL/dh_t||, median{legend}", *lines])
