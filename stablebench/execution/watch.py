"""What the run store shows of a run that executes on another machine: where it runs, and how far it is."""

import json
import os
from collections.abc import Iterator
from pathlib import Path

from stablebench.errors import StablebenchError
from stablebench.execution.events import RunEnd
from stablebench.execution.local import mark_failed
from stablebench.runs.lock import RunLock
from stablebench.runs.progress import Progress
from stablebench.runs.store import RunFolder
from stablebench.schema.run_record import RunRecord

_TAIL_BYTES = 4096
"""How much of a curve is read for its last line."""


class RunWatch:
    """Looks at the folder of a run on a file system that this machine shares with the one that executes it.

    Args:
        folder: The run.
    """

    def __init__(self, folder: RunFolder) -> None:
        self.folder = folder
        self._changed_at = _changed_at(folder)
        self._holder = self._first_holder = RunLock(folder.path).holder()

    def news(self) -> Iterator[Progress | str]:
        """Yield what has changed since the last look: a line where another process has the run, and its progress."""
        holder = RunLock(self.folder.path).holder()
        if holder is not None and holder != self._holder:
            began = self._holder == self._first_holder
            self._holder = holder
            yield f"runs on {holder.host}" if began else f"its process was lost; restarted on {holder.host}"
        changed_at = _changed_at(self.folder)
        if changed_at is not None and changed_at != self._changed_at:
            try:
                yield _progress(self.folder.read_record(), self.folder)
                self._changed_at = changed_at
            except (OSError, StablebenchError):  # it is being written
                return

    def end_without_report(self, index: int, why: str, track: tuple[str, ...]) -> RunEnd:
        """Return how a run ended whose process did not report it: as its record says, else it failed.

        Args:
            index: Which run.
            why: How its process ended.
            track: The trackers that it fed.
        """
        try:
            record = self.folder.read_record()
            if record.status == "interrupted":
                return RunEnd(index, "interrupted", record.error or "")
        except StablebenchError:
            pass
        mark_failed(self.folder, why, track=track)
        return RunEnd(index, "failed", why)


def _changed_at(folder: RunFolder) -> int | None:
    try:
        return folder.record_path.stat().st_mtime_ns
    except OSError:
        return None


def _progress(record: RunRecord, folder: RunFolder) -> Progress:
    last = record.evaluations[-1] if record.evaluations else None
    step = last.step if last is not None else record.step
    speed = step / last.train_s if last is not None and last.train_s > 0 else 0.0
    value = last.metrics.get(record.metric) if last is not None else None
    loss = _last_loss(folder.curve_path)
    return Progress(step, record.spec.train.steps, loss, record.metric, value, record.baseline, speed)


def _last_loss(curve: Path) -> float:
    """Return the last loss of a curve; NaN where it has none."""
    with curve.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(size - _TAIL_BYTES, 0))
        lines = file.read().split(b"\n")
    for line in reversed(lines[0 if size <= _TAIL_BYTES else 1 : -1]):
        values = json.loads(line)
        if values.get("split") == "train":
            return values["loss"]
    return float("nan")
