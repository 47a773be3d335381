"""The run store: `runs/<task>/<model>/<spec-hash>-s<seed>/` with record, curve and checkpoints."""

import os
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from stablebench.errors import UserError
from stablebench.process.garbage_collection import collector_paused
from stablebench.runs.atomic import remove_temporaries, write_atomically
from stablebench.runs.lock import RunLock
from stablebench.runs.shared_parts import SharedParts
from stablebench.runs.stored_record import OtherVersion, read_record
from stablebench.schema.measured import Measurements
from stablebench.schema.run_record import RunRecord
from stablebench.schema.run_spec import RunSpec

LABEL = "label.txt"
"""The file of a run's label."""
_KEPT = 2
"""Checkpoints kept: the newest, and the one before in case the newest is damaged."""


class RunFolder:
    """One run's files.

    Args:
        path: The folder; it need not exist yet.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock: RunLock | None = None
        """While this process has the folder for itself."""

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

    @property
    def measured_path(self) -> Path:
        """What was measured of the run after its end."""
        return self.path / "measured.json"

    @property
    def unpacked_path(self) -> Path:
        """A note in the folder of a run that was unpacked from an archive: it came without weights."""
        return self.path / "unpacked.txt"

    @property
    def label(self) -> str | None:
        """What the user calls the run (`stablebench runs label`); None where nothing was said."""
        try:
            return (self.path / LABEL).read_text(encoding="utf-8").strip() or None
        except (OSError, UnicodeDecodeError):
            return None

    def checkpoint_path(self, step: int) -> Path:
        """Return where the checkpoint after `step` updates lies."""
        return self.path / "checkpoints" / f"step-{step}.safetensors"

    @contextmanager
    def lock(self, wait_s: float | None = 0.0, note: Callable[[str], None] = lambda text: None) -> Iterator[RunLock]:
        """Context in which this process has the folder for itself, and what a killed one left half written is gone.

        Args:
            wait_s: Seconds to wait for another process; None for as long as it takes.
            note: Called with a line about a lock that was left behind, and about whom is waited for.

        Raises:
            StablebenchError: Another process has it.
        """
        with RunLock(self.path, wait_s, note) as lock:
            remove_temporaries(self.path)
            remove_temporaries(self.path / "checkpoints")
            self._lock = lock
            try:
                yield lock
            finally:
                self._lock = None

    def check(self) -> None:
        """Check that the folder is still where it was when its lock was taken, and still this process's.

        Raises:
            FolderLost: It is not; nothing may be written there.
        """
        if self._lock is not None:
            self._lock.check()

    def follow(self, path: Path) -> None:
        """Write what follows into the same folder under its new name."""
        self.path, self._lock = path, None

    def lock_is_stale(self) -> bool:
        """Return whether no process has the folder's lock, as far as can be seen from this host."""
        holder = RunLock(self.path).holder()
        return holder is None or holder.has_died

    def read_record(self) -> RunRecord:
        """Return the record.

        Raises:
            OtherVersion: It is whole, and another version of stablebench wrote it.
            UserError: There is none, or it is not a whole record.
        """
        return read_record(f"{self.path}/record.json")

    def read_measured(self) -> Measurements | None:
        """Return what was measured of the run after its end; None where there is nothing, or it is damaged."""
        try:
            return Measurements.model_validate_json(self.measured_path.read_bytes())
        except (OSError, ValidationError):
            return None

    def write_measured(self, measured: Measurements) -> None:
        """Write what was measured of the run, atomically.

        Raises:
            StablebenchError: The disk does not take it.
        """
        write_atomically(self.measured_path, measured.model_dump_json(indent=1).encode(), within=self.path)

    def quarantine_corrupt_record(self) -> str | None:
        """Move a record that is not whole to `record.json.damaged`, and return what is wrong with it; None if it is.

        Raises:
            OtherVersion: Another version of stablebench wrote it; it stays where it is.
        """
        if not self.record_path.exists():
            return None
        try:
            self.read_record()
        except OtherVersion:
            raise
        except UserError as error:
            os.replace(self.record_path, self.record_path.with_name("record.json.damaged"))
            return str(error).partition("\n")[0]
        return None

    def write_record(self, record: RunRecord) -> None:
        """Write the record atomically.

        Raises:
            FolderLost: The folder is no longer where it was.
            StablebenchError: The disk does not take it.
        """
        self.check()
        write_atomically(self.record_path, record.model_dump_json(indent=1).encode(), within=self.path)

    def checkpoints(self) -> list[Path]:
        """Return the numbered checkpoints, newest first."""
        paths = {
            int(match[1]): path
            for path in (self.path / "checkpoints").glob("step-*.safetensors")
            if (match := re.fullmatch(r"step-(\d+)\.safetensors", path.name))
        }
        return [paths[step] for step in sorted(paths, reverse=True)]

    def forget(self) -> None:
        """Put the run back to its start: remove its checkpoints, its curve and its record."""
        checkpoints = (self.path / "checkpoints").glob("*")
        for path in [*checkpoints, self.curve_path, self.record_path, self.unpacked_path, self.measured_path]:
            path.unlink(missing_ok=True)

    def mark_unpacked(self, source: str) -> None:
        """Note that the run comes from an archive."""
        text = f"Unpacked from {source}: without checkpoints, and with the curve at its evaluations only.\n"
        write_atomically(self.unpacked_path, text.encode(), within=self.path)

    def why_no_weights(self) -> str:
        """Return why a run without a checkpoint has none."""
        if self.unpacked_path.exists():
            return "the run's weights were not kept, it was unpacked from an archive"
        return "the run has no checkpoint"

    def drop_old_checkpoints(self) -> None:
        """Keep the newest checkpoints only."""
        for path in self.checkpoints()[_KEPT:]:
            path.unlink(missing_ok=True)


def run_folders(runs_dir: Path, specs: Iterable[RunSpec]) -> list[RunFolder]:
    """Return the newest folder of each spec and seed, which may not exist yet; each parent is looked into once."""
    first = _first_folders(runs_dir, list(specs))
    newest: dict[Path, dict[str, int]] = {}
    for parent in {parent for parent, _ in first}:
        newest[parent] = defaultdict(int)
        for name in os.listdir(parent) if parent.is_dir() else ():
            match = re.fullmatch(r"(.*-s\d+)-r(\d+)", name)
            if match:
                newest[parent][match[1]] = max(newest[parent][match[1]], int(match[2]))
    reruns = [newest[parent].get(name) for parent, name in first]
    return [RunFolder(p / (f"{name}-r{n}" if n else name)) for (p, name), n in zip(first, reruns, strict=True)]


def run_folder(runs_dir: Path, spec: RunSpec) -> RunFolder:
    """Return the newest folder of a spec and seed, which may not exist yet."""
    return run_folders(runs_dir, [spec])[0]


def fresh_run_folder(runs_dir: Path, spec: RunSpec) -> RunFolder:
    """Return a folder next to those that the spec and seed already have."""
    first, newest = _first_folder(runs_dir, spec), run_folder(runs_dir, spec)
    if not newest.path.exists():
        return newest
    last = newest.path.name.removeprefix(first.name).removeprefix("-r")
    return RunFolder(first.with_name(f"{first.name}-r{int(last or 1) + 1}"))


def _first_folder(runs_dir: Path, spec: RunSpec) -> Path:
    return runs_dir / spec.task.name / spec.model.label / f"{spec.spec_hash()}-s{spec.seed}"


def _first_folders(runs_dir: Path, specs: Sequence[RunSpec]) -> list[tuple[Path, str]]:
    """Return what `_first_folder` does of each, parent and name; specs that differ only in their seed share a hash."""
    folders: list[tuple[Path, str]] = []
    hashes: dict[tuple[Any, ...], tuple[Path, str]] = {}
    for spec in specs:
        parts = tuple(id(value) if isinstance(value, BaseModel) else value for name, value in spec if name != "seed")
        if parts not in hashes:
            path = _first_folder(runs_dir, spec)
            hashes[parts] = path.parent, path.name.removesuffix(str(spec.seed))
        parent, stem = hashes[parts]
        folders.append((parent, f"{stem}{spec.seed}"))
    return folders


def readable_records(folders: Iterable[RunFolder]) -> tuple[dict[Path, RunRecord], dict[str, str]]:
    """Return by folder the records that there are, and what is wrong with those that cannot be read."""
    records, problems_of = {}, {}
    shared = SharedParts()
    with collector_paused():
        for folder in folders:
            try:
                records[folder.path] = record = shared.of(folder.read_record())
                if (label := folder.label) is not None:
                    record.call(label)
                record.take_measured(folder.read_measured())
            except UserError as error:
                if folder.record_path.exists():
                    problems_of[str(folder.path)] = str(error).partition("\n")[0]
    return records, problems_of


def all_runs(runs_dir: Path) -> Iterator[RunFolder]:
    """Yield every folder with a record, in the order of their paths."""
    return (RunFolder(Path(path)) for path in run_paths(runs_dir))


def run_paths(runs_dir: Path) -> Iterator[str]:
    """Yield the paths of `all_runs`: of thousands, a `Path` for each takes as long as a quarter of what it holds."""
    for task in _folders_in(runs_dir):
        for model in _folders_in(task):
            yield from (path for path in _folders_in(model) if os.path.lexists(f"{path}/record.json"))


def _folders_in(folder: Path | str) -> list[str]:
    """Return the folders in a folder, sorted; none where it cannot be looked into."""
    try:
        with os.scandir(folder) as entries:
            return sorted(entry.path for entry in entries if entry.is_dir() and not entry.name.startswith("."))
    except OSError:
        return []
