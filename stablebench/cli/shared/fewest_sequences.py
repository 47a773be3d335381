"""`sweep --fewest-sequences`: with how few training sequences a model reaches the target."""

import os
import statistics
from typing import TYPE_CHECKING, Any

from stablebench.cli.shared.options import TableOutputOptions
from stablebench.cli.ui.output import note, print_json, print_tables
from stablebench.errors import UserError
from stablebench.tables import Table

if TYPE_CHECKING:
    from stablebench.execution.tuning.fewest import FewestPlan, SizeTrial
    from stablebench.specs.request import RunRequest
    from stablebench.training.run import ExecutionOptions


def plan_of(ends: list[int] | None, within: float | None, repeats: int | None) -> "FewestPlan":
    """Return what the options say is searched.

    Raises:
        UserError: The ends are not two.
    """
    from stablebench.execution.tuning.fewest import FewestPlan

    if ends is None or len(ends) != 2:
        raise UserError("--fewest-sequences: must be LEAST,MOST, two numbers of sequences.")
    return FewestPlan(*ends, within=1.25 if within is None else within, repeats=repeats or 1)


def search_fewest(
    request: "RunRequest",
    plan: "FewestPlan",
    execution: "ExecutionOptions",
    workers: int,
    shown: TableOutputOptions,
    *,
    dry_run: bool,
) -> int:
    """Search, print what was tried, and return the exit code: 0 when the search has ended, else that of a signal."""
    from stablebench.execution.events import RunCallbacks
    from stablebench.execution.local import run_locally
    from stablebench.execution.tuning.fewest import check_plan, run_of, search

    base = run_of(request, plan.most)
    check_plan(plan, base)
    if dry_run:
        spec = base.spec
        note(
            f"{base.label}: {plan.least:,} to {plan.most:,} training sequences, {plan.repeats} run(s) of at most "
            f"{spec.train.steps:,} updates each, until within {plan.within:g} times"
        )
        return 0
    os.environ.setdefault("OMP_NUM_THREADS", str(base.spec.threads))  # read when torch starts, in the runs

    def execute(runs: list[Any]) -> int:
        return run_locally(runs, execution, workers, RunCallbacks(on_end=lambda end: failed.append(end.message)))

    failed: list[str] = []
    trials: list[SizeTrial] = []
    code = 0
    for tried in search(request, plan, execution.runs_dir, execute):
        if isinstance(tried, int):
            code = tried
            break
        trials.append(tried)
        if not shown.quiet:
            reached = f"{tried.reached} of {len(tried.records)} reach the target"
            note(f"{tried.sequences:,} sequences: {reached}")
    _print(base.label.rpartition(" seed ")[0], plan, trials, shown, ended=not code)
    if code:
        note("the search has not ended; the same command continues.")
    return code


def _print(
    title: str, plan: "FewestPlan", trials: "list[SizeTrial]", shown: TableOutputOptions, *, ended: bool
) -> None:
    from stablebench.execution.tuning.fewest import bracket

    fails, succeeds = bracket({trial.sequences: trial.succeeds for trial in trials})
    if shown.as_json:
        tried = [
            {
                "sequences": trial.sequences,
                "reached": trial.reached,
                "runs": [str(folder.relative_to(shown.runs_dir)) for folder in trial.folders],
                "steps_to_target": [record.result.steps_to_target for record in trial.records],
            }
            for trial in trials
        ]
        print_json({"ended": ended, "fewest": succeeds if ended else None, "fails": fails, "trials": tried})
        return
    rows = []
    for trial in sorted(trials, key=lambda trial: trial.sequences):
        steps = [r.result.steps_to_target for r in trial.records if r.result.steps_to_target is not None]
        median = f"{statistics.median(steps):g}" if steps else None
        rows.append([trial.sequences, f"{trial.reached}/{len(trial.records)}", median])
    notes = [_verdict(plan, fails, succeeds)] if ended else []
    columns = ["training sequences", "reach the target", "updates to target"]
    print_tables([Table(columns, rows, title=title, notes=notes)], shown.fmt)


def _verdict(plan: "FewestPlan", fails: int | None, succeeds: int | None) -> str:
    if succeeds is None:
        return f"The target is not reached with {plan.most:,} training sequences, the most that were tried."
    if fails is None:
        return f"{succeeds:,} training sequences are enough, the fewest that were tried."
    return f"Fewest training sequences: {succeeds:,} ({fails:,} are too few), by validation examples."
