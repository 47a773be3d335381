"""`--dry-run`: what a suite or a sweep would run, without running it."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stablebench.cli.shared.options import TableOutputOptions
from stablebench.cli.ui.output import Table, note, print_json, print_tables
from stablebench.specs.request import Resolved

if TYPE_CHECKING:
    from stablebench.execution.tuning.cells import Cell
    from stablebench.execution.tuning.study import Plan


def print_runs(runs: Sequence[Resolved], missing: Sequence[Resolved], shown: TableOutputOptions) -> None:
    """Print a suite's runs, a row for those that differ in their seed alone, and how many are still to be run.

    Args:
        runs: All runs.
        missing: Those that the run store does not have.
        shown: How it is printed.
    """
    left = {(run.spec.spec_hash(), run.spec.seed) for run in missing}
    rows: dict[str, dict[str, Any]] = {}
    for run in runs:
        spec, key = run.spec, run.spec.spec_hash()
        task = spec.task.name if spec.task.variant is None else f"{spec.task.name}/{spec.task.variant}"
        row = {"task": task, "model": run.model_label, "hidden": spec.model.hidden, "updates": spec.train.steps}
        row = rows.setdefault(key, row | {"seeds": [], "to run": 0, "spec hash": key})
        row["seeds"].append(spec.seed)
        row["to run"] += (key, spec.seed) in left
    if shown.as_json:
        print_json(list(rows.values()))
        return
    cells = [[", ".join(map(str, v)) if isinstance(v, list) else v for v in row.values()] for row in rows.values()]
    updates = sum(run.spec.train.steps for run in missing)
    notes = [f"{len(missing)} of {len(runs)} runs would be run, {updates:,} updates in all; `--estimate` times a few."]
    columns = list(next(iter(rows.values()), {"task": None}))
    print_tables([Table(columns, cells, title="What would be run", notes=notes)], shown.fmt)


def print_sweep(
    plan: "Plan",
    base: Resolved,
    trials: int,
    journal: Path,
    *,
    label: str,
    workers: int,
    data_dir: Path | None,
    shown: TableOutputOptions,
) -> bool:
    """Print what a sweep would search, and what its trials would take by a few timed updates.

    Returns whether a trial can be run here.

    Args:
        plan: What decides its trials.
        base: The run that the searched values are laid over.
        trials: How many there would be.
        journal: Where they would be noted.
        label: What the space is called.
        workers: Trials at once.
        data_dir: Folder of the real data sets.
        shown: How it is printed.
    """
    from stablebench.execution.estimate import estimates
    from stablebench.runs.progress import clock
    from stablebench.specs.search_space import describe

    (timed,) = estimates([base] * trials, [base] * trials, data_dir=data_dir)
    plain = {"space": label, "trials": trials, "storage": str(journal), "resumes": journal.exists()}
    if shown.as_json:
        print_json(plain | {"plan": plan.document(), "estimate": timed.document()})
        return timed.problem is None
    steps, run_s = base.spec.train.steps, timed.run_s
    cost = f"at most {clock(run_s or 0)} a trial, {clock((run_s or 0) * trials / workers)} in all"
    rows = [
        ["searched", describe(plan.space.space)],
        ["space", label],
        ["trials", f"{trials}, {workers} at once; sampler {plan.sampler}, pruner {plan.pruner}"],
        ["judged by", f"{plan.metric} on validation examples"],
        ["updates", f"{steps:,} a trial, at most {steps * trials:,} in all"],
        ["time", f"{cost}, timed at the values that are not searched" if timed.problem is None else "unknown"],
        ["journal", f"{journal}, {'which is there: its trials count' if journal.exists() else 'new'}"],
    ]
    print_tables([Table(["sweep", base.label], rows, wrap=frozenset({base.label}))], shown.fmt)
    if timed.problem is not None:
        note(f"a trial cannot be run here: {timed.problem}")
    return timed.problem is None


def print_searches(
    cells: "Sequence[Cell]", trials: int, seeds: int, data_dir: Path | None, shown: TableOutputOptions
) -> bool:
    """Print the searches of `tune`, and what they and the suite's runs afterwards would take by a few timed updates.

    Returns whether all of them can be run here.

    Args:
        cells: The searches.
        trials: Trials of each.
        seeds: Seeds of each that are run afterwards.
        data_dir: Folder of the real data sets.
        shown: How it is printed.
    """
    from stablebench.execution.estimate import estimates
    from stablebench.runs.progress import clock
    from stablebench.specs.search_space import describe

    rows, hours = [], [0.0, 0.0]
    for cell in cells:
        (timed,) = estimates([cell.base], [cell.base], data_dir=data_dir, seconds=0.5)
        run_s = timed.run_s or 0.0
        hours = [hours[0] + trials * run_s / 3600, hours[1] + seeds * run_s / 3600]
        rows.append(
            [
                cell.label,
                timed.steps,
                clock(run_s) if timed.run_s else None,
                describe(cell.plan.space.space),
                timed.problem,
            ]
        )
        if not shown.quiet:
            note(f"[{len(rows)}/{len(cells)}] {cell.label}: {timed.problem or f'{clock(run_s)} a run'}")
    totals = {"searches": len(cells), "trials": trials * len(cells), "runs": (trials + seeds) * len(cells)}
    totals |= {"tuning_core_hours": round(hours[0], 2), "scoring_core_hours": round(hours[1], 2)}
    columns = ["search", "updates", "a run", "searched", "problem"]
    if shown.as_json:
        print_json(totals | {"cells": [dict(zip(columns, row, strict=True)) for row in rows]})
        return not any(row[-1] for row in rows)
    notes = [
        f"{len(cells)} searches of {trials} trials: {totals['trials']} trials, at most {hours[0]:.3g} core hours; then "
        f"{seeds} seeds of each: {seeds * len(cells)} runs, {hours[1]:.3g} core hours.",
        "Timed on this machine as it is now; trials that are pruned end at half of their updates.",
        *["Searches that cannot be run here are not counted in the hours."] * any(row[-1] for row in rows),
    ]
    print_tables(
        [Table(columns, rows, title="What would be searched", notes=notes, wrap=frozenset({"searched"}))], shown.fmt
    )
    return not any(row[-1] for row in rows)
