"""The output of a network over the plane of its two inputs, as a figure and as the numbers behind it."""

import csv
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from stablebench.models.deep_network import DeepNetwork

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

    def write(self, path: Path) -> None:
        """Write one line a point: x1, x2, output."""
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(["x1", "x2", "output"])
            for y, row in zip(self.y.tolist(), self.output.tolist(), strict=True):
                writer.writerows(
                    [f"{x:.6g}", f"{y:.6g}", f"{z:.6g}"] for x, z in zip(self.x.tolist(), row, strict=True)
                )


@torch.no_grad()
def plane(network: DeepNetwork, x: tuple[float, float], y: tuple[float, float], points: int) -> Plane:
    """Return a network's output over a rectangle.

    Args:
        network: Of two inputs and one output; its mode (train, eval) is left as it was.
        x: Ends of the first input.
        y: Ends of the second.
        points: A side.
    """
    columns, rows = (torch.linspace(*ends, points, dtype=torch.float64) for ends in (x, y))
    grid = torch.cartesian_prod(rows, columns).flip(1)
    training = network.training
    network.eval()
    try:
        outputs = torch.cat([network(part)[0] for part in grid.split(_CHUNK)])
    finally:
        network.train(training)
    return Plane(columns, rows, outputs.view(points, points).double())


def save_figure(path: Path, plane: Plane, points: Tensor, labels: Tensor, title: str) -> None:
    """Write a figure of the outputs between -1 and 1, the line where they change sign, and examples.

    Args:
        path: Where; the suffix says the format.
        plane: The outputs.
        points: Examples (n, 2).
        labels: Their signs (n, 1).
        title: What stands above.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, 4.0), layout="constrained")
    FigureCanvasAgg(figure)
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
    axes.set_xlabel("$x_1$")
    axes.set_ylabel("$x_2$")
    figure.suptitle(title, fontsize="medium")
    figure.colorbar(shades, label="output", shrink=0.9)
    figure.savefig(path, dpi=150)
