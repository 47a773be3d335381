"""The nnRNN paper's figure 1 for its class of lower triangular matrices, and the areas of its supplement's table.

Theta has d on the diagonal, the delay line's alpha under it and beta below (equation 2). Drawn are the transients from
starts on the unit sphere (figure 1(b): standard deviation across units, and norm) at d = 0, and the Fisher memory
curves (figure 1(c)), whose areas are the table of J_tot.
"""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from torch import Tensor

from stablebench.probes.fisher_memory import FisherMemory, feedforward_matrix, fisher_memory, transients
from stablebench.report.figures import style
from stablebench.report.figures.curves import Line

ALPHAS = (0.95, 1.0, 1.05)
BETAS = (0.0, 0.005)
DIAGONALS = (0.0, 0.2)
_PANELS: tuple[str, str] = ("unit deviation", "norm")
_BEYOND = 2
"""Lags drawn, in units of N; a diagonal holds memory beyond the delay line's N."""


@dataclass(frozen=True)
class Form:
    """One matrix of the class and what it remembers.

    Args:
        alpha: Under the diagonal.
        beta: Below.
        d: On the diagonal.
        memory: Its Fisher memory curve, J(0) ... J(2 N), for a signal into the first unit.
        transients: The `unit deviation` (standard deviation across units) and the `norm` of the state, (steps + 1,
            starts) each; empty for d > 0.
    """

    alpha: float
    beta: float
    d: float
    memory: FisherMemory
    transients: dict[str, Tensor]

    @property
    def label(self) -> str:
        """What tells it apart."""
        return f"alpha {self.alpha:g}, beta {self.beta:g}" + (f", d {self.d:g}" if self.d else "")


def forms(n: int = 100, starts: int = 1000) -> list[Form]:
    """Return the paper's twelve matrices with their memory and transients.

    Args:
        n: Their size, >= 2.
        starts: Starts on the sphere, >= 1.
    """
    matrices = []
    for d, beta, alpha in itertools.product(DIAGONALS, BETAS, ALPHAS):
        theta = feedforward_matrix(n, alpha, beta, d)
        signal = theta.new_zeros(n)
        signal[0] = 1
        memory = fisher_memory(theta, signal, _BEYOND * n)
        swelling = dict(zip(_PANELS, transients(theta, n, starts), strict=True)) if d == 0 else {}
        matrices.append(Form(alpha, beta, d, memory, swelling))
    return matrices


def rows(drawn: list[Form]) -> Iterator[list[Any]]:
    """Yield what, alpha, beta, d, t, value and, of transients, its deviation over starts."""
    for form in drawn:
        key = [form.alpha, form.beta, form.d]
        yield ["area", *key, "", f"{form.memory.area:.9g}", ""]
        yield from (["J", *key, t, f"{v:.9g}", ""] for t, v in enumerate(form.memory.curve.tolist()))
        for what, values in form.transients.items():
            means, spread = values.mean(1).tolist(), values.std(1, correction=0).tolist()
            pairs = enumerate(zip(means, spread, strict=True))
            yield from ([what, *key, t, f"{m:.9g}", f"{s:.9g}"] for t, (m, s) in pairs)


@style.styled
def draw(drawn: list[Form]) -> Figure:
    """Return the figure: transients on the left, memory curves on the right."""
    figure = style.new_figure(9, 5)
    axes = figure.subplot_mosaic([[_PANELS[0], "curve"], [_PANELS[1], "curve"]])
    for form in drawn:
        shape = style.look(ALPHAS.index(form.alpha), BETAS.index(form.beta))
        for name, values in form.transients.items():
            means, deviation = values.mean(1), values.std(1, correction=0)
            low, high = (means - deviation).clamp(min=0), means + deviation
            line = Line("", range(len(means)), means.tolist(), low.tolist(), high.tolist())
            style.draw_line(axes[name], line, **shape)
        curve = Line(form.label, range(len(form.memory.curve)), form.memory.curve.tolist())
        style.draw_line(axes["curve"], curve, linewidth=2.2 if form.d else 1, **shape)
    style.label_axes(axes[_PANELS[0]], "", "deviation of units", "transients from the unit sphere, d = 0")
    style.label_axes(axes[_PANELS[1]], "t", r"$\|h_t\|$")
    style.label_axes(axes["curve"], "k", "", "Fisher memory J(k); thick: d = 0.2")
    axes["curve"].set_yscale("log")
    axes["curve"].set_ylim(1e-4, 1.5)
    style.legend_below(figure)
    return figure


def save_figure(path: Path, drawn: list[Form]) -> list[Path]:
    """Write the figure and its numbers; return both paths."""
    columns = ("what", "alpha", "beta", "d", "t", "value", "deviation")
    return style.save_with_csv(path, draw(drawn), columns, rows(drawn))
