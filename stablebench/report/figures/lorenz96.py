"""Trajectories of a system in the plane of two of its variables, and how far off a network's prediction of them is."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from stablebench.data.batch import Batch
from stablebench.models.network import AnyNetwork
from stablebench.report.figures import style

_CHUNK = 32
"""Trajectories that go through the network at once."""


@dataclass(frozen=True)
class Trajectory:
    """One trajectory.

    Args:
        name: What stands above it.
        times: Of its points, (time,).
        states: (time, variables).
    """

    name: str
    times: Tensor
    states: Tensor


@dataclass(frozen=True)
class Prediction:
    """A trajectory as it was and as a network foresaw it, and the error over many.

    Args:
        true: The trajectory.
        predicted: What the network predicted of the same points, (time, variables).
        nrmse: At each point, root mean square error over root mean square of the targets, over all examples, (time,).
        pooled: The same over all points together.
    """

    true: Trajectory
    predicted: Tensor
    nrmse: Tensor
    pooled: float


@torch.no_grad()
def predicted(network: AnyNetwork, pieces: Iterable[Batch], which: int, times: Tensor, name: str) -> Prediction:
    """Return a network's prediction of one example, and its error over all.

    Args:
        network: Of values, every step of which is read; it is put into evaluation mode.
        pieces: The examples.
        which: Number of the example that is drawn, from 0.
        times: Of the targets, (time,).
        name: What the example is called.
    """
    network.eval()
    seen = 0
    errors, sizes = torch.zeros(len(times), dtype=torch.float64), torch.zeros(len(times), dtype=torch.float64)
    example: tuple[Tensor, Tensor] | None = None
    for piece in pieces:
        for inputs, targets in zip(piece.inputs.split(_CHUNK), piece.targets.split(_CHUNK), strict=True):
            outputs, targets = network(inputs)[0].double(), targets.double()
            errors += (outputs - targets).square().sum((0, 2))
            sizes += targets.square().sum((0, 2))
            if seen <= which < seen + len(inputs):
                example = targets[which - seen], outputs[which - seen]
            seen += len(inputs)
    if example is None:
        raise IndexError(f"there are {seen} examples, got number {which}")
    pooled = (errors.sum() / sizes.sum()).sqrt().item()
    return Prediction(Trajectory(name, times, example[0]), example[1], (errors / sizes).sqrt(), pooled)


@style.styled
def draw_trajectories(trajectories: Sequence[Trajectory], variables: tuple[int, int]) -> Figure:
    """Return a figure of trajectories in the plane of two variables, a panel each.

    Args:
        trajectories: At least one.
        variables: Numbers of the two, from 0.
    """
    figure, panels = style.new_panels(len(trajectories), len(trajectories), (3.6, 3.6))
    for axes, one in zip(panels, trajectories, strict=True):
        axes.plot(*one.states[:, variables].T.numpy(), color="black", linewidth=0.7)
        _label_plane(axes, variables, one.name)
    return figure


def save_trajectories(path: Path, trajectories: Sequence[Trajectory], variables: tuple[int, int]) -> list[Path]:
    """Write the figure and one line a point, name, time, x1, x2, ...; return both paths."""
    columns = ("name", "time", *(f"x{i + 1}" for i in range(trajectories[0].states.shape[1])))
    rows = [
        [one.name, f"{time:.6g}", *(f"{x:.7g}" for x in state)]
        for one in trajectories
        for time, state in zip(one.times.tolist(), one.states.tolist(), strict=True)
    ]
    return style.save_with_csv(path, draw_trajectories(trajectories, variables), columns, rows)


@style.styled
def draw_prediction(prediction: Prediction, variables: tuple[int, int], title: str) -> Figure:
    """Return a figure of a trajectory with its prediction, next to the error over time.

    Args:
        prediction: What is drawn.
        variables: Numbers of the two variables of the plane, from 0.
        title: Its title.
    """
    figure = style.new_figure(8.4, 3.9)
    plane, error = figure.subplots(1, 2)
    plane.plot(*prediction.true.states[:, variables].T.numpy(), color="black", label="true")
    plane.plot(
        *prediction.predicted[:, variables].T.numpy(), "--", color=style.COLOURS[1], label="predicted", linewidth=0.8
    )
    _label_plane(plane, variables, prediction.true.name)
    error.semilogy(prediction.true.times.numpy(), prediction.nrmse.numpy(), color=style.COLOURS[1])
    error.axhline(prediction.pooled, color="black", linestyle=":", label=f"all points: {prediction.pooled:.3g}")
    style.label_axes(error, "time of the predicted point", "NRMSE", "over all test trajectories")
    style.title_above(figure, title)
    style.legend_below(figure)
    return figure


def save_prediction(path: Path, prediction: Prediction, variables: tuple[int, int], title: str) -> list[Path]:
    """Write the figure and one line a point, time, nrmse, x1, ..., predicted_x1, ...; return both paths."""
    names = [f"x{i + 1}" for i in range(prediction.true.states.shape[1])]
    parts = (prediction.true.times, prediction.nrmse, prediction.true.states, prediction.predicted)
    rows = [
        [f"{time:.6g}", f"{error:.7g}", *(f"{x:.7g}" for x in (*true, *predicted))]
        for time, error, true, predicted in zip(*(part.tolist() for part in parts), strict=True)
    ]
    columns = ("time", "nrmse", *names, *(f"predicted_{name}" for name in names))
    return style.save_with_csv(path, draw_prediction(prediction, variables, title), columns, rows)


def _label_plane(axes: Axes, variables: tuple[int, int], title: str) -> None:
    style.label_axes(axes, f"$x_{variables[0] + 1}$", f"$x_{variables[1] + 1}$", title)
