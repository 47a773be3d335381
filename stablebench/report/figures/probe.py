"""What a probe measured as pictures, several models in each, with the numbers behind them.

Norms and singular values are drawn over their logarithm to base 10, because they may lie beyond what a float can hold.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from stablebench.errors import StablebenchError, UserError
from stablebench.models.claims.claim import DECADE
from stablebench.probes.gradient_flow import GradientFlow
from stablebench.probes.probe import ProbeResult
from stablebench.probes.spectra import Spectrum
from stablebench.report.figures import style
from stablebench.report.figures.curves import Line

_BINS = 40
"""Bins of a histogram."""
_LEAST_MEMORY = 1e-16
"""Fisher memory that is drawn as none."""
_LAG = "Lag E - t: steps back from E, the last step that the loss reads. Median of the samples, band from 5 to 95 %."
_NAMES = ("gradient-norm", "lag-share", "singular-values", "lyapunov", "eigenvalues", "fisher-memory")
_NAMES += ("sensitivity", "learnability")


@dataclass(frozen=True)
class Picture:
    """One figure and its numbers.

    Args:
        name: Its file's stem.
        title: Its title.
        caption: How it is to be read.
        draw: Draws its panels on a figure.
        columns: Headings of its numbers.
        rows: Its numbers.
    """

    name: str
    title: str
    caption: str
    draw: Callable[[Figure], None]
    columns: Sequence[str]
    rows: Sequence[Sequence[Any]]

    @style.styled
    def figure(self) -> Figure:
        """Return it with title, caption and legend."""
        figure = style.new_figure(7, 4.4)
        self.draw(figure)
        style.title_above(figure, self.title, self.caption)
        style.legend_below(figure)
        return figure


def check_folder(folder: Path, suffix: str, overwrite: bool) -> None:
    """Raise `UserError` unless the figures can be written into `folder`, which may not be there yet.

    Args:
        folder: Where.
        suffix: Their format.
        overwrite: Whether those that are there may be replaced.
    """
    if folder.exists() and not folder.is_dir():
        raise UserError(f"--output {folder}: must be a folder; there is a file of this name.")
    there = [f"{name}.{end}" for name in _NAMES for end in (suffix, "csv") if (folder / f"{name}.{end}").exists()]
    if there and not overwrite:
        raise UserError(f"--output {folder}: the folder has {there[0]} already; --force overwrites it.")


def save_pictures(folder: Path, suffix: str, drawn: Sequence[Picture]) -> list[Path]:
    """Write pictures and their numbers; return the files.

    Args:
        folder: Where; it is made if it is not there.
        suffix: png, svg or pdf.
        drawn: The pictures.

    Raises:
        UserError: The folder cannot be written.
    """
    written = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for picture in drawn:
            path = folder / f"{picture.name}.{suffix}"
            written += style.save_with_csv(path, picture.figure(), picture.columns, picture.rows)
    except (OSError, StablebenchError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise UserError(f"--output {folder}: cannot be written ({reason}).") from error
    return written


def pictures(results: Mapping[str, ProbeResult], title: str, loss: str) -> list[Picture]:
    """Return a picture of each measure that some model has.

    Args:
        results: By model.
        title: Stands above each.
        loss: In words, stands above those of a gradient.
    """
    of_loss = (_gradient_norm, _lag_share, _learnability)
    of_chain = (_singular_values, _lyapunov, _eigenvalues, _fisher_memory, _sensitivity)
    drawn = [maker(results, f"{title}, {loss}") for maker in of_loss] + [maker(results, title) for maker in of_chain]
    return [picture for picture in drawn if picture is not None]


@style.styled
def draw_gradient_norms(flows: Mapping[str, GradientFlow], title: str) -> Figure:
    """Return a figure of the norms of dL/dh_t over t: medians, and bands from 5 to 95 % of the samples, by model."""
    curves = {name: {k: style.finite(row) for k, row in flow.quantiles().items()} for name, flow in flows.items()}
    figure = style.new_figure(7, 4.2)
    first = {name: flow.first for name, flow in flows.items()}
    symbols = dict.fromkeys("x" if flow.of_inputs else "h" for flow in flows.values())
    label = ", ".join(rf"$\|\partial L / \partial {symbol}_t\|$" for symbol in symbols)
    _draw_powers(figure.add_subplot(), _quantile_lines(curves, first), "t", label)
    style.title_above(figure, title)
    style.legend_below(figure)
    return figure


def _quantile_lines(curves: Mapping[str, dict[str, list[float]]], first: Mapping[str, int] | None = None) -> list[Line]:
    """Return the median of each model with its band, over the lag or time, which begins at `first`, else at 0."""
    starts = {name: (first or {}).get(name, 0) for name in curves}
    return [
        Line(name, range(starts[name], starts[name] + len(c["median"])), c["median"], c["p5"], c["p95"])
        for name, c in curves.items()
    ]


def _quantile_rows(curves: Mapping[str, dict[str, list[float]]]) -> list[list[Any]]:
    """Return model, lag, median and both ends of the band of each point."""
    points = {name: zip(c["median"], c["p5"], c["p95"], strict=True) for name, c in curves.items()}
    return [[name, lag, *values] for name, rows in points.items() for lag, values in enumerate(rows)]


def _draw_powers(axes: Axes, lines: Sequence[Line], x: str, y: str, notes: Mapping[str, str] | None = None) -> None:
    """Draw lines of logarithms to base 10; by name, `notes` follow the names of lines in the legend."""
    looks = style.looks(line.name for line in lines)
    for line in lines:
        label = style.plain(line.name + (notes or {}).get(line.name, ""))
        style.draw_line(axes, line, label=label, **looks[line.name])
    style.keep_flat_lines_flat(axes)
    style.show_powers_of_ten(axes.yaxis)
    style.label_axes(axes, x, y)


def _gradient_norm(results: Mapping[str, ProbeResult], title: str) -> Picture | None:
    states, inputs = {}, {}
    for name, result in results.items():
        if result.flow is not None:
            norms = {k: style.finite(row)[::-1] for k, row in result.flow.quantiles().items()}
            (inputs if result.flow.of_inputs else states)[name] = norms
            if (rows := result.flow.input_quantiles()) is not None:
                inputs[name] = {k: style.finite(row)[::-1] for k, row in rows.items()}
    if not states and not inputs:
        return None

    def draw(figure: Figure) -> None:
        panels = [(states, r"$\|\partial L / \partial h_t\|$"), (inputs, r"$\|\partial L / \partial x_t\|$")]
        panels = [panel for panel in panels if panel[0]]
        figure.set_size_inches(4.6 * len(panels) + 1.2, 4.4)
        for axes, (curves, label) in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
            _draw_powers(axes, _quantile_lines(curves), "lag E - t", label)

    rows = [
        [name, of, *rest] for of, curves in (("h", states), ("x", inputs)) for name, *rest in _quantile_rows(curves)
    ]
    columns = ["model", "of", "lag", "log10_median", "log10_p5", "log10_p95"]
    return Picture("gradient-norm", title, _LAG, draw, columns, rows)


def _lag_share(results: Mapping[str, ProbeResult], title: str) -> Picture | None:
    shares = {name: result.lag_share for name, result in results.items() if result.lag_share is not None}
    curves = {name: {k: style.finite(row) for k, row in share.quantiles().items()} for name, share in shares.items()}
    if not curves:
        return None

    def draw(figure: Figure) -> None:
        logs = {name: {k: _log10(row) for k, row in curve.items()} for name, curve in curves.items()}
        label = "share of the parameters' gradient"
        _draw_powers(figure.add_subplot(), _quantile_lines(logs), "lag E - t", label)

    columns = ["model", "lag", "median", "p5", "p95"]
    return Picture("lag-share", title, _LAG, draw, columns, _quantile_rows(curves))


def _log10(values: Sequence[float], least: float = 0.0) -> list[float]:
    return [math.log10(value) if value > least else math.nan for value in values]


def _singular_values(results: Mapping[str, ProbeResult], title: str) -> Picture | None:
    jacobians = {name: result.jacobian for name, result in results.items() if result.jacobian is not None}
    values = {name: (jacobian.logs / DECADE).flatten().numpy() for name, jacobian in jacobians.items()}
    if not values:
        return None

    def draw(figure: Figure) -> None:
        axes = figure.add_subplot()
        kept = {name: row[numpy.isfinite(row)] for name, row in values.items()}
        every = numpy.concatenate(list(kept.values()))
        low, high = (every.min(), every.max()) if len(every) else (0.0, 0.0)
        pad = max(0.02 * (high - low), 0.1)
        bins = numpy.linspace(low - pad, high + pad, _BINS + 1).tolist()
        for name, shape in style.looks(kept).items():
            row = kept[name]
            zeros = len(values[name]) - len(row)
            label = name + (f" ({100 * zeros / len(values[name]):.3g} % are 0)" if zeros else "")
            axes.hist(row, bins, histtype="stepfilled", alpha=0.25, color=shape["color"])
            axes.hist(row, bins, histtype="step", label=style.plain(label), **shape)
        axes.axvline(0, color="black", linewidth=0.8, linestyle=":")
        axes.set_yscale("log")
        style.show_powers_of_ten(axes.xaxis, nbins=6, integer=bool(high - low > 4))
        x = r"singular values of $\partial h_T / \partial h_1$"
        style.label_axes(axes, x, f"values in a bin of {bins[1] - bins[0]:.2g} decades")

    rows = [
        [name, sample, i, value]
        for name, jacobian in jacobians.items()
        for sample, row in enumerate((jacobian.logs / DECADE).tolist())
        for i, value in enumerate(row)
    ]
    caption = f"{_BINS} bins, evenly apart in the logarithm; the dotted line is 1, where norms are kept."
    return Picture("singular-values", title, caption, draw, ["model", "sample", "index", "log10_sigma"], rows)


def _lyapunov(results: Mapping[str, ProbeResult], title: str) -> Picture | None:
    spectra = {name: result.lyapunov for name, result in results.items() if result.lyapunov is not None}
    values = {name: spectrum.exponents.mean(0).tolist() for name, spectrum in spectra.items()}
    if not values:
        return None

    def draw(figure: Figure) -> None:
        axes = figure.add_subplot()
        looks = style.looks(values)
        for name, row in values.items():
            x = [(i + 0.5) / len(row) for i in range(len(row))]
            style.draw_line(axes, Line(f"{name}, {spectra[name].dynamics}", x, style.finite(row)), **looks[name])
        axes.axhline(0, color="black", linewidth=0.8, linestyle=":")
        style.label_axes(axes, "index / state size", "Lyapunov exponent, ln per step")

    rows = [[name, i, value] for name, row in values.items() for i, value in enumerate(row)]
    caption = "Above the dotted line neighbouring states part, below it they meet."
    return Picture("lyapunov", title, caption, draw, ["model", "index", "exponent"], rows)


def _eigenvalues(results: Mapping[str, ProbeResult], title: str) -> Picture | None:
    networks = {name: result.spectra for name, result in results.items() if result.spectra is not None}
    if not networks:
        return None

    def draw(figure: Figure) -> None:
        columns = min(len(networks), 4)
        rows = math.ceil(len(networks) / columns)
        figure.set_size_inches(max(3.1 * columns + 0.4, 5.0), 3.4 * rows + 0.6)
        panels = [figure.add_subplot(rows, columns, number + 1) for number in range(len(networks))]
        for axes, (name, spectra) in zip(panels, networks.items(), strict=True):
            style.draw_unit_circle(axes)
            dots = {"marker": ".", "color": style.COLOURS[0], "s": 16, "linewidths": 0}
            rings = {"edgecolors": style.COLOURS[1], "s": 14, "facecolors": "none"}
            _draw_eigenvalues(axes, "one-step Jacobians", spectra.steps, dots)
            _draw_eigenvalues(axes, "recurrent matrix", spectra.recurrent, rings)
            style.label_axes(axes, "Re", "Im", style.plain(name))

    rows = [
        [name, spectrum.of, value.real, value.imag]
        for name, spectra in networks.items()
        for spectrum in [*spectra.recurrent, *spectra.steps]
        for value in spectrum.eigenvalues.tolist()
    ]
    caption = "Rings: eigenvalues of the recurrent matrix; dots: of one-step Jacobians; line: unit circle."
    return Picture("eigenvalues", title, caption, draw, ["model", "of", "real", "imaginary"], rows)


def _draw_eigenvalues(axes: Axes, label: str, spectra: Sequence[Spectrum], shape: dict[str, Any]) -> None:
    if spectra:
        points = torch.cat([spectrum.eigenvalues for spectrum in spectra])
        axes.scatter(points.real, points.imag, label=label, **shape)


def _fisher_memory(results: Mapping[str, ProbeResult], title: str) -> Picture | None:
    memories = {name: result.memory for name, result in results.items() if result.memory is not None}
    curves = {name: memory.curve.tolist() for name, memory in memories.items() if memory.curve is not None}
    if not curves:
        return None

    def draw(figure: Figure) -> None:
        lines = [Line(name, range(len(curve)), _log10(curve, _LEAST_MEMORY)) for name, curve in curves.items()]
        labels = {
            name: f" (noise of {memories[name].steps[0].horizon} steps)" for name in curves if memories[name].steps
        }
        _draw_powers(figure.add_subplot(), lines, "lag k", "Fisher memory J(k)", labels)

    rows = [[name, k, value] for name, curve in curves.items() for k, value in enumerate(curve)]
    caption = "How much of an input k steps back is left in the state under later noise."
    return Picture("fisher-memory", title, caption, draw, ["model", "lag", "J"], rows)


def _sensitivity(results: Mapping[str, ProbeResult], title: str) -> Picture | None:
    taken = {name: result.sensitivity for name, result in results.items() if result.sensitivity is not None}
    curves = {name: one.document()["log10"] for name, one in taken.items()}
    if not curves:
        return None

    def draw(figure: Figure) -> None:
        lines = [Line(name, range(1, len(curve) + 1), style.finite(curve)) for name, curve in curves.items()]
        labels = {name: f", {taken[name].growth}" for name in curves}
        _draw_powers(figure.add_subplot(), lines, "t", r"$\|\partial h_t / \partial \theta\|$", labels)

    rows = [[name, t, value] for name, curve in curves.items() for t, value in enumerate(curve, start=1)]
    caption = "Root mean square over the samples. It grows with memory, also where no gradient of the states explodes."
    return Picture("sensitivity", title, caption, draw, ["model", "t", "log10_norm"], rows)


def _learnability(results: Mapping[str, ProbeResult], title: str) -> Picture | None:
    taken = {name: result.learnability for name, result in results.items() if result.learnability is not None}
    if not taken:
        return None

    def draw(figure: Figure) -> None:
        figure.set_size_inches(10.4, 4.4)
        left, right = figure.subplots(1, 2)
        needed = {
            name: _log10([v if math.isfinite(v) else 0.0 for v in one.needed.tolist()]) for name, one in taken.items()
        }
        rates = {name: _log10(one.effective_rate.nan_to_num(0.0, 0.0).tolist()) for name, one in taken.items()}
        for axes, curves, y in ((left, needed, "sequences needed"), (right, rates, "effective learning rate")):
            _draw_powers(axes, [Line(name, taken[name].lags, curve) for name, curve in curves.items()], "lag E - t", y)

    rows = [
        [name, *row]
        for name, one in taken.items()
        for row in zip(one.lags, *(one.document()[key] for key in _LEARNABLE), strict=True)
    ]
    caption = "Left: sequences whose mean gradient at a lag is as large as its noise; gaps: no signal in these samples."
    return Picture("learnability", title, caption, draw, ["model", "lag", *_LEARNABLE], rows)


_LEARNABLE = ("signal_to_noise", "sequences_needed", "effective_rate")
"""Columns of the numbers by lag."""
