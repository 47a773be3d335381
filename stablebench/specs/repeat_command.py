"""The command that repeats the runs of a row.

Two candidates: a short one that gives only what the user or the suite gave, the rest coming from card and recipe; and a
full one that says every value. The short one is given where it resolves to the very spec of the record with the cards
and recipes that are there now; otherwise the full one.
"""

import json
import shlex
import sys
from collections.abc import Sequence
from concurrent.futures import BrokenExecutor, ProcessPoolExecutor
from contextlib import suppress
from functools import lru_cache
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from stablebench.errors import UserError
from stablebench.schema.dotted import dotted
from stablebench.schema.run_record import RunRecord
from stablebench.schema.run_spec import RunSpec
from stablebench.schema.yaml_file import parse
from stablebench.specs.remembered import remembered

_GIVEN = ("option", "--set", "--model")


def commands_of(rows: Sequence[tuple[RunRecord, list[int]]], *, apart: bool = False) -> list[tuple[str, bool]]:
    """Return what `command_of` does of each row: one of its runs, and the seeds of all.

    Resolving a spec loads torch. A page that has its memory full of runs and curves leaves that to another process.

    Args:
        rows: The rows.
        apart: Whether to take another process, unless torch is loaded anyway.
    """
    decided = [
        [record.spec.model_dump(mode="json", exclude={"seed"}), record.spec_hash, record.origin, seeds]
        for record, seeds in rows
    ]

    def read(plain: Any) -> list[tuple[str, bool]]:
        pairs = [(command, exact) for command, exact in plain]
        if len(pairs) != len(rows) or not all(isinstance(c, str) and isinstance(exact, bool) for c, exact in pairs):
            raise ValueError("not a command a row")
        return pairs

    return remembered(["commands", decided], lambda: _commands_of(rows, apart), read)


def _commands_of(rows: Sequence[tuple[RunRecord, list[int]]], apart: bool) -> list[tuple[str, bool]]:
    if apart and "torch" not in sys.modules:
        short = [(record.model_copy(update={"evaluations": []}), seeds) for record, seeds in rows]
        with suppress(OSError, BrokenExecutor):  # no process to be had: here then
            with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as elsewhere:
                return elsewhere.submit(_commands_of, short, False).result()
    return [command_of(record, seeds) for record, seeds in rows]


def command_of(record: RunRecord, seeds: Sequence[int]) -> tuple[str, bool]:
    """Return the command that repeats a row's runs, and whether it is known to resolve to their spec here.

    Of a user's own model it is not known: that would take running the file that the record names.

    Args:
        record: One of the runs.
        seeds: Of all of them, >= 1.
    """
    full = settings(record.spec)
    origin = record.origin
    given = {key: value for key, value in full.items() if origin.get(key, "").startswith(_GIVEN)}
    for chosen in (given, full):
        if _resolves(record, chosen):
            return _line(record.spec, chosen, seeds), True
    return _line(record.spec, full, seeds), False


def settings(spec: RunSpec) -> dict[str, Any]:
    """Return every value of a spec that `--set` can set, by its key; the seed is left out."""
    document = spec.model_dump(mode="json")
    groups = {
        "task": document["task"]["params"],
        "model": {"hidden": spec.model.hidden, "layers": spec.model.layers} | document["model"]["params"],
        "optim": document["optim"],
        "train": document["train"],
        "floss": document.get("floss", {}),
    }
    settings = {key: value for key, value in dotted(groups).items() if value != {}}
    return settings | {key: document[key] for key in ("engine", "device", "precision", "threads")}


def _resolves(record: RunRecord, chosen: dict[str, Any]) -> bool:
    if ":" in record.spec.model.name or record.spec.task.source:  # no record may have a user's own code run
        return False
    from stablebench.specs.resolve import RunRequest, resolve

    try:
        values = {key: _parsed(yaml_text(value)) for key, value in chosen.items()}  # as `--set` gets them
        request = RunRequest(record.spec.model.name, _task(record.spec), settings=values)
        return resolve(request).spec.spec_hash() == record.spec_hash
    except (UserError, OSError):
        return False


@lru_cache(maxsize=4096)
def _parsed(text: str) -> Any:
    """Return a value as YAML reads it; the same few stand in the commands of many rows."""
    return parse(text).data


def _task(spec: RunSpec) -> str:
    name = spec.task.name if spec.task.source is None else spec.task.file or f"{spec.task.name}.yaml"
    return f"{name}/{spec.task.variant}" if spec.task.variant else name


def _line(spec: RunSpec, chosen: dict[str, Any], seeds: Sequence[int]) -> str:
    name = spec.model.name
    if spec.model.source is not None and "/" in name:  # a user's file, wherever it lies
        path, _, cls = name.rpartition(":")
        name = f"{Path(path).name}:{cls}"
    words = ["stablebench", "train", "--model", name, "--task", _task(spec)]
    for key, value in chosen.items():
        words += ["--set", f"{key}={yaml_text(value)}"]
    line = " ".join(shlex.quote(word) for word in words)
    if len(seeds) == 1:
        return f"{line} --seed {seeds[0]}"
    return f"for seed in {' '.join(map(str, seeds))}; do {line} --seed $seed; done"


def yaml_text(value: Any) -> str:
    """Return a value as YAML reads it back; a word stands without quotes where it stays a word."""
    if isinstance(value, str) and value and value.replace("_", "").isalnum():
        with suppress(UserError):
            if parse(value).data == value:
                return value
    return json.dumps(value)
