"""What a probe found as pictures, several models in each, with the numbers behind them.

Norms and singular values are drawn over their logarithm to base 10, because they may lie beyond what a float can hold.
"""

import csv
import io
import math
import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy
import torch

from stablebench.errors import UserError
from stablebench.models.claims.claim import DECADE
from stablebench.probes.probe import ProbeResult

_BINS = 40
"""Of a histogram."""
_LAG = "Lag E - t: steps back from E, the last step that the loss reads. Median of the samples, band from 5 to 95 %."
_NAMES = ("gradient-norm", "lag-share", "singular-values", "lyapunov", "eigenvalues", "fisher-memory")


@dataclass(frozen=True)
class Picture:
    """One figure.

    Args:
        name: Its file's stem.
        draw: Draws it on a figure.
        columns: Headings of its numbers.
        rows: Its numbers.
    """

    name: str
    draw: Callable[[Any], None]
    columns: Sequence[str]
    rows: Sequence[Sequence[Any]]


def check_folder(folder: Path, suffix: str, overwrite: bool) -> None:
    """Raise `UserError` unless the figures can be written into `folder`, which may not be there yet.

    Args:
        folder: Where.
        suffix: Their format.
        overwrite: Whether those that are there may be replaced.
    """
    if folder.exists() and not folder.is_dir():
        raise UserError(f"--figures {folder}: must be a folder; there is a file of this name.")
    there = [f"{name}.{end}" for name in _NAMES for end in (suffix, "csv") if (folder / f"{name}.{end}").exists()]
    if there and not overwrite:
        raise UserError(
            f"--figures {folder}: the folder has {there[0]} already; name another folder, or give --overwrite."
        )


def save(folder: Path, suffix: str, drawn: Sequence[Picture]) -> list[Path]:
    """Write pictures and their numbers; return the files.

    Args:
        folder: Where; it is made if it is not there.
        suffix: png, svg or pdf.
        drawn: The pictures.

    Raises:
        UserError: The folder cannot be written.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    written = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for picture in drawn:
            figure = Figure(figsize=(7, 4.4), layout="constrained")
            FigureCanvasAgg(figure)
            picture.draw(figure)
            path = folder / f"{picture.name}.{suffix}"
            figure.savefig(path, dpi=150)
            text = io.StringIO()
            writer = csv.writer(text, lineterminator="\n")
            writer.writerow(picture.columns)
            writer.writerows(picture.rows)
            path.with_suffix(".csv").write_text(text.getvalue(), encoding="utf-8")
            written += [path, path.with_suffix(".csv")]
    except OSError as error:
        raise UserError(f"--figures {folder}: cannot be written ({error.strerror}).") from error
    return written


def pictures(results: Mapping[str, ProbeResult], title: str, loss: str) -> list[Picture]:
    """Return a picture of each measure that some model has.

    Args:
        results: By model.
        title: Stands above each.
        loss: In words, stands above those of a gradient.
    """
    of_loss, of_chain = (_gradient_norm, _lag_share), (_singular_values, _lyapunov, _eigenvalues, _fisher_memory)
    drawn = [maker(results, f"{title}, {loss}") for maker in of_loss] + [maker(results, title) for maker in of_chain]
    return [picture for picture in drawn if picture is not None]


def _nan(row: Sequence[float | None]) -> numpy.ndarray:
    return numpy.array([math.nan if value is None else value for value in row], dtype=float)


def _titled(figure: Any, title: str, caption: str) -> None:
    """Write above a figure what it is, and how it is to be read."""
    figure.suptitle(f"{title}\n" + textwrap.fill(caption, int(13 * figure.get_figwidth())), fontsize="small")


def _finish(axes: Any, x: str, y: str, log10: bool = False) -> None:
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    if log10:
        axes.yaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=2))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda v, _: f"$10^{{{v:g}}}$"))
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.grid(alpha=0.3)


def _legend(figure: Any) -> None:
    """Name the lines of all panels once, below them, where no curve can be."""
    handles = {label: h for axes in figure.axes for h, label in zip(*axes.get_legend_handles_labels(), strict=True)}
    columns = max(1, min(len(handles), int(9 * figure.get_figwidth()) // (max(map(len, handles), default=0) + 6)))
    figure.legend(
        handles.values(), handles.keys(), loc="outside lower center", ncols=columns, frameon=False, fontsize="small"
    )


def _widened(axes: Any) -> None:
    """Let a flat line be flat, not rounding noise blown up."""
    low, high = axes.get_ylim()
    if high - low < 1:
        axes.set_ylim((low + high) / 2 - 0.5, (low + high) / 2 + 0.5)


def _bands(axes: Any, curves: Mapping[str, dict[str, numpy.ndarray]]) -> None:
    for name, curve in curves.items():
        lags = numpy.arange(len(curve["median"]))
        (line,) = axes.plot(lags, curve["median"], label=name, linewidth=1.2)
        axes.fill_between(lags, curve["p5"], curve["p95"], color=line.get_color(), alpha=0.2, linewidth=0)


def _gradient_norm(results: Mapping[str, ProbeResult], title: str) -> Picture | None:
    states, inputs = {}, {}
    for name, result in results.items():
        if result.flow is not None:
            states[name] = {k: _nan(row)[::-1] for k, row in result.flow.quantiles().items()}
            if (rows := result.flow.input_quantiles()) is not None:
                inputs[name] = {k: _nan(row)[::-1] for k, row in rows.items()}
    if not states:
        return None

    def draw(figure: Any) -> None:
        panels = [(states, r"$\|\partial L / \partial h_t\|$"), (inputs, r"$\|\partial L / \partial x_t\|$")]
        panels = [panel for panel in panels if panel[0]]
        figure.set_size_inches(4.6 * len(panels) + 1.2, 4.4)
        _titled(figure, title, _LAG)
        for axes, (curves, label) in zip(numpy.atleast_1d(figure.subplots(1, len(panels))), panels, strict=True):
            _bands(axes, curves)
            _widened(axes)
            _finish(axes, "lag E - t", label, log10=True)
        _legend(figure)

    rows = [
        [name, of, lag, *(curve[k][lag] for k in ("median", "p5", "p95"))]
        for of, curves in (("h", states), ("x", inputs))
        for name, curve in curves.items()
        for lag in range(len(curve["median"]))
    ]
    return Picture("gradient-norm", draw, ["model", "of", "lag", "log10_median", "log10_p5", "log10_p95"], rows)


def _lag_share(results: Mapping[str, ProbeResult], title: str) -> Picture | None:
    found = {name: result.lag_share for name, result in results.items() if result.lag_share is not None}
    curves = {name: {k: _nan(row) for k, row in share.quantiles().items()} for name, share in found.items()}
    if not curves:
        return None

    def draw(figure: Any) -> None:
        axes = figure.add_subplot()
        logs = {}
        for name, curve in curves.items():
            logs[name] = {k: numpy.log10(numpy.where(row > 0, row, math.nan)) for k, row in curve.items()}
        _bands(axes, logs)
        _widened(axes)
        _finish(axes, "lag E - t", "share of the parameters' gradient", log10=True)
        _titled(figure, title, _LAG)
        _legend(figure)

    rows = [
        [name, lag, *(curve[k][lag] for k in ("median", "p5", "p95"))]
        for name, curve in curves.items()
        for lag in range(len(curve["median"]))
    ]
    return Picture("lag-share", draw, ["model", "lag", "median", "p5", "p95"], rows)


def _singular_values(results: Mapping[str, ProbeResult], title: str) -> Picture | None:
    found = {name: result.jacobian for name, result in results.items() if result.jacobian is not None}
    values = {name: (jacobian.logs / DECADE).flatten().numpy() for name, jacobian in found.items()}
    finite = {name: row[numpy.isfinite(row)] for name, row in values.items()}
    if not values:
        return None

    def draw(figure: Any) -> None:
        from matplotlib.ticker import FuncFormatter, MaxNLocator

        axes = figure.add_subplot()
        every = numpy.concatenate(list(finite.values()))
        low, high = (every.min(), every.max()) if len(every) else (0.0, 0.0)
        pad = max(0.02 * (high - low), 0.1)
        bins = numpy.linspace(low - pad, high + pad, _BINS + 1)
        for i, (name, row) in enumerate(finite.items()):
            dead = len(values[name]) - len(row)
            label = name + (f" ({100 * dead / len(values[name]):.3g} % are 0)" if dead else "")
            axes.hist(row, bins, histtype="stepfilled", alpha=0.25, color=f"C{i}")
            axes.hist(row, bins, histtype="step", color=f"C{i}", label=label)
        axes.axvline(0, color="black", linewidth=0.8, linestyle=":")
        axes.set_yscale("log")
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=bool(high - low > 4)))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda v, _: f"$10^{{{v:.4g}}}$"))
        _finish(
            axes,
            r"singular values of $\partial h_T / \partial h_1$",
            f"values in a bin of {bins[1] - bins[0]:.2g} decades",
        )
        _titled(
            figure, title, f"{_BINS} bins, evenly apart in the logarithm; the dotted line is 1, where norms are kept."
        )
        _legend(figure)

    rows = [
        [name, sample, i, value]
        for name, jacobian in found.items()
        for sample, row in enumerate((jacobian.logs / DECADE).tolist())
        for i, value in enumerate(row)
    ]
    return Picture("singular-values", draw, ["model", "sample", "index", "log10_sigma"], rows)


def _lyapunov(results: Mapping[str, ProbeResult], title: str) -> Picture | None:
    found = {name: result.lyapunov for name, result in results.items() if result.lyapunov is not None}
    values = {name: spectrum.exponents.mean(0).numpy() for name, spectrum in found.items()}
    if not values:
        return None

    def draw(figure: Any) -> None:
        axes = figure.add_subplot()
        for name, row in values.items():
            shown = numpy.where(numpy.isfinite(row), row, math.nan)
            place = (numpy.arange(len(row)) + 0.5) / len(row)
            axes.plot(place, shown, ".-", markersize=3, linewidth=1, label=f"{name}, {found[name].dynamics}")
        axes.axhline(0, color="black", linewidth=0.8, linestyle=":")
        _finish(axes, "index / state size", "Lyapunov exponent, ln per step")
        _titled(figure, title, "Above the dotted line neighbouring states part, below it they meet.")
        _legend(figure)

    rows = [[name, i, value] for name, row in values.items() for i, value in enumerate(row.tolist())]
    return Picture("lyapunov", draw, ["model", "index", "exponent"], rows)


def _eigenvalues(results: Mapping[str, ProbeResult], title: str) -> Picture | None:
    found = {name: result.spectra for name, result in results.items() if result.spectra is not None}
    if not found:
        return None

    def draw(figure: Any) -> None:
        columns = min(len(found), 4)
        lines = math.ceil(len(found) / columns)
        figure.set_size_inches(max(3.1 * columns + 0.4, 5.0), 3.4 * lines + 0.6)
        _titled(
            figure,
            title,
            "Rings: eigenvalues of the recurrent matrix; dots: of one-step Jacobians; line: unit circle.",
        )
        grid = figure.subplots(lines, columns, squeeze=False).flatten()
        angle = numpy.linspace(0, 2 * math.pi, 361)
        for axes, (name, spectra) in zip(grid, found.items(), strict=False):
            axes.plot(numpy.cos(angle), numpy.sin(angle), color="black", linewidth=0.8, label="unit circle")
            for label, group, style in (
                ("one-step Jacobians", spectra.steps, {"marker": ".", "color": "C0", "s": 16, "linewidths": 0}),
                (
                    "recurrent matrix",
                    spectra.recurrent,
                    {"marker": "o", "edgecolors": "C1", "s": 14, "facecolors": "none"},
                ),
            ):
                if group:
                    points = torch.cat([spectrum.eigenvalues for spectrum in group])
                    axes.scatter(points.real, points.imag, label=label, **style)
            axes.set_aspect("equal", adjustable="datalim")
            axes.set_title(name, fontsize="medium")
            _finish(axes, "Re", "Im")
        for axes in grid[len(found) :]:
            axes.set_visible(False)
        _legend(figure)

    rows = [
        [name, spectrum.of, value.real, value.imag]
        for name, spectra in found.items()
        for spectrum in [*spectra.recurrent, *spectra.steps]
        for value in spectrum.eigenvalues.tolist()
    ]
    return Picture("eigenvalues", draw, ["model", "of", "real", "imaginary"], rows)


def _fisher_memory(results: Mapping[str, ProbeResult], title: str) -> Picture | None:
    memories = {name: result.memory for name, result in results.items() if result.memory is not None}
    curves = {name: memory.curve.numpy() for name, memory in memories.items() if memory.curve is not None}
    if not curves:
        return None

    def draw(figure: Any) -> None:
        axes = figure.add_subplot()
        least = -16.0
        for name, curve in curves.items():
            logs = numpy.log10(numpy.where(curve > 10**least, curve, math.nan))
            horizons = memories[name].horizons
            label = name + (f" (noise of {horizons[0]} steps)" if horizons else "")
            axes.plot(numpy.arange(len(curve)), logs, label=label, linewidth=1.2)
        _widened(axes)
        _finish(axes, "lag k", "Fisher memory J(k)", log10=True)
        _titled(figure, title, "How much of an input k steps back is left in the state beside later noise.")
        _legend(figure)

    rows = [[name, k, value] for name, curve in curves.items() for k, value in enumerate(curve.tolist())]
    return Picture("fisher-memory", draw, ["model", "lag", "J"], rows)
