"""The output of a network over the plane of its two inputs, as a figure and as the numbers behind it."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from matplotlib.figure import Figure
from torch import Tensor

from stablebench.models.deep_network import DeepNetwork
from stablebench.report.figures import style

_CHUNK = 2000
"""Points that go through the network at once."""


@dataclass(frozen=True)
class Plane:
    """Outputs over a grid.

    Args:
        x: First input (columns).
        y: Second input (rows).
        output: (rows, columns).
    """

    x: Tensor
    y: Tensor
    output: Tensor

    def rows(self) -> Iterator[tuple[str, str, str]]:
        """Yield x1, x2 and output of each point."""
        for y, row in zip(self.y.tolist(), self.output.tolist(), strict=True):
            yield from ((f"{x:.6g}", f"{y:.6g}", f"{z:.6g}") for x, z in zip(self.x.tolist(), row, strict=True))


@torch.no_grad()
def plane(network: DeepNetwork, x: tuple[float, float], y: tuple[float, float], points: int) -> Plane:
    """Return a network's output over a rectangle.

    Args:
        network: Of two inputs and one output; it is put into evaluation mode.
        x: Ends of the first input.
        y: Ends of the second.
        points: A side.
    """
    columns, rows = (torch.linspace(*ends, points, dtype=torch.float64) for ends in (x, y))
    grid = torch.cartesian_prod(rows, columns).flip(1)
    network.eval()
    outputs = torch.cat([network(part)[0] for part in grid.split(_CHUNK)])
    return Plane(columns, rows, outputs.view(points, points).double())


@style.styled
def draw(plane: Plane, points: Tensor, labels: Tensor, title: str) -> Figure:
    """Return a figure of the outputs between -1 and 1, the line where they change sign, and examples.

    Args:
        plane: The outputs.
        points: Examples (n, 2).
        labels: Their signs (n, 1).
        title: Its title.
    """
    figure = style.new_figure(6.4, 4.0)
    axes = figure.add_subplot()
    x, y, output = plane.x.numpy(), plane.y.numpy(), plane.output.numpy()
    shades = axes.pcolormesh(x, y, output, cmap="RdBu_r", vmin=-1, vmax=1, shading="nearest", rasterized=True)
    if output.min() < 0 < output.max():
        axes.contour(x, y, output, levels=[0.0], colors="black", linewidths=1)
    upper = labels[:, 0] > 0
    for which, marker in ((upper, "o"), (~upper, "^")):
        axes.plot(*points[which].T.numpy(), marker, markersize=2, color="black", linestyle="none", markeredgewidth=0)
    axes.set_xlim(x[0], x[-1])
    axes.set_ylim(y[0], y[-1])
    axes.set_aspect("equal")
    axes.grid(visible=False)
    style.label_axes(axes, "$x_1$", "$x_2$")
    style.title_above(figure, title)
    figure.colorbar(shades, label="output", shrink=0.9)
    return figure


def save_figure(path: Path, plane: Plane, points: Tensor, labels: Tensor, title: str) -> list[Path]:
    """Write the figure and the plane's numbers; return both paths. See `draw`."""
    return style.save_with_csv(path, draw(plane, points, labels, title), ("x1", "x2", "output"), plane.rows())
