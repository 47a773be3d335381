"""What `compare` does, on the command line and from Python: the runs that are missing, and the leaderboard of all."""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from stablebench import leaderboard
from stablebench.execution.suites import SuiteOverrides
from stablebench.process.garbage_collection import collector_paused
from stablebench.runs.store import readable_records, run_folders
from stablebench.schema.leaderboard import Leaderboard
from stablebench.schema.run_record import RunRecord
from stablebench.schema.suite import Suite
from stablebench.specs.request import Resolved

Failures = list[tuple[str, str]]
"""Names of runs that failed, and why."""


def missing_runs(runs: Sequence[Resolved], runs_dir: Path) -> list[Resolved]:
    """Return the runs that have not ended."""
    from stablebench.training.run import has_ended  # imports torch, which a leaderboard of stored runs does without

    folders = run_folders(runs_dir, (run.spec for run in runs))
    return [run for run, folder in zip(runs, folders, strict=True) if not has_ended(folder)]


def without_broken(runs: list[Resolved], note: Callable[[str], None]) -> tuple[list[Resolved], Failures]:
    """Return the runs whose models keep to the contract, and the names of the others with why they do not.

    Args:
        runs: The runs.
        note: Takes a line per warning.
    """
    if all(run.spec.model.source is None for run in runs):
        return runs, []
    from stablebench.training.model_check import broken_models

    broken = broken_models(runs, note)
    judged = [(run, broken.get((run.spec.model.name, run.spec.model.source))) for run in runs]
    return [run for run, why in judged if why is None], [(run.label, why) for run, why in judged if why is not None]


def call_as_asked(records: Iterable[RunRecord], runs: Iterable[Resolved]) -> None:
    """Have tables call models whose names came with arguments as they were asked for."""
    names = {run.spec.spec_hash(): run.called for run in runs if run.called is not None}
    for record in records:
        if name := names.get(record.spec_hash):
            record.call(name)


@collector_paused()
def leaderboard_of(
    name: str,
    suite: Suite,
    overrides: SuiteOverrides,
    runs: Sequence[Resolved],
    runs_dir: Path,
    *,
    across_budgets: bool,
    tidy: bool,
) -> tuple[Leaderboard, list[bool], Failures]:
    """Return the leaderboard, for each run whether it has a record, and which of the records are of failed runs.

    Args:
        name: What the suite is called.
        suite: The suite.
        overrides: What is asked for in its place.
        runs: Its runs.
        runs_dir: The run store.
        across_budgets: Whether rows of unequal updates, batch or width are ranked all the same.
        tidy: Whether it has its runs as tidy data, too.
    """
    folders = run_folders(runs_dir, [run.spec for run in runs])
    records, unreadable = readable_records(folders)
    call_as_asked(records.values(), runs)
    board = leaderboard.build(name, records.values(), unreadable=unreadable, across_budgets=across_budgets, tidy=tidy)
    if overrides.rates:  # at one rate each nothing of a paper is repeated, and no row is a model's
        board = board.replaced(learning_rates=leaderboard.learning_rates(records.values(), board.tables))
    else:
        changes = leaderboard.Overrides(overrides.changed, overrides.short)
        board = board.replaced(reproduction=leaderboard.reproduction(suite, board, changes))
    recorded = [folder.path in records or str(folder.path) in unreadable for folder in folders]
    stored = [(run.label, records.get(folder.path)) for run, folder in zip(runs, folders, strict=True)]
    failed = [(label, r.error or "") for label, r in stored if r is not None and r.status == "failed"]
    return board, recorded, failed
