"""coRNN's single neurons and pairs under two signals, as a figure and as the numbers behind it."""

import csv
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stablebench.report.figures.oscillator_trajectories import (
    PAIRS,
    SIGNALS,
    SINGLE,
    Oscillator,
    Trajectory,
    trajectory,
)

_LIMITS = {"cos 4t": (-1.5, 1.5), "steps": (-1.5, 2.0)}
"""Of the drawn y, near the paper's; what lies outside is in the numbers."""


@dataclass(frozen=True)
class OscillatorFigure:
    """Trajectories by signal and system.

    Args:
        dt: The model's time step.
        every: Steps between two points that are drawn and written.
        found: (signal's name, system, trajectory).
    """

    dt: float
    every: int
    found: list[tuple[str, Oscillator, Trajectory]]

    def write(self, path: Path) -> None:
        """Write one line a neuron and time: signal, system, neuron, t, u, y, velocity; empty once broken off."""
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(["signal", "system", "neuron", "t", "u", "y", "velocity"])
            for name, system, one in self.found:
                u = SIGNALS[name](one.t)
                for i in range(0, len(one.t), self.every):
                    for neuron in range(system.neurons):
                        y, z = (part[i, neuron].item() for part in (one.y, one.z))
                        values = ["", ""] if y != y else [f"{y:.9g}", f"{z:.9g}"]
                        writer.writerow([name, system.name, neuron + 1, f"{one.t[i]:.6g}", f"{u[i]:.6g}", *values])

    def broken_off(self) -> list[str]:
        """Return a sentence for each trajectory that grew without bound."""
        return [
            f"{system.name} under {name} passes |y| = 1000 at t = {one.ends:.2f}"
            for name, system, one in self.found
            if one.ends is not None
        ]


def oscillators(dt: float, time: float) -> OscillatorFigure:
    """Return the trajectories of the paper's figure 6: single neurons under both signals, pairs under the cosine.

    Args:
        dt: The model's time step.
        time: How long.
    """
    wanted = [(name, system) for name in SIGNALS for system in SINGLE] + [("cos 4t", pair) for pair in PAIRS]
    found = [(name, system, trajectory(system, SIGNALS[name], dt, time)) for name, system in wanted]
    return OscillatorFigure(dt, max(1, round(0.02 / dt)), found)


def save_figure(path: Path, drawn: OscillatorFigure) -> None:
    """Write the figure: signals on the left and single neurons on the right, pairs below.

    Args:
        path: Where; the suffix says the format.
        drawn: The trajectories.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 8), layout="constrained")
    FigureCanvasAgg(figure)
    axes: Any = figure.subplots(3, 2)
    for row, name in zip(axes, SIGNALS, strict=False):
        singles = [(system, one) for signal, system, one in drawn.found if signal == name and system in SINGLE]
        t = singles[0][1].t[:: drawn.every]
        row[0].plot(t.numpy(), SIGNALS[name](t).numpy(), color="black")
        row[0].set_title(f"u: {name}", fontsize="medium")
        for system, one in singles:
            row[1].plot(t.numpy(), one.y[:: drawn.every, 0].numpy(), label=system.name, linewidth=1.2)
        row[1].set_ylim(*_LIMITS[name])
        row[1].set_title("y of one neuron", fontsize="medium")
        row[1].legend(frameon=False, fontsize="x-small", ncols=2)
    for neuron in range(2):
        for _, system, one in drawn.found:
            if system in PAIRS:
                y = one.y[:: drawn.every, neuron].numpy()
                axes[2][neuron].plot(one.t[:: drawn.every].numpy(), y, label=system.name, linewidth=1.2)
        axes[2][neuron].set_title(f"$y_{neuron + 1}$ of two neurons under cos 4t", fontsize="medium")
        axes[2][neuron].legend(frameon=False, fontsize="x-small")
    for one in axes.flat:
        one.grid(alpha=0.3)
        one.set_xlabel("t")
    figure.savefig(path, dpi=110)
