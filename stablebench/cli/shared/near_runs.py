"""What a run store has of the models and tasks that are asked for, where it lacks the runs themselves."""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from stablebench.cli.shared.text import format_value
from stablebench.errors import StablebenchError
from stablebench.runs.stored_record import read_record
from stablebench.schema.dotted import dotted
from stablebench.schema.run_spec import RunSpec
from stablebench.specs.request import Resolved

_MOST = 3
"""Settings of stored runs that are others of each model and task."""
_DIFFERENCES = 6
"""Values that are others of each."""


def near_runs(runs: Sequence[Resolved], runs_dir: Path) -> list[str]:
    """Return a line for each model and task of which the store has runs with other settings: how many, and which.

    Args:
        runs: What is asked for and is not there.
        runs_dir: The run store.
    """
    asked = {(run.spec.task.name, run.spec.model.label): run.spec for run in reversed(runs)}
    lines = []
    for (task, model), spec in reversed(asked.items()):
        folder = runs_dir / task / model
        others = list(_others(folder, spec))
        if others:
            more = f"; and {len(others) - _MOST} other settings" if len(others) > _MOST else ""
            lines.append(f"{folder} has other runs of {model} on {task}: {'; '.join(others[:_MOST])}{more}.")
    return lines


def _others(folder: Path, asked: RunSpec) -> Iterator[str]:
    """Yield how many stored runs have each of the other settings, and what differs."""
    names = sorted(os.listdir(folder)) if folder.is_dir() else []
    hashes: dict[str, list[str]] = {}
    for name in names:
        hashes.setdefault(name.partition("-")[0], []).append(name)
    for same in hashes.values():
        try:
            stored = read_record(folder / same[0] / "record.json").spec
        except StablebenchError:
            continue
        differences = list(_differences(_values(stored), _values(asked)))
        more = [f"{len(differences) - _DIFFERENCES} other values"] if len(differences) > _DIFFERENCES else []
        yield f"{len(same)} with {', '.join([*differences[:_DIFFERENCES], *more])}"


def _values(spec: RunSpec) -> dict[str, Any]:
    return dotted(spec.model_dump(mode="json"))


def _differences(stored: dict[str, Any], asked: dict[str, Any]) -> Iterator[str]:
    for key in [*stored, *(key for key in asked if key not in stored)]:
        there, wanted = stored.get(key), asked.get(key)
        if there != wanted:
            yield f"{key} {format_value(there)} in place of {format_value(wanted)}"
