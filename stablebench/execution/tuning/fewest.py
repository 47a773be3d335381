"""The fewest training sequences with which a model reaches its task's target, by bisection of the logarithm.

A training set of a fixed size takes the place of new examples; budget and all else stay. The largest size is tried
first, then the smallest, then the geometric mean of the largest that fails and the smallest that reaches the target.
Each trial is an ordinary run of the run store, and what is tried next follows from the trials before alone: a search
that was interrupted goes on when it is asked for again.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from stablebench.data.params import SEQUENCES
from stablebench.errors import StablebenchError, UserError
from stablebench.runs.store import run_folder
from stablebench.schema.run_record import RunRecord
from stablebench.specs.request import Resolved, RunRequest
from stablebench.specs.resolve import resolve
from stablebench.training.run import ended_record
from stablebench.training.targets import CONSECUTIVE_EVALUATIONS

STOP = "train.stop_at_target"


@dataclass(frozen=True)
class FewestPlan:
    """What is searched.

    Args:
        least: The smallest training set.
        most: The largest.
        within: The search ends when the smallest size that reaches the target is at most so many times one that fails.
        repeats: Seeds of every size, from the request's on; more than half of them must reach the target.
    """

    least: int
    most: int
    within: float
    repeats: int


@dataclass(frozen=True)
class SizeTrial:
    """The runs at one size.

    Args:
        sequences: Training sequences.
        records: Their records, by seed.
        folders: Where they lie, in the order of their seeds.
    """

    sequences: int
    records: list[RunRecord]
    folders: list[Path]

    @property
    def reached(self) -> int:
        """How many runs reached the target."""
        return sum(record.result.steps_to_target is not None for record in self.records)

    @property
    def succeeds(self) -> bool:
        """Whether more than half did."""
        return 2 * self.reached > len(self.records)


def next_size(known: Mapping[int, bool], least: int, most: int, within: float) -> int | None:
    """Return the size to try next; None where the search has ended.

    Args:
        known: Which sizes succeed.
        least: The smallest size.
        most: The largest.
        within: How many times one that fails the smallest that succeeds may be.
    """
    for size in (most, least):
        if size not in known:
            return size
        if known[size] == (size == least):  # the largest fails, or the smallest succeeds
            return None
    fails, succeeds = bracket(known)
    assert fails is not None and succeeds is not None  # the ends
    middle = round(math.sqrt(fails * succeeds))
    if succeeds / fails <= within or not fails < middle < succeeds:
        return None
    return middle


def bracket(known: Mapping[int, bool]) -> tuple[int | None, int | None]:
    """Return the largest size that fails below the smallest that succeeds, and that one; None where there is none."""
    succeeds = min((size for size, good in known.items() if good), default=None)
    fails = max(
        (size for size, good in known.items() if not good and (succeeds is None or size < succeeds)), default=None
    )
    return fails, succeeds


def run_of(request: RunRequest, sequences: int) -> Resolved:
    """Return the run with a training set of a size; it ends when the target is reached unless the request says more."""
    settings = {STOP: CONSECUTIVE_EVALUATIONS} | request.settings | {f"task.{SEQUENCES}": sequences}
    return resolve(replace(request, settings=settings))


def check_plan(plan: FewestPlan, base: Resolved) -> None:
    """Check that there is something to search.

    Raises:
        UserError: The ends do not follow each other, or the task has no target.
    """
    if not 1 <= plan.least < plan.most:
        raise UserError(f"--fewest-sequences {plan.least},{plan.most}: must be LEAST,MOST with 1 <= LEAST < MOST.")
    if plan.within <= 1:
        raise UserError(f"--within {plan.within:g}: must be > 1, a ratio of two sizes.")
    if base.card.target_value(base.spec.task.params) is None:
        raise UserError(f"--fewest-sequences: the task {base.card.task} has no target to reach here.")


def search(
    request: RunRequest,
    plan: FewestPlan,
    runs_dir: Path,
    execute: Callable[[list[Resolved]], int],
) -> Iterator[SizeTrial | int]:
    """Yield each size as it has been tried, or last the exit code of a signal.

    Args:
        request: The run at any size.
        plan: What is searched.
        runs_dir: The run store.
        execute: Trains those of the runs that have not ended; returns 129, 130 or 143 after a signal.

    Raises:
        StablebenchError: A run failed.
    """
    known: dict[int, bool] = {}
    while (size := next_size(known, plan.least, plan.most, plan.within)) is not None:
        first = run_of(request, size)
        runs = [first.seeded(first.spec.seed + i) for i in range(plan.repeats)]
        folders = [run_folder(runs_dir, run.spec) for run in runs]
        missing = [run for run, folder in zip(runs, folders, strict=True) if ended_record(folder) is None]
        if missing and (code := execute(missing)):
            yield code
            return
        folders = [run_folder(runs_dir, run.spec) for run in runs]
        records = [ended_record(folder) for folder in folders]
        for run, record in zip(runs, records, strict=True):
            if record is None:
                raise StablebenchError(
                    f"{run.label}, {size:,} sequences: the run failed; the same command tries again."
                )
        trial = SizeTrial(size, [r for r in records if r is not None], [folder.path for folder in folders])
        known[size] = trial.succeeds
        yield trial
