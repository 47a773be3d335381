"""Run many runs, each in a process of its own, several at once; a crash costs one of them, which is run again."""

import contextlib
import os
import signal
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from typing import Any

from stablebench.errors import LimitReached, StablebenchError, described, ran_out_of_memory, reached_limit
from stablebench.execution.gpu_memory import Room
from stablebench.execution.workers import Processes, Worker
from stablebench.process.signals import Interrupt, Interrupted
from stablebench.runs.lock import RunLock
from stablebench.runs.progress import Progress, Reporter
from stablebench.runs.store import RunFolder, run_folder
from stablebench.schema.run_record import Result
from stablebench.specs.resolve import Resolved
from stablebench.training.run import Options
from stablebench.training.run_code import take_code
from stablebench.training.trackers import end_abandoned

_UPDATE_S = 0.5
"""Seconds between two reports of a cell to its parent."""
TRIES = 2
"""Times that a run is begun when its process is killed."""


@dataclass(frozen=True)
class CellEnd:
    """How a cell ended.

    Args:
        index: Which cell.
        status: `finished`, `diverged`, `interrupted` or `failed`.
        message: Why it failed, else what it scored.
    """

    index: int
    status: str
    message: str


def _nothing(*_: Any) -> None:
    pass


@dataclass(frozen=True)
class Listener:
    """Told of cells as they run, wherever they run.

    Args:
        on_start: Called with the index of a cell that begins.
        on_update: Called with an index and its progress, or a note of it.
        on_end: Called with how a cell ended.
    """

    on_start: Callable[[int], None] = _nothing
    on_update: Callable[[int, Progress | str], None] = _nothing
    on_end: Callable[[CellEnd], None] = _nothing


Runner = Callable[[list[Resolved], Options, int, Listener], int]
"""Runs cells, so many at once, and tells of them; returns 0, or 129, 130 or 143 after a signal. `run_cells` is one."""


class _ToParent:
    """A reporter that sends progress to the parent process; without a parent the run ends, after its checkpoint."""

    def __init__(self, connection: Connection) -> None:
        self._connection, self._sent = connection, 0.0

    def start(self, title: str) -> None:
        """Do nothing: the parent knows what it started."""

    def update(self, progress: Progress) -> None:
        """Send it if the last one is old enough."""
        if time.monotonic() - self._sent >= _UPDATE_S:
            self._sent = time.monotonic()
            self._send(progress)

    def note(self, text: str) -> None:
        """Send a line."""
        self._send(text)

    def _send(self, message: Progress | str) -> None:
        try:
            self._connection.send(message)
        except OSError:  # the parent was killed
            os.kill(os.getpid(), signal.SIGTERM)

    def stop(self) -> None:
        """Do nothing."""


def _run_cell(index: int, resolved: Resolved, options: Options, connection: Connection) -> None:
    """Run one cell in this process and send how it ended."""
    end = end_of(index, resolved, options, _ToParent(connection))
    with contextlib.suppress(OSError):  # the parent was killed: nobody wants to know
        connection.send(end)
    connection.close()


def end_of(index: int, resolved: Resolved, options: Options, reporter: Reporter) -> CellEnd:
    """Run a cell in this process, and return how it ended: whatever happens to it is said there."""
    from stablebench.training.run import train

    try:
        take_code(resolved, reporter.note)
        record = train(resolved, options, reporter).record
    except StablebenchError as error:
        return CellEnd(index, "failed", str(error))
    except KeyboardInterrupt:
        return CellEnd(index, "interrupted", "stopped at once")
    except Exception as error:
        if (limit := reached_limit(error)) is not None:
            return CellEnd(index, "failed", str(limit))
        memory = "out of memory before it began to train: " if ran_out_of_memory(error) else ""
        return CellEnd(index, "failed", f"{memory}{described(error)}")
    scored = ", ".join(f"{k} {v:.4g}" for k, v in (record.result.test or {}).items())
    return CellEnd(index, record.status, record.error or f"test {scored}")


def run_cells(cells: list[Resolved], options: Options, workers: int, told: Listener) -> int:
    """Run cells, `workers` at a time; the next ones go on when one fails.

    A cell whose process is killed is begun once more, from its checkpoint; killed again, its record says `failed`.
    Cells on a GPU begin as they fit in its memory (`gpu_share`). Those that another process runs come last, and are
    waited for.

    Args:
        cells: The runs.
        options: How they are run.
        workers: Processes at once, at most.
        told: Told of them.

    Returns:
        0, or 129, 130 or 143 after a signal; the cells that ran have then written their checkpoints.

    Raises:
        LimitReached: The system begins no process at all.
    """
    waiting = deque(range(len(cells)))
    tries = [0] * len(cells)
    crowded = False
    with Interrupt() as interrupt, Processes(interrupt, told.on_update) as running:
        room = Room.now(cells)
        while (waiting and interrupt.signum is None) or running:
            while waiting and len(running) < workers and interrupt.signum is None:
                index = next((i for i in waiting if not _is_held(cells[i], options)), waiting[0])
                if not room.fits(cells[index], [cells[i] for i in running.indices]):
                    if not crowded:
                        told.on_update(index, room.said(cells[index]))
                    crowded = True
                    break
                try:
                    running.start(index, _run_cell, index, cells[index], options)
                except Interrupted:
                    break
                except LimitReached as limit:
                    if not running:
                        raise
                    workers = len(running)
                    told.on_update(index, f"waits, with {workers} at once from here on: {limit}")
                    break
                waiting.remove(index)
                tries[index] += 1
                told.on_start(index)
            for worker, message in running.heard():
                index = worker.index
                if message is None:
                    end = _end(worker, cells[index], options, interrupt.signum is not None)
                    if worker.last is not end and end.status == "failed":
                        if tries[index] < TRIES and interrupt.signum is None:
                            told.on_update(index, f"{end.message}; it is begun once more from its checkpoint")
                            waiting.appendleft(index)
                            continue
                        folder = options.folder or run_folder(options.runs_dir, cells[index].spec)
                        mark_failed(folder, end.message, worker.peak_bytes or None, options.track)
                    told.on_end(end)
                elif not isinstance(message, CellEnd):
                    told.on_update(index, message)
            if interrupt.signum is not None:
                running.end_all()
    return 0 if interrupt.signum is None else interrupt.exit_code


def _is_held(resolved: Resolved, options: Options) -> bool:
    """Return whether another process of this machine runs a run, as far as can be seen without waiting."""
    folder = options.folder or run_folder(options.runs_dir, resolved.spec)
    holder = RunLock(folder.path).holder()
    return holder is not None and holder.is_here and not holder.has_died


def mark_failed(folder: RunFolder, why: str, peak_bytes: int | None = None, track: tuple[str, ...] = ()) -> None:
    """Have the record of a run whose process died say so, where it has one that says it runs, and its trackers.

    Args:
        folder: The run.
        why: How it died.
        peak_bytes: The most memory it was seen to have, where that is known.
        track: The trackers that it fed.
    """
    end_abandoned(folder, track)
    with contextlib.suppress(StablebenchError, OSError), folder.lock():
        record = folder.read_record()
        if record.status == "running":
            changed = {"status": "failed", "error": why, "result": Result(peak_bytes=peak_bytes)}
            folder.write_record(record.model_copy(update=changed))


def _end(worker: Worker, resolved: Resolved, options: Options, interrupted: bool) -> CellEnd:
    """Return how a cell ended: as it said, else as its record or its process does, which died without a word."""
    if isinstance(worker.last, CellEnd):
        return worker.last
    if not interrupted or not worker.ended_by_request():
        return CellEnd(worker.index, "failed", worker.death())
    if worker.last is None:
        return CellEnd(worker.index, "interrupted", "before it began to train")
    with contextlib.suppress(StablebenchError):
        record = (options.folder or run_folder(options.runs_dir, resolved.spec)).read_record()
        if record.status in ("finished", "diverged", "interrupted"):  # all but its last word
            return CellEnd(worker.index, record.status, record.error or "its record says so")
    return CellEnd(worker.index, "interrupted", worker.death())


def seeded(resolved: Resolved, seed: int) -> Resolved:
    """Return the same run with another seed."""
    return replace(resolved, spec=resolved.spec.model_copy(update={"seed": seed}))
