"""Trajectories of a system in the plane of two of its variables, and how far off a network's prediction of them is."""

import csv
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from stablebench.data.batch import Batch
from stablebench.models.network import Network
from stablebench.runs.atomic import write_atomically

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
        predicted: What the network said of the same points, (time, variables).
        nrmse: At each point, root mean square error over root mean square of the targets, over all examples, (time,).
        pooled: The same over all points together.
    """

    true: Trajectory
    predicted: Tensor
    nrmse: Tensor
    pooled: float


@torch.no_grad()
def predicted(network: Network, pieces: Iterable[Batch], which: int, times: Tensor, name: str) -> Prediction:
    """Return a network's prediction of one example, and its error over all.

    Args:
        network: Of values, every step of which is read; its mode (train, eval) is left as it was.
        pieces: The examples.
        which: Number of the example that is drawn, from 0.
        times: Of the targets, (time,).
        name: What the example is called.
    """
    training, seen = network.training, 0
    errors, sizes = torch.zeros(len(times), dtype=torch.float64), torch.zeros(len(times), dtype=torch.float64)
    found: tuple[Tensor, Tensor] | None = None
    network.eval()
    try:
        for piece in pieces:
            for inputs, targets in zip(piece.inputs.split(_CHUNK), piece.targets.split(_CHUNK), strict=True):
                outputs, targets = network(inputs)[0].double(), targets.double()
                errors += (outputs - targets).square().sum((0, 2))
                sizes += targets.square().sum((0, 2))
                if seen <= which < seen + len(inputs):
                    found = targets[which - seen], outputs[which - seen]
                seen += len(inputs)
    finally:
        network.train(training)
    if found is None:
        raise IndexError(f"there are {seen} examples, got number {which}")
    pooled = (errors.sum() / sizes.sum()).sqrt().item()
    return Prediction(Trajectory(name, times, found[0]), found[1], (errors / sizes).sqrt(), pooled)


def write_trajectories(path: Path, trajectories: Sequence[Trajectory]) -> None:
    """Write one line a point: name, time, x1, x2, ..."""
    variables = trajectories[0].states.shape[1]
    rows = [["name", "time", *(f"x{i + 1}" for i in range(variables))]]
    for one in trajectories:
        points = zip(one.times.tolist(), one.states.tolist(), strict=True)
        rows += [[one.name, f"{time:.6g}", *(f"{x:.7g}" for x in state)] for time, state in points]
    _write(path, rows)


def write_prediction(path: Path, found: Prediction) -> None:
    """Write one line a point: time, nrmse, x1, x2, ..., predicted_x1, predicted_x2, ..."""
    names = [f"x{i + 1}" for i in range(found.true.states.shape[1])]
    rows = [["time", "nrmse", *names, *(f"predicted_{name}" for name in names)]]
    columns = (found.true.times, found.nrmse, found.true.states, found.predicted)
    for time, error, state, said in zip(*(column.tolist() for column in columns), strict=True):
        rows.append([f"{time:.6g}", f"{error:.7g}", *(f"{x:.7g}" for x in (*state, *said))])
    _write(path, rows)


def _write(path: Path, rows: list[list[str]]) -> None:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    write_atomically(path, text.getvalue().encode())


def save_trajectories(path: Path, trajectories: Sequence[Trajectory], variables: tuple[int, int]) -> None:
    """Write a figure of trajectories in the plane of two variables, a panel each.

    Args:
        path: Where; the suffix says the format.
        trajectories: At least one.
        variables: Numbers of the two, from 0.
    """
    figure, axes = _figure(len(trajectories), width=3.6 * len(trajectories))
    for axis, one in zip(axes, trajectories, strict=True):
        axis.plot(*one.states[:, variables].T.numpy(), color="black", linewidth=0.7)
        axis.set_title(one.name)
        _label_plane(axis, variables)
    _save(figure, path)


def save_prediction(path: Path, found: Prediction, variables: tuple[int, int], title: str) -> None:
    """Write a figure of a trajectory with its prediction, beside the error over time.

    Args:
        path: Where; the suffix says the format.
        found: What is drawn.
        variables: Numbers of the two variables of the plane, from 0.
        title: What stands above.
    """
    figure, (plane, error) = _figure(2, width=8.4)
    for states, style, label in (
        (found.true.states, {"color": "black", "linewidth": 1.2}, "true"),
        (found.predicted, {"color": "tab:red", "linewidth": 0.8, "linestyle": "--"}, "predicted"),
    ):
        plane.plot(*states[:, variables].T.numpy(), label=label, **style)
    plane.set_title(found.true.name)
    plane.legend(frameon=False)
    _label_plane(plane, variables)
    error.semilogy(found.true.times.numpy(), found.nrmse.numpy(), color="tab:red", linewidth=1)
    error.axhline(found.pooled, color="black", linewidth=0.8, linestyle=":", label=f"all points: {found.pooled:.3g}")
    error.set_title("over all test trajectories")
    error.set_xlabel("time of the predicted point")
    error.set_ylabel("NRMSE")
    error.grid(alpha=0.3, which="both")
    error.legend(frameon=False)
    figure.suptitle(title, fontsize="medium")
    _save(figure, path)


def _figure(panels: int, width: float):
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, 3.6), layout="constrained")
    FigureCanvasAgg(figure)
    return figure, figure.subplots(1, panels, squeeze=False)[0]


def _label_plane(axis, variables: tuple[int, int]) -> None:
    axis.set_xlabel(f"$x_{variables[0] + 1}$")
    axis.set_ylabel(f"$x_{variables[1] + 1}$")
    axis.grid(alpha=0.3)


def _save(figure, path: Path) -> None:
    content = io.BytesIO()
    figure.savefig(content, format=path.suffix[1:].lower(), dpi=150)
    write_atomically(path, content.getvalue())
