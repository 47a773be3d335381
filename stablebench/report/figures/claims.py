"""Figures of the claims page: gradients, singular values and eigenvalues, at initialisation and after training."""

import math
from collections.abc import Callable, Sequence

from matplotlib.figure import Figure

from stablebench.report.claims import Measured
from stablebench.report.figures import style
from stablebench.report.figures.curves import Line

_LOWEST = -20.0
"""Where the axes of logarithms end: what lies below has vanished."""
_STATES = ("at initialisation", "after training")


def draw_gradients(chains: Sequence[Measured]) -> Figure | None:
    """Return a figure of ||dL/dh_t|| against the lag, relative to lag 0; None without chains."""

    def values(chain: Measured) -> list[float]:
        logs = chain.log10_gradient[::-1]
        return [v - logs[0] for v in logs]

    return draw_by_task(chains, values, "lag", r"$\log_{10}$ of the norm, relative")


def draw_singular_values(chains: Sequence[Measured]) -> Figure | None:
    """Return a figure of the singular values of dh_T/dh_1; None without chains."""
    return draw_by_task(chains, lambda chain: chain.log10_singular, "index", r"$\log_{10}\sigma$")


def _pairs(chains: Sequence[Measured], task: str) -> dict[str, tuple[Measured | None, Measured]]:
    """Return by model the chain on a task at initialisation, where there is one, and after training."""
    measured = [chain for chain in chains if chain.problem is None]
    starts = {(c.model, c.where, c.says): c for c in measured if not c.updates}
    return {
        chain.model: (starts.get((chain.model, chain.where, chain.says)), chain)
        for chain in measured
        if chain.updates and chain.where.startswith(f"{task} ")
    }


@style.styled
def draw_by_task(
    chains: Sequence[Measured], values: Callable[[Measured], list[float]], x: str, y: str
) -> Figure | None:
    """Return a figure with a row a task, initialisation on the left and training on the right; None without chains.

    Args:
        chains: What was measured.
        values: Returns the line of a chain.
        x: Label of the horizontal axis.
        y: Label of the vertical axis.
    """
    tasks = {task: pairs for task in ("copy", "adding") if (pairs := _pairs(chains, task))}
    if not tasks:
        return None
    looks = style.looks(model for pairs in tasks.values() for model in pairs)
    figure = style.new_figure(8.4, 3.2 * len(tasks) + 0.4)
    for row, (task, pairs) in zip(
        figure.subplots(len(tasks), 2, sharey="row", squeeze=False), tasks.items(), strict=True
    ):
        drawn: list[float] = []
        for model, pair in pairs.items():
            for axes, chain in zip(row, pair, strict=True):
                if chain is not None:
                    line = values(chain)
                    style.draw_line(axes, Line(model, range(len(line)), line), **looks[model])
                    drawn += [value for value in line if math.isfinite(value)]
        low = max(min(drawn, default=-1.0), _LOWEST)
        high = max(drawn, default=1.0)
        margin = 0.05 * (high - low) + 0.1
        for axes, state in zip(row, _STATES, strict=True):
            axes.set_ylim(low - margin, high + margin)
            style.label_axes(axes, x, y if state == _STATES[0] else "", f"{task}, {state}")
    style.legend_below(figure)
    return figure


@style.styled
def draw_eigenvalues(chains: Sequence[Measured]) -> Figure | None:
    """Return a figure with a panel a model, initialisation grey and training in colour; None without chains."""
    pairs = {model: pair for model, pair in _pairs(chains, "copy").items() if pair[1].eigenvalues}
    if not pairs:
        return None
    figure, panels = style.new_panels(len(pairs), 4, (2.4, 2.4), 0.3)
    for axes, (model, pair) in zip(panels, pairs.items(), strict=True):
        style.draw_unit_circle(axes)
        for chain, colour, state in zip(pair, ("0.6", style.COLOURS[0]), _STATES, strict=True):
            if chain is not None:
                axes.plot(*zip(*chain.eigenvalues, strict=True), ".", color=colour, markersize=3, label=state)
        style.label_axes(axes, "", "", style.plain(model))
    style.legend_below(figure)
    return figure
