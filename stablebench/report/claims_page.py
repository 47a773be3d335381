"""The claims page: tables of verdicts in Markdown, and figures of the numbers behind them."""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stablebench.models import registry as model_registry
from stablebench.report.claims import FULL, Measured, StudySizes
from stablebench.report.figures.claims import draw_eigenvalues, draw_gradients, draw_singular_values
from stablebench.report.figures.style import save
from stablebench.report.paper_checks.check import PaperCheck
from stablebench.runs.atomic import write_atomically
from stablebench.tables import Table, render

_VERDICTS = ("holds", "vacuous", "violated", "not applicable")
_INTRODUCTION = """\
Each paper proves something of its model. Every claim is measured here in float64 on real inputs: on chains with the
paper's settings at initialisation, and on copy and adding before and after a short training with our recipe. *Holds*
and *violated* compare the measured number with the bound; *vacuous* says that the bound holds and is too wide to say
anything; *not applicable* that the claim's hypothesis is not met on this chain, so that nothing follows from a number.
Trained weights are float32: what is proved exactly is asked of them up to that rounding. Logarithms are to base 10.
"""
_FIGURES = (
    (
        "gradients",
        "Gradient norm against lag",
        draw_gradients,
        "||dL/dh_t|| of the loss at the last scored step against the lag E - t, E being that step, median of the "
        "examples, relative to lag 0: at initialisation on the left, after training on the right. A line that ends is "
        "exactly 0 from there on.",
    ),
    (
        "singular-values",
        "Singular values of dh_T/dh_1",
        draw_singular_values,
        "All singular values of dh_T/dh_1 of one example, the largest first: at initialisation on the left, after "
        "training on the right. Values of exactly 0 are left out.",
    ),
    (
        "eigenvalues",
        "Eigenvalues of the recurrent matrix",
        draw_eigenvalues,
        "Eigenvalues of recurrent matrices before (grey) and after training on copy, with the unit circle.",
    ),
)
"""File, title, what draws it where there is anything to draw, and caption."""


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
    path: Path, chains: Sequence[Measured], checks: Sequence[PaperCheck], sizes: StudySizes, provenance: Provenance
) -> list[Path]:
    """Write `PATH.md` and the figures next to it, in the folder `PATH`.

    Args:
        path: Without suffix: `docs/claims`.
        chains: What was measured.
        checks: What came out where theorems were put to numbers; empty where they were left out.
        sizes: How large everything was.
        provenance: Where it comes from.

    Returns:
        The files.
    """
    folder = path.with_suffix("")
    folder.mkdir(parents=True, exist_ok=True)
    written, shown = [], []
    for name, title, draw, caption in _FIGURES:
        if (figure := draw(chains)) is not None:
            written.append(folder / f"{name}.png")
            save(written[-1], figure)
            shown.append(f"![{title}]({folder.name}/{name}.png)\n\n{caption}")
    page = path.with_suffix(".md")
    write_atomically(page, page_text(chains, checks, sizes, provenance, shown).encode())
    return [page, *written]


def page_text(
    chains: Sequence[Measured],
    checks: Sequence[PaperCheck],
    sizes: StudySizes,
    provenance: Provenance,
    figures: Sequence[str] = (),
) -> str:
    """Return the page; the first arguments are those of `write_page`, `figures` its figures with their captions."""
    versions = ", ".join(f"{name} {version}" for name, version in provenance.versions.items())
    parts = [
        "# What the papers claim, and what we measured",
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
    if checks:
        parts.append("What each paper states, what we expect with it or instead, and what comes out.")
        parts.append(render([_checks_table(checks)], "github"))
    else:
        parts.append("Left out here: they are computed at the papers' sizes only, without --quick.")
    return "\n\n".join(part.rstrip("\n") for part in parts) + "\n"


def _overview(chains: Sequence[Measured]) -> Table:
    rows = []
    for model in dict.fromkeys(chain.model for chain in chains):
        for trained in (False, True):
            own = [c for c in chains if c.model == model and bool(c.updates) == trained]
            counts = Counter(f.verdict for c in own for f in c.claims)
            failed = sum(c.problem is not None for c in own)
            if own:
                state = "trained" if trained else "at initialisation"
                learnt = sum(chain.learnt is True for chain in own) if trained else None
                rows.append([model, state, len(own), learnt, *(counts[v] for v in _VERDICTS), failed])
    columns = ["model", "state", "chains", "beat baseline", *_VERDICTS, "not measured"]
    notes = ["Verdicts are counted over chains: a claim counts once on each. Each chain is of one seed."]
    return Table(columns, rows, notes=notes)


def _chains_table(own: Sequence[Measured]) -> Table:
    rows = []
    for i, chain in enumerate(own, start=1):
        ends = (chain.log10_gradient[0], chain.log10_gradient[-1]) if chain.log10_gradient else (math.nan, math.nan)
        largest = chain.log10_singular[0] if chain.log10_singular else math.nan
        least = chain.log10_singular[-1] if chain.log10_singular else math.nan
        reached = ", ".join(f"{name} {value:.4g}" for name, value in chain.test.items())
        reached += ": nothing learnt yet" if chain.learnt is False else ""
        numbers = [*(_log(v) for v in (ends[0] - ends[1], largest, least)), reached]
        if chain.problem is not None:
            numbers = ["", "", "", f"not measured: {chain.problem}"]
        rows.append([i, chain.where, chain.says, chain.state, *numbers])
    columns = ["", "chain", "settings", "state", "log grad ratio", "log sigma_max", "log sigma_min", "reached"]
    notes = ["log grad ratio: log10 of ||dL/dh_0|| / ||dL/dh_E||, L at the last scored step E; - where one is 0."]
    return Table(columns, rows, notes=notes)


def _claims_table(own: Sequence[Measured]) -> Table:
    rows: list[list[Any]] = []
    statements = dict.fromkeys(f.claim for chain in own for f in chain.claims)
    for statement in statements:
        first, before = True, ""
        for i, chain in enumerate(own, start=1):
            for verdict in chain.claims:
                if verdict.claim == statement:
                    head = [statement] if first else [""]
                    what = f"({i}) {chain.where}, {chain.state}"
                    values = [_value(verdict.measured), _value(verdict.bound)]
                    hypothesis = verdict.hypothesis if verdict.hypothesis != before else ""
                    rows.append([*head, what, verdict.verdict, *values, hypothesis])
                    first, before = False, verdict.hypothesis
    return Table(["claim", "chain", "verdict", "measured", "bound", "hypothesis"], rows)


def _checks_table(checks: Sequence[PaperCheck]) -> Table:
    rows = [
        [
            check.statement,
            check.setting,
            check.expected,
            "; ".join(f"{name} {value:.4g}" for name, value in check.measured.items()),
            check.verdict,
        ]
        for check in checks
    ]
    return Table(["the paper states", "setting", "we expect", "measured", "verdict"], rows)


def _log(value: float) -> str:
    return f"{value:.3g}" if math.isfinite(value) else "-"


def _value(value: float | tuple[float, float]) -> str:
    return f"{value[0]:.4g} ... {value[1]:.4g}" if isinstance(value, tuple) else f"{value:.4g}"
