"""`compare --estimate`: what a suite would take on this machine."""

from typing import TYPE_CHECKING, Any

from stablebench.cli.shared.options import RunOptions
from stablebench.cli.ui.output import Format, Table, note, print_json, print_tables

if TYPE_CHECKING:
    from stablebench.execution.estimate import Estimate
    from stablebench.specs.resolve import Resolved


def print_estimates(
    cells: "list[Resolved]", missing: "list[Resolved]", workers: int, options: RunOptions, fmt: Format
) -> bool:
    """Time a few updates of each kind of cell, and print what the runs would take; return whether all can be run.

    Args:
        cells: All cells of the suite.
        missing: Those that the run store does not have.
        workers: Runs at once.
        options: Where the data are, and how much is said.
        fmt: How the table is printed.
    """
    from stablebench.execution.estimate import estimates
    from stablebench.runs.progress import clock

    found: list[Estimate] = []
    for estimate in estimates(cells, missing, data_dir=options.data_dir):
        found.append(estimate)
        if not options.quiet:
            said = estimate.problem or f"{clock(estimate.run_s or 0)} a run"
            note(f"{estimate.model} ({estimate.hidden} units) on {estimate.task}: {said}")
    in_all, left = (sum(e.run_s * n(e) for e in found if e.run_s is not None) for n in (_runs, _missing))
    if options.json:
        totals = {"core_s": in_all, "missing_core_s": left, "workers": workers, "missing_s": left / workers}
        print_json({"cells": [e.document() for e in found], **totals})
    else:
        print_tables([_table(found, in_all, left, workers)], fmt)
    return not any(e.problem for e in found)


def _runs(estimate: "Estimate") -> int:
    return estimate.runs


def _missing(estimate: "Estimate") -> int:
    return estimate.missing


def _table(found: "list[Estimate]", in_all: float, left: float, workers: int) -> Table:
    from stablebench.runs.progress import clock

    def row(estimate: "Estimate") -> list[Any]:
        e = estimate
        if e.update_s is None or e.run_s is None or e.evaluations_s is None:
            return [e.task, e.model, e.hidden, None, e.steps, None, None, None, f"{e.missing} of {e.runs}"]
        share = f"{e.evaluations_s / e.run_s:.0%}"
        rate = 1 / e.update_s
        return [
            e.task,
            e.model,
            e.hidden,
            e.parameters,
            e.steps,
            rate,
            share,
            clock(e.run_s),
            f"{e.missing} of {e.runs}",
        ]

    columns = ["task", "model", "hidden", "parameters", "updates", "updates/s", "evaluating", "a run", "missing"]
    notes = [
        f"All {sum(map(_runs, found))} runs: {clock(in_all)} one after another; "
        f"the missing {sum(map(_missing, found))}: {clock(left)}, {clock(left / workers)} with {workers} at once.",
        "Timed on this machine as it is now, runs that do not stop at their target early.",
        *(f"{e.model} on {e.task}: {e.problem}" for e in found if e.problem),
    ]
    return Table(
        columns, [row(e) for e in found], title="What it would take", notes=notes, minor=("evaluating", "parameters")
    )
