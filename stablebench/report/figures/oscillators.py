"""coRNN's single neurons and pairs under two signals, as a figure and as the numbers behind it."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from stablebench.report.figures import style
from stablebench.report.figures.curves import Line
from stablebench.report.figures.oscillator_trajectories import (
    PAIRS,
    SIGNALS,
    SINGLE,
    Oscillator,
    OscillatorTrajectory,
    trajectory,
)

_LIMITS = {"cos 4t": (-1.5, 1.5), "steps": (-1.5, 2.0)}
"""Limits of the drawn y, near the paper's; what lies outside is in the numbers."""


@dataclass(frozen=True)
class OscillatorFigure:
    """Trajectories by signal and system.

    Args:
        every: Steps between two points that are drawn and written.
        trajectories: (signal's name, system, trajectory).
    """

    every: int
    trajectories: list[tuple[str, Oscillator, OscillatorTrajectory]]

    def rows(self) -> Iterator[list[Any]]:
        """Yield signal, system, neuron, t, u, y and velocity of each neuron and time; empty once broken off."""
        for name, system, one in self.trajectories:
            u = SIGNALS[name](one.t)
            for i in range(0, len(one.t), self.every):
                for neuron in range(system.neurons):
                    y, z = (part[i, neuron].item() for part in (one.y, one.z))
                    values = ["", ""] if y != y else [f"{y:.9g}", f"{z:.9g}"]
                    yield [name, system.name, neuron + 1, f"{one.t[i]:.6g}", f"{u[i]:.6g}", *values]

    def broken_off(self) -> list[str]:
        """Return a sentence for each trajectory that grew without bound."""
        return [
            f"{system.name} under {name} passes |y| = 1000 at t = {one.ends:.2f}"
            for name, system, one in self.trajectories
            if one.ends is not None
        ]


def oscillators(dt: float, time: float) -> OscillatorFigure:
    """Return the trajectories of the paper's figure 6: single neurons under both signals, pairs under the cosine.

    Args:
        dt: The model's time step.
        time: How long.
    """
    wanted = [(name, system) for name in SIGNALS for system in SINGLE] + [("cos 4t", pair) for pair in PAIRS]
    trajectories = [(name, system, trajectory(system, SIGNALS[name], dt, time)) for name, system in wanted]
    return OscillatorFigure(max(1, round(0.02 / dt)), trajectories)


@style.styled
def draw(drawn: OscillatorFigure) -> Figure:
    """Return the figure: signals on the left and single neurons on the right, pairs below."""
    figure = style.new_figure(9, 9)
    panels: Any = figure.subplots(3, 2)
    for (left, right), name in zip(panels, SIGNALS, strict=False):
        singles = [(s.name, one) for signal, s, one in drawn.trajectories if signal == name and s in SINGLE]
        t = singles[0][1].t[:: drawn.every]
        left.plot(t.numpy(), SIGNALS[name](t).numpy(), color="black")
        style.label_axes(left, "t", "", f"u: {name}")
        for number, (system, one) in enumerate(singles):
            style.draw_line(right, Line(system, t.tolist(), one.y[:: drawn.every, 0].tolist()), **style.look(number))
        right.set_ylim(*_LIMITS[name])
        style.label_axes(right, "t", "", "y of one neuron")
        style.legend_below_axes(right, 4.5)
    pairs = [(system.name, one) for _, system, one in drawn.trajectories if system in PAIRS]
    for neuron, axes in enumerate(panels[2]):
        for number, (system, one) in enumerate(pairs):
            y = one.y[:: drawn.every, neuron].tolist()
            style.draw_line(axes, Line(system, one.t[:: drawn.every].tolist(), y), **style.look(number))
        style.label_axes(axes, "t", "", f"$y_{neuron + 1}$ of two neurons under cos 4t")
        style.legend_below_axes(axes, 4.5)
    return figure


def save_figure(path: Path, drawn: OscillatorFigure) -> list[Path]:
    """Write the figure and its numbers; return both paths."""
    columns = ("signal", "system", "neuron", "t", "u", "y", "velocity")
    return style.save_with_csv(path, draw(drawn), columns, drawn.rows())
