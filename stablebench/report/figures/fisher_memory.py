"""The nnRNN paper's figure 1 for its class of lower triangular matrices, and the areas of its supplement's table.

Theta has d on the diagonal, the delay line's alpha under it and beta below (equation 2). Drawn are the transients from
starts on the unit sphere (figure 1(b): standard deviation across units, and norm) at d = 0, and the Fisher memory
curves (figure 1(c)), whose areas are the table of J_tot.
"""

import csv
import itertools
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from stablebench.probes.fisher_memory import FisherMemory, feedforward_matrix, fisher_memory, transients

ALPHAS = (0.95, 1.0, 1.05)
BETAS = (0.0, 0.005)
DIAGONALS = (0.0, 0.2)
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
        deviations: Standard deviation across units, (steps + 1, starts); None for d > 0.
        norms: Norm of the state, (steps + 1, starts); None for d > 0.
    """

    alpha: float
    beta: float
    d: float
    memory: FisherMemory
    deviations: Tensor | None
    norms: Tensor | None

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
    found = []
    for d, beta, alpha in itertools.product(DIAGONALS, BETAS, ALPHAS):
        theta = feedforward_matrix(n, alpha, beta, d)
        signal = theta.new_zeros(n)
        signal[0] = 1
        memory = fisher_memory(theta, signal, _BEYOND * n)
        swelling = transients(theta, n, starts) if d == 0 else (None, None)
        found.append(Form(alpha, beta, d, memory, *swelling))
    return found


def write(path: Path, found: list[Form]) -> None:
    """Write one line a number: what, alpha, beta, d, t, value and, of transients, its deviation over starts."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["what", "alpha", "beta", "d", "t", "value", "deviation"])
        for form in found:
            key = [form.alpha, form.beta, form.d]
            writer.writerow(["area", *key, "", f"{form.memory.area:.9g}", ""])
            writer.writerows(["J", *key, t, f"{v:.9g}", ""] for t, v in enumerate(form.memory.curve.tolist()))
            for what, values in (("unit deviation", form.deviations), ("norm", form.norms)):
                if values is not None:
                    means, spread = values.mean(1).tolist(), values.std(1, correction=0).tolist()
                    pairs = enumerate(zip(means, spread, strict=True))
                    writer.writerows([what, *key, t, f"{m:.9g}", f"{s:.9g}"] for t, (m, s) in pairs)


def save_figure(path: Path, found: list[Form]) -> None:
    """Write the figure: transients on the left, memory curves on the right.

    Args:
        path: Where; the suffix says the format.
        found: The matrices.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 5), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplot_mosaic([["spread", "curve"], ["norm", "curve"]])
    spread, norm, curve = axes["spread"], axes["norm"], axes["curve"]
    for form in found:
        colour, line = f"C{ALPHAS.index(form.alpha)}", "-" if form.beta == 0 else "--"
        for ax, values in ((spread, form.deviations), (norm, form.norms)):
            if values is not None:
                means, deviation = values.mean(1), values.std(1, correction=0)
                ax.plot(means.numpy(), line, color=colour, linewidth=1)
                low, high = (means - deviation).clamp(min=0).numpy(), (means + deviation).numpy()
                ax.fill_between(range(len(means)), low, high, color=colour, alpha=0.15, linewidth=0)
        width = 1.0 if form.d == 0 else 2.2
        curve.plot(form.memory.curve.numpy(), line, color=colour, linewidth=width, alpha=0.8, label=form.label)
    spread.set_ylabel("deviation of units")
    norm.set_ylabel(r"$\|h_t\|$")
    norm.set_xlabel("t")
    spread.set_title("transients from the unit sphere, d = 0", fontsize="medium")
    curve.set_yscale("log")
    curve.set_ylim(1e-4, 1.5)
    curve.set_xlabel("k")
    curve.set_title("Fisher memory J(k); thick: d = 0.2", fontsize="medium")
    for ax in (spread, norm, curve):
        ax.grid(alpha=0.3)
    figure.legend(*curve.get_legend_handles_labels(), frameon=False, fontsize="x-small", loc="outside right center")
    figure.savefig(path, dpi=120)
