"""`compare --until-decided`: seeds are added to the models that are not told apart yet."""

import math
from pathlib import Path
from typing import TYPE_CHECKING

from stablebench.cli.shared.requests import SuiteRunOptions
from stablebench.cli.ui.output import note
from stablebench.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Callable

    from stablebench.execution.suites import SuiteOverrides
    from stablebench.leaderboard import Decisions
    from stablebench.schema.suite import Suite
    from stablebench.specs.request import Resolved

Failures = list[tuple[str, str]]
"""Names of runs that failed, and why."""


def refuse_until_decided_with(asked: SuiteRunOptions, **others: bool) -> None:
    """Refuse options that decide how many seeds are run, or that nothing is."""
    given = [f"--{name.replace('_', '-')}" for name, value in others.items() if value]
    given += [] if asked.seeds is None else ["--seeds"]
    if given:
        raise UserError(f"--until-decided and {given[0]}: it decides itself how many seeds are run; leave one out.")


def decisions_of(
    runs: "list[Resolved]", most: int, equal_within: float | None, across_budgets: bool = False
) -> "Decisions":
    """Return when to look at how many seeds, for the pairs of models on each task.

    Args:
        runs: One seed of each model on each task.
        most: Seeds of a model, at most.
        equal_within: How far apart two models count as equal; None where that is not asked.
        across_budgets: Whether models of unequal budgets are compared all the same.

    Raises:
        UserError: There is no pair, budgets on a task are unequal, or so few seeds decide none.
    """
    from stablebench.leaderboard import Decisions
    from stablebench.stats import seed_plan

    by_task: dict[str, list[Resolved]] = {}
    for run in runs:
        by_task.setdefault(run.spec.task.model_dump_json(exclude={"variant"}), []).append(run)
    pairs = sum(math.comb(len(same), 2) for same in by_task.values())
    if not across_budgets:
        for same in by_task.values():
            _refuse_unequal(same)
    if not pairs:
        raise UserError("--until-decided: there is no task with two models to tell apart.")
    plan = seed_plan(pairs, most, 1 if equal_within is None else 2)
    if plan is None:
        raise UserError(f"--max-seeds {most}: so few seeds decide none of {pairs} pairs at 5 % in all; allow more.")
    return Decisions(plan, pairs, equal_within)


def _refuse_unequal(runs: "list[Resolved]") -> None:
    """Raise where the runs of one task have budgets that the leaderboard would not rank."""
    from stablebench.execution.equal_parameters import parameters_at
    from stablebench.leaderboard import unequal_budgets

    specs = [run.spec for run in runs]
    budgets = [{"updates": s.train.steps, "batch": s.train.batch_size, "units": s.model.hidden} for s in specs]
    differs = unequal_budgets(budgets, lambda: [parameters_at(run, run.spec.model.hidden) for run in runs])
    if differs:
        raise UserError(
            f"--until-decided: on {specs[0].task.name} {' and '.join(differs)} are unequal, so that models are not "
            "told apart: give --steps, --batch-size and --hidden, or --across-budgets."
        )


def with_seeds(suite: "Suite", overrides: "SuiteOverrides", seeds: int) -> "list[Resolved]":
    """Return the runs of a suite with seeds 0 to `seeds` - 1."""
    from stablebench.execution.suites import runs_of

    return runs_of(suite.model_copy(update={"seeds": list(range(seeds))}), overrides, {})


def add_seeds(
    decisions: "Decisions",
    runs_with: "Callable[[int], list[Resolved]]",
    run_missing: "Callable[[list[Resolved]], tuple[int, Failures]]",
    runs_dir: Path,
    across_budgets: bool = False,
) -> "tuple[int, Failures, list[Resolved]]":
    """Run more and more seeds of the models that are not told apart yet.

    Args:
        decisions: When to look; takes what was decided.
        runs_with: Returns the runs of the suite with so many seeds.
        run_missing: Runs what has no record yet; returns the exit code of a signal, else 0, and what failed and why.
        runs_dir: The run store.
        across_budgets: Whether models of unequal budgets are compared all the same.

    Returns:
        The exit code of a signal, else 0; what failed and why; all runs.
    """
    from stablebench import leaderboard
    from stablebench.runs.store import readable_records, run_folders

    runs: dict[tuple[str, int], Resolved] = {}
    failures: dict[str, str] = {}
    needed: set[str] | None = None
    for seeds in decisions.plan.looks:
        for run in runs_with(seeds):
            key = run.spec.spec_hash(), run.spec.seed
            if needed is None or key[0] in needed:
                runs.setdefault(key, run)
        code, failed = run_missing(list(runs.values()))
        failures |= dict(failed)
        if code:
            return code, list(failures.items()), list(runs.values())
        records, _ = readable_records(run_folders(runs_dir, [run.spec for run in runs.values()]))
        needed = decisions.look(leaderboard.build("", records.values(), across_budgets=across_budgets), seeds)
        note(f"{seeds} seeds: {len(decisions.decided)} of {decisions.pairs} pairs decided")
        if not needed:
            break
    return 0, list(failures.items()), list(runs.values())
