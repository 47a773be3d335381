"""The run store: `runs/<task>/<model>/<spec-hash>-s<seed>/` with record, curve and checkpoints."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from pydantic import ValidationError

from stablebench.errors import StablebenchError, UserError
from stablebench.schema.run_record import RunRecord
from stablebench.schema.run_spec import RunSpec
from stablebench.schema.strict import problems
from stablebench.training.files import remove_temporaries, write_atomically

_KEPT = 2
"""Checkpoints kept: the newest, and the one before in case the newest is damaged."""


class RunFolder:
    """One run's files.

    Args:
        path: The folder; it need not exist yet.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def record_path(self) -> Path:
        """The record."""
        return self.path / "record.json"

    @property
    def curve_path(self) -> Path:
        """The curve, one JSON object a line."""
        return self.path / "metrics.jsonl"

    @property
    def best_path(self) -> Path:
        """The checkpoint best on validation, where the card selects on it."""
        return self.path / "checkpoints" / "best.safetensors"

    def checkpoint_path(self, step: int) -> Path:
        """Return where the checkpoint after `step` updates lies."""
        return self.path / "checkpoints" / f"step-{step}.safetensors"

    def lock(self, wait: bool = False) -> FileLock:
        """Take the folder's lock; the system gives it back when the process ends, however it ends.

        Raises:
            StablebenchError: Another process has it, and `wait` is false.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        lock = FileLock(self.path / ".lock")
        try:
            lock.acquire(timeout=-1 if wait else 0)
        except Timeout:
            raise StablebenchError(f"{self.path}: another process is running this run (--wait waits for it).") from None
        remove_temporaries(self.path)
        remove_temporaries(self.path / "checkpoints")
        return lock

    def read_record(self) -> RunRecord:
        """Return the record.

        Raises:
            UserError: There is none, or it is not a whole record.
        """
        try:
            text = self.record_path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise UserError(f"{self.path}: no run with a readable record.json ({error}).") from None
        try:
            return RunRecord.model_validate_json(text)
        except ValidationError as error:
            raise UserError("\n".join(problems(error, RunRecord, str(self.record_path))[:5])) from None

    def write_record(self, record: RunRecord) -> None:
        """Write the record atomically."""
        write_atomically(self.record_path, record.model_dump_json(indent=1).encode())

    def checkpoints(self) -> list[Path]:
        """Return the numbered checkpoints, newest first."""
        found = {
            int(match[1]): path
            for path in (self.path / "checkpoints").glob("step-*.safetensors")
            if (match := re.fullmatch(r"step-(\d+)\.safetensors", path.name))
        }
        return [found[step] for step in sorted(found, reverse=True)]

    def drop_old_checkpoints(self) -> None:
        """Keep the newest checkpoints only."""
        for path in self.checkpoints()[_KEPT:]:
            path.unlink(missing_ok=True)


class Curve:
    """The append-only curve of a run.

    Args:
        path: `metrics.jsonl`.
        length: Bytes to keep of what is there: what follows was written after the checkpoint that is taken up.
    """

    def __init__(self, path: Path, length: int = 0) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = path.open("ab")
        self._file.truncate(length)

    def append(self, **values: Any) -> None:
        """Write one line."""
        try:
            self._file.write(json.dumps(values, allow_nan=False).encode() + b"\n")
            self._file.flush()
        except OSError as error:
            raise StablebenchError(f"{self._file.name}: cannot be written ({error.strerror}).") from error

    @property
    def length(self) -> int:
        """Bytes written so far."""
        return self._file.seek(0, 2)

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def read_curve(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the curve's lines; a torn last line is left out."""
    if not path.is_file():
        return
    for line in path.read_bytes().splitlines(keepends=True):
        if line.endswith(b"\n"):
            yield json.loads(line)


def run_folder(runs_dir: Path, spec: RunSpec) -> RunFolder:
    """Return the newest folder of a spec and seed, which may not exist yet."""
    taken = _folders(runs_dir, spec)
    return RunFolder(taken[-1] if taken else _first_folder(runs_dir, spec))


def fresh_run_folder(runs_dir: Path, spec: RunSpec) -> RunFolder:
    """Return a folder beside those that the spec and seed already have."""
    first, count = _first_folder(runs_dir, spec), len(_folders(runs_dir, spec))
    return RunFolder(first if not count else first.with_name(f"{first.name}-r{count + 1}"))


def _first_folder(runs_dir: Path, spec: RunSpec) -> Path:
    return runs_dir / spec.task.name / spec.model.label / f"{spec.spec_hash()}-s{spec.seed}"


def _folders(runs_dir: Path, spec: RunSpec) -> list[Path]:
    first = _first_folder(runs_dir, spec)
    reruns = {}
    for path in first.parent.glob(f"{first.name}-r*"):
        if match := re.fullmatch(re.escape(first.name) + r"-r(\d+)", path.name):
            reruns[int(match[1])] = path
    return ([first] if first.is_dir() else []) + [reruns[n] for n in sorted(reruns)]


def all_runs(runs_dir: Path) -> Iterator[RunFolder]:
    """Yield every folder with a record, in the order of their paths."""
    for path in sorted(runs_dir.glob("*/*/*/record.json")):
        yield RunFolder(path.parent)
