"""Every figure keeps its legend off its curves, and draws a lone point so that it is seen."""

import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from matplotlib.figure import Figure

from stablebench.models.recurrent.nnrnn import NnRNN
from stablebench.probes.gradient_flow import GradientFlow
from stablebench.report.claims import Measured
from stablebench.report.figures import (
    claims,
    fisher_memory,
    lorenz96,
    monitor,
    oscillators,
    probe,
    schur,
    style,
)
from stablebench.report.figures.curves import Line
from stablebench.report.figures.panels import Plot, draw_plots

FLOWS = {f"model {i}": GradientFlow("task", i + torch.rand(3, 12)) for i in range(9)}
CHAINS = [
    Measured(f"m{i}", "copy 9, width 3", "its recipe", updates, [], [0.0, -1.0, i], [0.5, -0.5], [(0.5, 0.1 * i)])
    for i in range(12)
    for updates in (0, 7)
]
PROBED = monitor.ProbedRuns(
    [
        ("rnn on copy", seed, step, f"norm.layers.{i}.W", float(i))
        for i in range(20)
        for seed in (0, 1)
        for step in (0, 5)
    ]
)
POINTS = torch.rand(12, 5)
PREDICTION = lorenz96.Prediction(lorenz96.Trajectory("F = 8", torch.arange(12.0), POINTS), POINTS, torch.rand(12), 0.5)
FIGURES: dict[str, Callable[[], Figure | None]] = {
    "gradient_norms": lambda: probe.draw_gradient_norms(FLOWS, "copy"),
    "panels": lambda: draw_plots([Plot("copy", "x", "y", [Line(f"m{i}", [0, 1], [i, i]) for i in range(30)])] * 2),
    "claims gradients": lambda: claims.draw_by_task(CHAINS, lambda chain: chain.log10_gradient, "lag", "log"),
    "claims eigenvalues": lambda: claims.draw_eigenvalues(CHAINS),
    "monitor": lambda: monitor.draw(PROBED),
    "schur": lambda: schur.draw(schur.schur_structure(NnRNN(1, 6)), "nnrnn"),
    "oscillators": lambda: oscillators.draw(oscillators.oscillators(0.05, 9.0)),
    "fisher_memory": lambda: fisher_memory.draw(fisher_memory.forms(5, 3)),
    "lorenz96": lambda: lorenz96.draw_prediction(PREDICTION, (0, 1), "lstm"),
}


@pytest.mark.parametrize("name", FIGURES)
def test_a_legend_lies_on_no_axes(name: str) -> None:
    figure = FIGURES[name]()
    assert figure is not None
    figure.canvas.draw()
    legends = [*figure.legends, *(axes.get_legend() for axes in figure.axes if axes.get_legend())]
    assert legends
    width, height = figure.canvas.get_width_height()
    for legend in legends:
        box = legend.get_window_extent()
        assert box.x0 >= -1 and box.y0 >= -1 and box.x1 <= width + 1 and box.y1 <= height + 1
        for axes in figure.axes:
            own = axes.get_window_extent()
            assert box.x1 <= own.x0 or box.x0 >= own.x1 or box.y1 <= own.y0 or box.y0 >= own.y1, (name, axes)


def test_point_without_neighbours_is_marker_and_line_has_none(tmp_path: Path) -> None:
    """A point without neighbours is a marker and a line has none."""
    axes = style.new_figure(2, 2).add_subplot()
    lonely = style.draw_line(axes, Line("a", range(5), [1.0, math.nan, 2.0, 3.0, math.nan]))
    assert lonely.get_markevery() == [0] and lonely.get_marker() == "o"
    assert style.draw_line(axes, Line("b", range(2), [1.0, 2.0])).get_marker() == "none"


def test_the_first_54_lines_look_different() -> None:
    assert len({tuple(style.look(i).values()) for i in range(54)}) == 54
