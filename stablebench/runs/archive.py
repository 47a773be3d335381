"""Runs in a text file, a line a run: record and curve at its evaluations, without checkpoints and code.

    {"stablebench_runs":1}
    {"environment":"1f0c...","is":{...},"sha256":"..."}
    {"run":"copy/lstm/0f3a...-s0","record":{...},"train":{"step":[...],"loss":[...]},"sha256":"..."}

Environments come first, each once; a record names its own. Lines are sorted, so that a file changes where runs came or
went. Evaluations are columns. Every number of a record is kept to its last digit, so that tables come out the same. Of
the curve between evaluations there is the last line before each, in five digits.
"""

import hashlib
import json
import re
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from stablebench.errors import UserError, described
from stablebench.runs.atomic import write_atomically
from stablebench.runs.curve import read_curve
from stablebench.runs.store import RunFolder
from stablebench.schema.measured import Measurements
from stablebench.schema.run_record import RunRecord
from stablebench.schema.strict import problems

_FORMAT = 1
_HEADER = "stablebench_runs"
_MAX_LINE = 50_000_000
"""Bytes of a line that are read."""
_DIGITS = 5
"""Of a number of the curve between evaluations."""
_TRAIN = ("loss", "gradient_norm")
_SPLITS = ("train", "probe")
"""Of the curve's lines; those of the split `validation` are the record's evaluations."""
_ENDED = ("finished", "diverged")

Lines = list[dict[str, Any]]


@dataclass(frozen=True)
class ArchivedRun:
    """A run without its weights.

    Args:
        name: Where it lies in a run store: `copy/lstm/<spec-hash>-s<seed>`, with `-r2` of a second run of one spec.
        record: Its record.
        lines: What its curve has at evaluations besides these: lines of the splits `train` and `probe`.
        measured: What was measured of it after its end; None for nothing.
    """

    name: str
    record: RunRecord
    lines: Lines = field(default_factory=list)
    measured: Measurements | None = None

    @property
    def ended(self) -> bool:
        """Whether it finished or diverged."""
        return self.record.status in _ENDED


def run_name(record: RunRecord, rerun: str = "") -> str:
    """Return where a run lies in a run store.

    Args:
        record: Its record.
        rerun: `-r2` of a second run of one spec and seed.

    Raises:
        ValueError: A name in the record cannot be that of a folder.
    """
    parts = record.spec.task.name, record.spec.model.label, f"{record.spec_hash}-s{record.spec.seed}{rerun}"
    if bad := [part for part in parts if not re.fullmatch(r"[^./\\\0][^/\\\0]*", part)]:
        raise ValueError(f"{bad[0]!r} cannot be the name of a folder")
    return "/".join(parts)


def packed(folder: RunFolder, record: RunRecord) -> ArchivedRun:
    """Return a run of a store as an archive keeps it.

    Args:
        folder: Its folder.
        record: Its record.

    Raises:
        UserError: Its curve is damaged.
    """
    rerun = re.search(r"-s\d+(-r\d+)$", folder.path.name)
    looks = [evaluation.step for evaluation in record.evaluations]
    train: dict[int, dict[str, Any]] = {}
    probe: Lines = []
    for line in read_curve(folder.curve_path):
        step, split = line.get("step"), line.get("split")
        if split == "probe":
            probe.append(_without(line, "wall_s"))
        elif split == "train" and isinstance(step, int) and (look := bisect_left(looks, step)) < len(looks):
            train[look] = {"step": step, "split": split} | {n: _short(line[n]) for n in _TRAIN if n in line}
    name = run_name(record, "" if rerun is None else rerun[1])
    bare = record.model_copy()
    bare.take_measured(None)  # records are compared
    return ArchivedRun(name, bare, [*train.values(), *probe], folder.read_measured())


def _short(value: Any) -> Any:
    return float(f"{value:.{_DIGITS}g}") if isinstance(value, float) else value


def archive_text(runs: Iterable[ArchivedRun]) -> str:
    """Return runs as the text of an archive."""
    environments: dict[str, str] = {}
    lines = []
    for run in sorted(runs, key=lambda run: _sorted_by(run.name)):
        left_out = {"spec", "evaluations", "environment"}
        document: dict[str, Any] = {"spec": run.record.spec.model_dump(mode="json")}
        document |= run.record.model_dump(mode="json", exclude_defaults=True, exclude=left_out)
        environment = run.record.environment.model_dump(mode="json", exclude_defaults=True)
        digest = _digest(environment)
        environments[digest] = _line({"environment": digest, "is": environment})
        document["environment"] = digest
        if run.record.evaluations:
            document["evaluations"] = _columns(
                [{"step": e.step, "train_s": e.train_s} | e.metrics for e in run.record.evaluations]
            )
        parts = {split: [line for line in run.lines if line["split"] == split] for split in _SPLITS}
        columns = {split: _columns([_without(line, "split") for line in of]) for split, of in parts.items() if of}
        if run.measured is not None:
            columns["measured"] = run.measured.model_dump(mode="json")
        lines.append(_line({"run": run.name, "record": document, **columns}))
    return "".join([f'{{"{_HEADER}":{_FORMAT}}}\n', *(environments[key] for key in sorted(environments)), *lines])


def _sorted_by(name: str) -> list[Any]:
    """Return what sorts names as one would: seed 10 after seed 9."""
    return [int(part) if part.isdigit() else part for part in re.split(r"(?<=-[sr])(\d+)", name)]


def _compact(document: Any) -> str:
    return json.dumps(document, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def _digest(document: Any) -> str:
    return hashlib.sha256(_compact(document).encode()).hexdigest()[:12]


def _line(document: dict[str, Any]) -> str:
    return _compact(document | {"sha256": _digest(document)}) + "\n"


def _without(line: dict[str, Any], key: str) -> dict[str, Any]:
    return {name: value for name, value in line.items() if name != key}


def _columns(rows: Lines) -> dict[str, list[Any]]:
    """Return rows as columns; where a row lacks a key, the column has null."""
    keys = dict.fromkeys(key for row in rows for key in row)
    return {key: [row.get(key) for row in rows] for key in keys}


def _rows(columns: dict[str, list[Any]]) -> Lines:
    if len({len(column) for column in columns.values()}) > 1:
        raise ValueError("columns differ in their length")
    rows = zip(*columns.values(), strict=True)
    return [{name: value for name, value in zip(columns, row, strict=True) if value is not None} for row in rows]


def read_archive(path: Path) -> dict[str, ArchivedRun]:
    """Return the runs of an archive by name, in its order.

    Raises:
        UserError: It cannot be read, or is damaged; the message names the line.
    """
    runs: dict[str, ArchivedRun] = {}
    environments: dict[str, Any] = {}
    for number, text in _numbered(path):
        where = f"{path}:{number}"
        try:
            document = json.loads(text)
            if number == 1:
                _check_header(document)
                continue
            if document.pop("sha256") != _digest(document):
                raise ValueError("its digest does not hold, the line was changed")
            if "environment" in document:
                environments[document["environment"]] = document["is"]
                continue
            run = _run(document, environments)
        except ValidationError as error:
            raise UserError(problems(error, RunRecord, where)[0]) from None
        except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
            raise UserError(f"{where}: must be a line of `stablebench runs pack` ({described(error)}).") from None
        if run.name in runs:
            raise UserError(f"{where}: the run {run.name} is there twice.")
        runs[run.name] = run
    return runs


def _numbered(path: Path) -> Iterator[tuple[int, str]]:
    """Yield the lines of a file with their numbers, at least one."""
    number = 0
    try:
        with path.open("rb") as file:
            while line := file.readline(_MAX_LINE):
                number += 1
                if not line.endswith(b"\n"):
                    raise UserError(f"{path}:{number}: the line is torn, the file ends or goes on too long within it.")
                yield number, line.decode()
    except UnicodeDecodeError as error:
        raise UserError(f"{path}:{number}: must be text, UTF-8 ({error.reason}).") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}).") from None
    if number == 0:
        raise UserError(f"{path}:1: must be an archive of `stablebench runs pack`, the file is empty.")


def _check_header(document: Any) -> None:
    version = document.get(_HEADER)
    if not isinstance(version, int):
        raise ValueError(f'the first line must be {{"{_HEADER}":{_FORMAT}}}')
    if version != _FORMAT:
        raise ValueError(f"format {version}, this version of stablebench reads {_FORMAT}; read it with a newer one")


def _run(document: dict[str, Any], environments: Mapping[str, Any]) -> ArchivedRun:
    record = document["record"]
    if record["environment"] not in environments:
        raise ValueError(f"the line of its environment, {record['environment']}, is not above it")
    record["environment"] = environments[record["environment"]]
    if "evaluations" in record:
        rows = _rows(record["evaluations"])
        record["evaluations"] = [
            {"step": row.pop("step"), "train_s": row.pop("train_s"), "metrics": row} for row in rows
        ]
    run = RunRecord.model_validate(record)
    name = document["run"]
    rerun = re.search(r"-s\d+(-r\d+)?$", name)
    if rerun is None or name != run_name(run, rerun[1] or ""):
        raise ValueError(f"its record is that of {run_name(run)}")
    lines = [row | {"split": split} for split in _SPLITS if split in document for row in _rows(document[split])]
    if any(type(line.get("step")) is not int for line in lines):
        raise ValueError("a line of its curve has no update, a whole number `step`")
    measured = Measurements.model_validate(document["measured"]) if "measured" in document else None
    return ArchivedRun(name, run, lines, measured)


def with_runs(
    there: Mapping[str, ArchivedRun], more: Iterable[ArchivedRun], *, force: bool = False
) -> tuple[dict[str, ArchivedRun], list[str], list[str]]:
    """Return the runs of an archive with others added.

    A run that had not ended gets its end. One that is there with another record is kept, unless `force`.

    Args:
        there: What the archive has.
        more: The others.
        force: Whether a run of theirs replaces one with another record.

    Returns:
        All runs; the names of those that are new, and of those that were kept although they differ.
    """
    runs, new, kept = dict(there), [], []
    for run in more:
        before = runs.get(run.name)
        if before is not None and before.record == run.record and run.measured in (None, before.measured):
            continue
        if before is not None and before.record == run.record and run.measured is not None:
            runs[run.name] = run  # what was measured since
            new.append(run.name)
            continue
        if before is not None and not force and not (run.ended and not before.ended):
            kept.append(run.name)
            continue
        runs[run.name] = run
        new.append(run.name)
    return runs, new, kept


def unpack(run: ArchivedRun, runs_dir: Path, source: str) -> bool | None:
    """Write a run into a run store, unless it is there.

    Args:
        run: The run.
        runs_dir: The run store.
        source: Where it comes from, for the note in its folder.

    Returns:
        Whether it was written; None where the store has it with another record, or as the beginning of a run.

    Raises:
        StablebenchError: The disk does not take it, or another process has the folder.
    """
    folder = RunFolder(runs_dir / run.name)
    if _is_taken(folder):
        return False if _has(folder, run.record) else None
    folder.path.mkdir(parents=True, exist_ok=True)
    with folder.lock():
        if _is_taken(folder):
            return None
        write_atomically(folder.curve_path, _curve(run).encode(), within=folder.path)
        folder.mark_unpacked(source)
        if run.measured is not None:
            folder.write_measured(run.measured)
        folder.write_record(run.record)
    return True


def _is_taken(folder: RunFolder) -> bool:
    return folder.record_path.exists() or bool(folder.checkpoints())


def _has(folder: RunFolder, record: RunRecord) -> bool:
    try:
        return folder.read_record() == record
    except UserError:
        return False


def _curve(run: ArchivedRun) -> str:
    """Return the curve of an unpacked run as its file has it."""
    validation = [{"step": e.step, "split": "validation", **e.metrics} for e in run.record.evaluations]
    place = {"train": 0, "validation": 1, "probe": 2}
    lines = sorted([*run.lines, *validation], key=lambda line: (line["step"], place[line["split"]]))
    return "".join(f"{json.dumps({'step': line['step'], 'split': line['split']} | line)}\n" for line in lines)
