"""Gradient norms over time as a figure."""

from collections.abc import Mapping
from pathlib import Path

from matplotlib.figure import Figure

from stablebench.probes.gradient_flow import GradientFlow
from stablebench.report.figures import style
from stablebench.report.figures.curves import Line


@style.styled
def draw(flows: Mapping[str, GradientFlow], title: str) -> Figure:
    """Return a figure of the norms of all models: medians, and bands from 5 to 95 % of the samples.

    The axis is drawn over log10 of the norm, because norms may lie beyond what a float can hold.

    Args:
        flows: By model.
        title: Its title.
    """
    figure = style.new_figure(7, 4.2)
    axes = figure.add_subplot()
    for number, (name, flow) in enumerate(flows.items()):
        middle, low, high = (style.finite(row) for row in flow.quantiles().values())  # median, 5 and 95 %
        style.draw_line(axes, Line(name, range(len(middle)), middle, low, high), **style.look(number))
    style.show_powers_of_ten(axes.yaxis)
    style.keep_flat_lines_flat(axes)
    style.label_axes(axes, "t", r"$\|\partial L / \partial h_t\|$")
    style.title_above(figure, title)
    style.legend_below(figure)
    return figure


def save_figure(path: Path, flows: Mapping[str, GradientFlow], title: str) -> None:
    """Write the figure; see `draw`."""
    style.save(path, draw(flows, title))
