"""What was measured along runs (`train --probe`), as a figure and as the numbers behind it."""

import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy

from stablebench.errors import UserError
from stablebench.report.figures.curves import current_name
from stablebench.runs.store import RunFolder, read_curve

_LOGARITHMIC = ("orthogonality", "norm", "gradient", "energy")
"""Groups whose values span decades."""
_TITLES = {
    "diagnostics": "what the model's paper speaks of",
    "orthogonality": r"$\|M^T M - I\|$",
    "norm": "norms of the parameters",
    "gradient": "gradient norms of the loss",
    "flow": r"$\partial L / \partial h_t$ of the last scored step",
    "energy": r"$\|h_t\|^2$",
    "jacobian": r"$\partial h_T / \partial h_1$",
}
_RUNS = ("this run", "this run, nor along the others")
_LEGEND = 14
"""Lines that a panel's legend names."""


@dataclass(frozen=True)
class Series:
    """One measured number along the runs of one spec, its seeds together.

    Args:
        label: The runs.
        name: What was measured, dotted: `diagnostics.layers.0.sigma`.
        steps: Updates, (points).
        values: (seeds, points); NaN where it could not be measured.
    """

    label: str
    name: str
    steps: numpy.ndarray
    values: numpy.ndarray

    @property
    def group(self) -> str:
        """The part of the name before its first dot: the panel."""
        return self.name.partition(".")[0]


@dataclass(frozen=True)
class ProbedRuns:
    """The measurements of several runs.

    Args:
        rows: (label, seed, step, name, value), in the order of the runs and their curves.
        bare: Folders of runs along which nothing was measured.
    """

    rows: list[tuple[str, int, int, str, float]]
    bare: tuple[Path, ...] = ()

    def series(self) -> list[Series]:
        """Return the numbers by spec and name; runs of one spec may end at different steps."""
        found: dict[tuple[str, str], dict[int, dict[int, float]]] = {}
        for label, seed, step, name, value in self.rows:
            found.setdefault((label, name), {}).setdefault(seed, {})[step] = value
        return [_series(label, name, by_seed) for (label, name), by_seed in found.items()]

    def write(self, path: Path) -> None:
        """Write one line a number: run, seed, step, name, value."""
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(["run", "seed", "step", "name", "value"])
            writer.writerows([*row[:-1], f"{row[-1]:.9g}"] for row in self.rows)


def _series(label: str, name: str, by_seed: dict[int, dict[int, float]]) -> Series:
    steps = sorted({step for values in by_seed.values() for step in values})
    values = [[of_seed.get(step, numpy.nan) for step in steps] for of_seed in by_seed.values()]
    return Series(label, name, numpy.array(steps), numpy.array(values))


def probed_runs(folders: Sequence[RunFolder], show: Sequence[str] = ()) -> ProbedRuns:
    """Return what was measured along runs.

    Args:
        folders: The runs.
        show: Beginnings of the names to keep, as `diagnostics` or `gradient.whole`; by default all.

    Raises:
        UserError: No run has measurements, or none is left.
    """
    found = [(folder.read_record(), list(_measured(folder))) for folder in folders]
    bare = tuple(folder.path for folder, (_, measured) in zip(folders, found, strict=True) if not measured)
    hashes: dict[str, set[str]] = {}
    for record, measured in found:
        if measured:
            hashes.setdefault(_label(record), set()).add(record.spec_hash)
    if not hashes:
        raise UserError(f"{bare[0]}: nothing was measured along {_RUNS[len(bare) > 1]}; train it with --probe every=N.")
    rows = []
    for record, measured in found:
        label = _label(record)
        if len(hashes.get(label, ())) > 1:
            label = f"{label} ({record.spec_hash[:6]})"
        rows += [(label, record.spec.seed, step, name, value) for step, name, value in measured]
    names, show = {row[3] for row in rows}, [current_name(start) for start in show]
    rows = [row for row in rows if not show or any(f"{row[3]}.".startswith(f"{start}.") for start in show)]
    if not rows:
        raise UserError(f"--show {' '.join(show)}: nothing is called so; measured were {', '.join(sorted(names))}.")
    return ProbedRuns(rows, bare)


def _label(record: Any) -> str:
    return f"{record.spec.model.label} on {record.spec.task.name}"


def _measured(folder: RunFolder) -> Iterator[tuple[int, str, float]]:
    for line in read_curve(folder.curve_path):
        if line["split"] == "probe":
            for name, value in line.items():
                if name not in ("step", "split", "wall_s") and not isinstance(value, str):
                    yield line["step"], current_name(name), float(value)


def save_figure(path: Path, runs: ProbedRuns) -> None:
    """Write a figure with a panel for each group of numbers; of several seeds the mean, and a band of one deviation.

    Args:
        path: Where; the suffix says the format.
        runs: The measurements.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    series = runs.series()
    groups = list(dict.fromkeys(one.group for one in series))
    labels = list(dict.fromkeys(one.label for one in series))
    columns = min(2, len(groups))
    rows = -(-len(groups) // columns)
    figure = Figure(figsize=(6.0 * columns, 3.6 * rows), layout="constrained")
    FigureCanvasAgg(figure)
    for i, group in enumerate(groups):
        axes = figure.add_subplot(rows, columns, i + 1)
        _draw(axes, [one for one in series if one.group == group], labels, group)
    figure.suptitle(", ".join(labels) if len(labels) <= 3 else f"{len(labels)} specs", fontsize="medium")
    figure.savefig(path, dpi=110)


def _draw(axes: Any, series: list[Series], labels: list[str], group: str) -> None:
    names = list(dict.fromkeys(one.name for one in series))
    for one in series:
        colour = f"C{names.index(one.name) % 10}" if len(names) > 1 else f"C{labels.index(one.label) % 10}"
        style = ("-", "--", ":", "-.")[labels.index(one.label) % 4] if len(names) > 1 else "-"
        text = one.name.partition(".")[2] if len(labels) == 1 else f"{one.name.partition('.')[2]}, {one.label}"
        counts = numpy.isfinite(one.values).sum(0)
        mean = numpy.nansum(one.values, 0) / numpy.maximum(counts, 1)
        mean = numpy.where(counts > 0, mean, numpy.nan)
        axes.plot(one.steps, mean, style, color=colour, label=text, linewidth=1.2)
        if len(one.values) > 1:
            squares = numpy.nansum((one.values - mean) ** 2, 0) / numpy.maximum(counts - 1, 1)
            spread = numpy.sqrt(squares)
            axes.fill_between(one.steps, mean - spread, mean + spread, color=colour, alpha=0.2, linewidth=0)
    positive = all((one.values[numpy.isfinite(one.values)] >= 0).all() for one in series)
    if group in _LOGARITHMIC and positive and any((one.values > 0).any() for one in series):
        axes.set_yscale("log")
    axes.set_title(_TITLES.get(group, group), fontsize="medium")
    axes.set_xlabel("updates")
    axes.grid(alpha=0.3)
    handles, texts = axes.get_legend_handles_labels()
    shown = len(handles) if len(handles) <= _LEGEND else _LEGEND - 1
    if shown < len(handles):
        handles, texts = handles[: shown + 1], [*texts[:shown], f"{len(texts) - shown} more: see the numbers"]
    below = {"loc": "upper center", "bbox_to_anchor": (0.5, -0.16)}  # where it covers no curve
    axes.legend(handles, texts, frameon=False, fontsize="x-small", ncols=3 if len(labels) == 1 else 2, **below)
