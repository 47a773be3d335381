"""What was measured along runs (`train --probe`), as a figure and as the numbers behind it."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from stablebench.errors import UserError
from stablebench.report.figures import style
from stablebench.report.figures.curves import Line, current_name, measures
from stablebench.runs.store import RunFolder

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


@dataclass(frozen=True)
class ProbedRuns:
    """The measurements of several runs.

    Args:
        rows: (label, seed, step, name, value), in the order of the runs and their curves.
        bare: Folders of runs along which nothing was measured.
    """

    rows: list[tuple[str, int, int, str, float]]
    bare: tuple[Path, ...] = ()

    def lines(self) -> dict[tuple[str, str], Line]:
        """Return by label and name the mean over seeds, with a band of one standard deviation where there are several.

        Runs of one spec may end at different steps.
        """
        by_seed: dict[tuple[str, str], dict[int, dict[int, float]]] = {}
        for label, seed, step, name, value in self.rows:
            by_seed.setdefault((label, name), {}).setdefault(seed, {})[step] = value
        return {(label, name): _mean_line(name, list(seeds.values())) for (label, name), seeds in by_seed.items()}


def _mean_line(name: str, seeds: list[dict[int, float]]) -> Line:
    steps = sorted({step for seed in seeds for step in seed})
    values = numpy.array([[seed.get(step, numpy.nan) for step in steps] for seed in seeds])
    counts = numpy.isfinite(values).sum(0)
    mean = numpy.where(counts > 0, numpy.nansum(values, 0) / numpy.maximum(counts, 1), numpy.nan)
    if len(seeds) == 1:
        return Line(name, steps, mean.tolist())
    spread = numpy.sqrt(numpy.nansum((values - mean) ** 2, 0) / numpy.maximum(counts - 1, 1))
    return Line(name, steps, mean.tolist(), (mean - spread).tolist(), (mean + spread).tolist())


def probed_runs(folders: Sequence[RunFolder], show: Sequence[str] = ()) -> ProbedRuns:
    """Return what was measured along runs.

    Args:
        folders: The runs.
        show: Beginnings of the names to keep, as `diagnostics` or `gradient.whole`; by default all.

    Raises:
        UserError: No run has measurements, or none is left.
    """
    records = [
        (folder.read_record(), [row for split, *row in measures(folder.curve_path) if split == "probe"])
        for folder in folders
    ]
    bare = tuple(folder.path for folder, (_, measured) in zip(folders, records, strict=True) if not measured)
    hashes: dict[str, set[str]] = {}
    for record, measured in records:
        if measured:
            hashes.setdefault(_label(record), set()).add(record.spec_hash)
    if not hashes:
        raise UserError(f"{bare[0]}: nothing was measured along {_RUNS[len(bare) > 1]}; train it with --probe every=N.")
    rows = []
    for record, measured in records:
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


@style.styled
def draw(runs: ProbedRuns) -> Figure:
    """Return a figure with a panel for each group of numbers."""
    lines = runs.lines()
    groups = list(dict.fromkeys(name.partition(".")[0] for _, name in lines))
    labels = list(dict.fromkeys(label for label, _ in lines))
    figure, panels = style.new_panels(len(groups), 2, (6.0, 3.6))
    for axes, group in zip(panels, groups, strict=True):
        _draw_group(axes, {key: line for key, line in lines.items() if key[1].partition(".")[0] == group}, labels)
        values = [row[4] for row in runs.rows if row[3].partition(".")[0] == group and math.isfinite(row[4])]
        if group in _LOGARITHMIC and min(values, default=-1.0) >= 0 and max(values) > 0:
            axes.set_yscale("log")
        style.label_axes(axes, "updates", "", _TITLES.get(group, style.plain(group)))
        style.legend_below_axes(axes, 6.0)
    style.title_above(figure, ", ".join(labels) if len(labels) <= 3 else f"{len(labels)} specs")
    return figure


def _draw_group(axes: Axes, lines: dict[tuple[str, str], Line], labels: list[str]) -> None:
    """Draw numbers in colours and specs in dashes; where there is one number, specs in colours."""
    names, looks = list(dict.fromkeys(name for _, name in lines)), style.looks(labels)
    for (label, name), line in lines.items():
        own = name.partition(".")[2]
        shape = style.look(names.index(name), labels.index(label)) if len(names) > 1 else looks[label]
        style.draw_line(axes, line, label=style.plain(own if len(labels) == 1 else f"{own}, {label}"), **shape)


def save_figure(path: Path, runs: ProbedRuns) -> list[Path]:
    """Write the figure and one line a number; return both paths."""
    rows = ([*row[:-1], f"{row[-1]:.9g}"] for row in runs.rows)
    return style.save_with_csv(path, draw(runs), ("run", "seed", "step", "name", "value"), rows)
