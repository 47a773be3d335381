"""`compare --estimate`: what a suite would take on this machine."""

from pathlib import Path
from typing import Any

from stablebench.cli.shared.options import TableOutputOptions
from stablebench.cli.ui.output import Table, note, print_json, print_tables
from stablebench.errors import first_line
from stablebench.execution.estimate import Estimate, estimates
from stablebench.runs.progress import clock
from stablebench.specs.request import Resolved


def print_estimates(
    runs: list[Resolved],
    missing: list[Resolved],
    workers: int,
    data_dir: Path | None,
    shown: TableOutputOptions,
) -> bool:
    """Time a few updates of each kind of run, and print what the suite would take; return whether all can be run.

    Args:
        runs: All runs of the suite.
        missing: Those that the run store does not have.
        workers: Runs at once.
        data_dir: Where the data sets are.
        shown: How it is printed.
    """
    kinds: list[Estimate] = []
    for estimate in estimates(runs, missing, data_dir=data_dir):
        kinds.append(estimate)
        if not shown.quiet:
            result = first_line(estimate.problem or "") or f"{clock(estimate.run_s or 0)} a run"
            note(f"{estimate.model} ({estimate.hidden} units) on {estimate.task}: {result}")
    timed = [(e, e.run_s) for e in kinds if e.run_s is not None]
    total_s, missing_s = sum(s * e.runs for e, s in timed), sum(s * e.missing for e, s in timed)
    if shown.as_json:
        totals = {"core_s": total_s, "missing_core_s": missing_s, "workers": workers, "missing_s": missing_s / workers}
        totals |= dict.fromkeys(totals.keys() - {"workers"}) if kinds and not timed else {}
        print_json({"cells": [e.document() for e in kinds], **totals})
    else:
        print_tables([_table(kinds, total_s, missing_s, workers)], shown.fmt)
    return not any(e.problem for e in kinds)


def _problems(kinds: list[Estimate]) -> dict[str, list[str]]:
    """Return the first line of why kinds of run cannot be run, each once with all that it stops."""
    stopped: dict[str, dict[str, None]] = {}
    for e in kinds:
        if e.problem:
            stopped.setdefault(first_line(e.problem), {})[f"{e.model} on {e.task}"] = None
    return {problem: list(names) for problem, names in stopped.items()}


def _table(kinds: list[Estimate], total_s: float, missing_s: float, workers: int) -> Table:
    def row(e: Estimate) -> list[Any]:
        missing = f"{e.missing} of {e.runs}"
        if e.update_s is None or e.run_s is None or e.evaluations_s is None:
            return [e.task, e.model, e.hidden, None, e.steps, None, None, None, missing]
        share = f"{e.evaluations_s / e.run_s:.0%}"
        return [e.task, e.model, e.hidden, e.parameters, e.steps, 1 / e.update_s, share, clock(e.run_s), missing]

    columns = ["task", "model", "hidden", "parameters", "updates", "updates/s", "evaluating", "a run", "missing"]
    timed = [e for e in kinds if e.run_s is not None]
    runs, untimed = sum(e.runs for e in timed), sum(e.runs for e in kinds if e.run_s is None)
    notes = []
    if timed or not kinds:
        notes.append(
            f"{'' if untimed else 'All '}{runs} runs: {clock(total_s)} one after another; the missing "
            f"{sum(e.missing for e in timed)}: {clock(missing_s)}, {clock(missing_s / workers)} with {workers} at once."
        )
        notes.append("Timed on this machine as it is now, runs that do not stop at their target early.")
    if untimed:
        notes.append(f"{untimed} runs cannot be run here; what they would take is not known.")
    notes += [f"{', '.join(names)}: {problem}" for problem, names in _problems(kinds).items()]
    rows, minor = [row(e) for e in kinds], ("evaluating", "parameters")
    return Table(columns, rows, title="What it would take", notes=notes, minor=minor)
