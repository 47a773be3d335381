"""The page of promises: tables of verdicts in Markdown, and figures of what is behind them."""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stablebench.models import registry as model_registry
from stablebench.report.claims import FULL, Measured, Sizes
from stablebench.report.paper_checks.check import PaperCheck
from stablebench.runs.atomic import write_atomically
from stablebench.tables import Table, render

_VERDICTS = ("holds", "vacuous", "violated", "not applicable")
_LOWEST = -20.0
"""Where the axes of logarithms end: what lies below has vanished."""
_INTRODUCTION = """\
Each paper proves something of its model. Every claim is measured here in float64 on real inputs: on chains with the
paper's settings as the model starts, and on copy and adding before and after a short training with our recipe. *Holds*
and *violated* compare the measured number with the bound; *vacuous* says that the bound holds and is too wide to say
anything; *not applicable* that the claim's hypothesis is not met on this chain, so that nothing follows from a number.
Trained weights are float32: what is proved exactly is asked of them up to that rounding. Logarithms are to base 10.
"""


@dataclass(frozen=True)
class Provenance:
    """Where the page comes from.

    Args:
        command: What was typed.
        commit: Git commit, `+` where the tree had changes.
        date: Of the run, ISO 8601.
        versions: Of packages.
        hardware: Processor.
        seconds: The run took.
    """

    command: str
    commit: str | None
    date: str
    versions: dict[str, str]
    hardware: str
    seconds: float


def write_page(
    path: Path, chains: Sequence[Measured], findings: Sequence[PaperCheck], sizes: Sizes, provenance: Provenance
) -> list[Path]:
    """Write `PATH.md` and the figures beside it, in the folder `PATH`.

    Args:
        path: Without suffix: `docs/promises`.
        chains: What was measured.
        findings: What came out where theorems were put to numbers; none where they were left out.
        sizes: How large everything was.
        provenance: Where it comes from.

    Returns:
        The files.
    """
    folder = path.with_suffix("")
    folder.mkdir(parents=True, exist_ok=True)
    figures = {
        "gradients": ("Gradient norm against lag", _gradients),
        "singular-values": ("Singular values of dh_T/dh_1", _singular_values),
        "eigenvalues": ("Eigenvalues of the recurrent matrix", _eigenvalues),
    }
    written, shown = [], []
    for name, (title, draw) in figures.items():
        file = folder / f"{name}.png"
        if draw(file, chains):
            written.append(file)
            shown.append(f"![{title}]({folder.name}/{file.name})\n\n{_CAPTIONS[name]}")
    page = path.with_suffix(".md")
    write_atomically(page, _page(chains, findings, sizes, provenance, shown).encode())
    return [page, *written]


_CAPTIONS = {
    "gradients": "||dL/dh_t|| of the loss at the last scored step against the lag E - t, E being that step, median of "
    "the examples, relative to lag 0: dashed as the models start, solid after training. A line that ends is exactly 0 "
    "from there on.",
    "singular-values": "All singular values of dh_T/dh_1 of one example, the largest first: dashed as models start, "
    "solid after training. Values of exactly 0 are left out.",
    "eigenvalues": "Of recurrent matrices before (grey) and after training on copy, with the unit circle.",
}


def _page(
    chains: Sequence[Measured],
    findings: Sequence[PaperCheck],
    sizes: Sizes,
    provenance: Provenance,
    figures: list[str],
) -> str:
    versions = ", ".join(f"{name} {version}" for name, version in provenance.versions.items())
    parts = [
        "# What the papers promise, and what we measured",
        _INTRODUCTION,
        f"Made by `{provenance.command}` at commit {provenance.commit or 'unknown'} on {provenance.date}, in "
        f"{provenance.seconds / 60:.1f} minutes on {provenance.hardware}; {versions}.",
    ]
    if sizes != FULL:
        width = "" if sizes.hidden is None else f", every width {sizes.hidden}"
        lengths = "" if sizes.longest is None else f", no length above {sizes.longest}"
        parts.append(f"**Not the sizes of the full page: {sizes.steps} updates{width}{lengths}.**")
    parts += ["## Overview", render([_overview(chains)], "github"), *figures]
    for model in dict.fromkeys(chain.model for chain in chains):
        own = [chain for chain in chains if chain.model == model]
        parts.append(f"## {model}")
        parts.append(model_registry.model_docstring(model).partition("\n")[0])
        parts.append(render([_chains_table(own)], "github"))
        table = _claims_table(own)
        parts.append(render([table], "github") if table.rows else "Its paper proves nothing that is claimed here.")
    parts.append("## Theorems put to numbers")
    if findings:
        parts.append("What each paper states, what we expect beside it or instead, and what comes out.")
        parts.append(render([_findings_table(findings)], "github"))
    else:
        parts.append("Left out here: they are computed at the papers' sizes alone, without --quick.")
    return "\n\n".join(part.rstrip("\n") for part in parts) + "\n"


def _overview(chains: Sequence[Measured]) -> Table:
    rows = []
    for model in dict.fromkeys(chain.model for chain in chains):
        for trained in (False, True):
            own = [c for c in chains if c.model == model and bool(c.updates) == trained]
            counts = Counter(f.verdict for c in own for f in c.claims)
            failed = sum(c.problem is not None for c in own)
            if own:
                state = "trained" if trained else "as it starts"
                rows.append([model, state, len(own), *(counts[v] for v in _VERDICTS), failed])
    columns = ["model", "state", "chains", *_VERDICTS, "not measured"]
    return Table(columns, rows, notes=["Verdicts are counted over chains: a claim counts once on each."])


def _chains_table(own: Sequence[Measured]) -> Table:
    rows = []
    for i, chain in enumerate(own, start=1):
        ends = (chain.log10_gradient[0], chain.log10_gradient[-1]) if chain.log10_gradient else (math.nan, math.nan)
        largest = chain.log10_singular[0] if chain.log10_singular else math.nan
        least = chain.log10_singular[-1] if chain.log10_singular else math.nan
        reached = ", ".join(f"{name} {value:.4g}" for name, value in chain.test.items())
        rows.append(
            [i, chain.where, chain.says, chain.state, *(_log(v) for v in (ends[0] - ends[1], largest, least)), reached]
            if chain.problem is None
            else [i, chain.where, chain.says, chain.state, *[""] * 3, f"not measured: {chain.problem}"]
        )
    columns = ["", "chain", "settings", "state", "log grad ratio", "log sigma_max", "log sigma_min", "reached"]
    notes = ["log grad ratio: log10 of ||dL/dh_0|| / ||dL/dh_E||, L at the last scored step E; - where one is 0."]
    return Table(columns, rows, notes=notes)


def _claims_table(own: Sequence[Measured]) -> Table:
    rows: list[list[Any]] = []
    statements = dict.fromkeys(f.claim for chain in own for f in chain.claims)
    for statement in statements:
        first, before = True, ""
        for i, chain in enumerate(own, start=1):
            for finding in chain.claims:
                if finding.claim == statement:
                    head = [statement] if first else [""]
                    what = f"({i}) {chain.where}, {chain.state}"
                    values = [_value(finding.measured), _value(finding.bound)]
                    hypothesis = finding.hypothesis if finding.hypothesis != before else ""
                    rows.append([*head, what, finding.verdict, *values, hypothesis])
                    first, before = False, finding.hypothesis
    return Table(["claim", "chain", "verdict", "measured", "bound", "hypothesis"], rows)


def _findings_table(findings: Sequence[PaperCheck]) -> Table:
    rows = [
        [
            finding.statement,
            finding.setting,
            finding.expected,
            "; ".join(f"{name} {value:.4g}" for name, value in finding.measured.items()),
            finding.verdict,
        ]
        for finding in findings
    ]
    return Table(["the paper states", "setting", "we expect", "measured", "verdict"], rows)


def _log(value: float) -> str:
    return f"{value:.3g}" if math.isfinite(value) else "-"


def _value(value: float | tuple[float, float]) -> str:
    return f"{value[0]:.4g} ... {value[1]:.4g}" if isinstance(value, tuple) else f"{value:.4g}"


def _canvas(columns: int, rows: int) -> tuple[Any, Any]:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.2 * columns, 3.0 * rows), layout="constrained")
    FigureCanvasAgg(figure)
    return figure, figure.subplots(rows, columns, squeeze=False)


def _pairs(chains: Sequence[Measured], task: str) -> dict[str, tuple[Measured | None, Measured]]:
    """Return by model the chain on a task as it starts, where there is one, and after training."""
    found = {}
    for chain in chains:
        if chain.updates and chain.where.startswith(f"{task} ") and chain.problem is None:
            start = [
                c for c in chains if (c.model, c.where, c.updates, c.says) == (chain.model, chain.where, 0, chain.says)
            ]
            found[chain.model] = (start[0] if start and start[0].problem is None else None, chain)
    return found


def _gradients(path: Path, chains: Sequence[Measured]) -> bool:
    def lines(chain: Measured) -> list[float]:
        logs = chain.log10_gradient[::-1]
        return [v - logs[0] for v in logs]

    return _by_task(path, chains, lines, "lag", r"$\log_{10}$ of the norm, relative")


def _singular_values(path: Path, chains: Sequence[Measured]) -> bool:
    return _by_task(path, chains, lambda chain: chain.log10_singular, "index", r"$\log_{10}\sigma$")


def _by_task(path: Path, chains: Sequence[Measured], values: Any, x: str, y: str) -> bool:
    tasks = [task for task in ("copy", "adding") if _pairs(chains, task)]
    if not tasks:
        return False
    import matplotlib

    colours = matplotlib.colormaps["tab20"]
    figure, axes = _canvas(len(tasks), 1)
    figure.set_size_inches(5.2 * len(tasks), 4.4)
    for ax, task in zip(axes[0], tasks, strict=True):
        drawn: list[float] = []
        for i, (model, (start, trained)) in enumerate(_pairs(chains, task).items()):
            colour = colours(i % 20)
            if start is not None:
                ax.plot(values(start), "--", color=colour, linewidth=0.8)
                drawn += values(start)
            ax.plot(values(trained), color=colour, linewidth=1.2, label=model)
            drawn += values(trained)
        ax.set_title(f"{task}", fontsize="medium")
        ax.set_xlabel(x)
        ax.set_ylabel(y)
        finite = [value for value in drawn if math.isfinite(value)]
        low, high = max(min(finite, default=-1.0), _LOWEST), max(finite, default=1.0)
        margin = 0.05 * (high - low) + 0.1
        ax.set_ylim(low - margin, high + margin)
        ax.grid(alpha=0.3)
    figure.legend(
        *axes[0][0].get_legend_handles_labels(), frameon=False, fontsize="x-small", loc="outside right center"
    )
    figure.savefig(path, dpi=100)
    return True


def _eigenvalues(path: Path, chains: Sequence[Measured]) -> bool:
    pairs = {model: pair for model, pair in _pairs(chains, "copy").items() if pair[1].eigenvalues}
    if not pairs:
        return False
    columns = min(4, len(pairs))
    rows = -(-len(pairs) // columns)
    figure, axes = _canvas(columns, rows)
    figure.set_size_inches(3.0 * columns, 3.0 * rows)
    circle = [2 * math.pi * i / 200 for i in range(201)]
    for ax in axes.flat[len(pairs) :]:
        ax.set_axis_off()
    for ax, (model, (start, trained)) in zip(axes.flat, pairs.items(), strict=False):
        ax.plot([math.cos(v) for v in circle], [math.sin(v) for v in circle], color="black", linewidth=0.5)
        for chain, colour in ((start, "0.6"), (trained, "C0")):
            if chain is not None:
                ax.plot(*zip(*chain.eigenvalues, strict=True), ".", color=colour, markersize=3)
        ax.set_aspect("equal", adjustable="datalim")
        ax.set_title(model, fontsize="medium")
        ax.grid(alpha=0.3)
    figure.savefig(path, dpi=90)
    return True
