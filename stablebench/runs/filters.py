"""Which runs of a store are meant: conditions such as `status=failed`, `model=lstm`, `train.steps=400`."""

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from stablebench.errors import UserError, did_you_mean
from stablebench.runs.store import RunFolder, all_runs
from stablebench.schema.dotted import dotted
from stablebench.schema.run_record import RunRecord, Status

_NAMED: dict[str, Callable[["StoredRun"], Any]] = {
    "status": lambda run: run.status,
    "model": lambda run: run.record and (run.record.spec.model.label, run.record.spec.model.name),
    "task": lambda run: run.record and (run.record.spec.task.name, _task(run.record)),
    "seed": lambda run: run.record and run.record.spec.seed,
    "hash": lambda run: run.record and run.record.spec_hash,
    "label": lambda run: run.folder.label or "",
}
"""Keys of conditions next to those of the run spec."""
_STATUSES = (*get_args(Status), "killed", "broken")


@dataclass(frozen=True)
class StoredRun:
    """A run of a store.

    Args:
        folder: Its folder.
        record: Its record; None where that cannot be read.
        problem: Why it cannot.
    """

    folder: RunFolder
    record: RunRecord | None
    problem: str | None = None

    @property
    def name(self) -> str:
        """`task/model/hash-sN`, as a run store has it."""
        return "/".join(self.folder.path.absolute().parts[-3:])

    @property
    def status(self) -> str:
        """The record's status; `killed` where it says `running` and no process does, `broken` without a record."""
        if self.record is None:
            return "broken"
        killed = self.record.status == "running" and self.folder.lock_is_stale()
        return "killed" if killed else self.record.status


def stored(folder: RunFolder) -> StoredRun:
    """Return a run with its record, or with why that cannot be read."""
    try:
        return StoredRun(folder, folder.read_record())
    except UserError as error:
        return StoredRun(folder, None, str(error).partition("\n")[0])


def runs_where(runs_dir: Path, conditions: Iterable[str]) -> Iterator[StoredRun]:
    """Yield the runs of a store for which all conditions hold, in the order of their paths.

    Args:
        runs_dir: The run store.
        conditions: `KEY=VALUE` or `KEY!=VALUE`; a key is one of
            status, model, task, seed, hash, label, or of the run spec.

    Raises:
        UserError: A condition cannot be read, or no run has its key.
    """
    checks = [_parsed(condition) for condition in conditions]
    known: set[str] = set()
    unused = {key for key, _, _ in checks} - _NAMED.keys()
    for run in map(stored, all_runs(runs_dir)):
        values = {} if run.record is None or not unused else dotted(run.record.spec.model_dump(mode="json"))
        values = {key.replace(".params.", ".", 1): value for key, value in values.items()}
        known |= values.keys()
        if all((_equal(_NAMED[k](run) if k in _NAMED else values.get(k), v)) is wanted for k, v, wanted in checks):
            yield run
    if known and (wrong := sorted(unused - known)):
        keys = [*_NAMED, *sorted(known)]
        raise UserError(
            f"--where {wrong[0]}: no run has this key.{did_you_mean(wrong[0], keys)} Keys: {', '.join(_NAMED)}, and "
            "those of the run spec, such as model.hidden, optim.lr, train.steps."
        )


def _parsed(condition: str) -> tuple[str, str, bool]:
    match = re.fullmatch(r"\s*([\w.]+)\s*(!?=)\s*(.*?)\s*", condition)
    if match is None:
        raise UserError(f"--where {condition}: must be KEY=VALUE or KEY!=VALUE, for example status=failed, model=lstm.")
    if match[1] == "status" and match[3] not in _STATUSES:
        hint = did_you_mean(match[3], _STATUSES)
        raise UserError(f"--where {condition}: there is no such status.{hint} Statuses: {', '.join(_STATUSES)}.")
    return match[1], match[3], match[2] == "="


def _equal(value: Any, text: str) -> bool:
    """Return whether a value is what a text says; one of several names is enough."""
    if isinstance(value, tuple):
        return text in value
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        try:
            return float(text) == float(value)
        except ValueError:
            return False
    words = {None: "null", True: "true", False: "false"}
    return (words[value] if value is None or isinstance(value, bool) else str(value)) == text


def _task(record: RunRecord) -> str:
    task = record.spec.task
    return f"{task.name}/{task.variant}" if task.variant else task.name
