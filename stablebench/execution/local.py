"""Run many runs, each in a process of its own, several at once; a crash costs one of them, which is run again."""

import contextlib
import time
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from multiprocessing.connection import Connection

from stablebench.errors import LimitReached, StablebenchError, described, ran_out_of_memory, reached_limit
from stablebench.execution.events import RunCallbacks, RunEnd
from stablebench.execution.gpu_memory import GpuMemoryBudget
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
"""Seconds between two reports of a run to its parent."""
TRIES = 2
"""Times that a run is begun when its process is killed."""
RunExecutor = Callable[[list[Resolved], Options, int, RunCallbacks], int]
"""Executes runs, so many at once, and reports them; returns 0, or 129, 130 or 143 after a signal."""


class _ToParent:
    """A reporter that sends progress to the parent process; without a parent the run ends, after its checkpoint."""

    def __init__(self, connection: Connection) -> None:
        self._connection, self._sent = connection, 0.0
        self._has_parent = True

    def start(self, title: str) -> None:
        """Do nothing: the parent knows what it started."""

    def update(self, progress: Progress) -> bool:
        """Send it if the last one is old enough."""
        if time.monotonic() - self._sent >= _UPDATE_S:
            self._sent = time.monotonic()
            self._send(progress)
        return self._has_parent

    def note(self, text: str) -> None:
        """Send a line."""
        self._send(text)

    def _send(self, message: Progress | str) -> None:
        try:
            self._connection.send(message)
        except OSError:  # the parent was killed
            self._has_parent = False

    def stop(self) -> None:
        """Do nothing."""


def _run_and_send(index: int, resolved: Resolved, options: Options, connection: Connection) -> None:
    """Train a run in this process and send how it ended."""
    end = run_one(index, resolved, options, _ToParent(connection))
    with contextlib.suppress(OSError):  # the parent was killed: nobody wants to know
        connection.send(end)
    connection.close()


def run_one(index: int, resolved: Resolved, options: Options, reporter: Reporter) -> RunEnd:
    """Train a run in this process and return how it ended, whatever happens to it."""
    from stablebench.training.run import train

    try:
        take_code(resolved, reporter.note)
        record = train(resolved, options, reporter).record
    except StablebenchError as error:
        return RunEnd(index, "failed", str(error))
    except KeyboardInterrupt:
        return RunEnd(index, "interrupted", "stopped at once")
    except Exception as error:
        if (limit := reached_limit(error)) is not None:
            return RunEnd(index, "failed", str(limit))
        memory = "out of memory before it began to train: " if ran_out_of_memory(error) else ""
        return RunEnd(index, "failed", f"{memory}{described(error)}")
    scored = ", ".join(f"{k} {v:.4g}" for k, v in (record.result.test or {}).items())
    return RunEnd(index, record.status, record.error or f"test {scored}")


def run_locally(runs: list[Resolved], options: Options, workers: int, callbacks: RunCallbacks) -> int:
    """Train runs on this machine, `workers` at a time; the next ones go on when one fails.

    A run whose process is killed is restarted from its checkpoint; killed again, its record says `failed`.
    Runs on a GPU begin as they fit in its memory (`gpu_memory`). Those that another process runs come last, and are
    waited for.

    Args:
        runs: The runs.
        options: How they are run.
        workers: Processes at once, at most.
        callbacks: Called as they begin, go on and end.

    Returns:
        0, or 129, 130 or 143 after a signal; those that ran have then written their checkpoints.

    Raises:
        LimitReached: The system begins no process at all.
    """
    waiting = deque(range(len(runs)))
    tries = [0] * len(runs)
    crowded = False
    with Interrupt() as interrupt, Processes(interrupt, callbacks.on_update) as running:
        gpu_memory = GpuMemoryBudget.now(runs)
        while (waiting and interrupt.signum is None) or running:
            while waiting and len(running) < workers and interrupt.signum is None:
                index = next((i for i in waiting if not _is_held(runs[i], options)), waiting[0])
                if not gpu_memory.fits(runs[index], [runs[i] for i in running.indices]):
                    if not crowded:
                        callbacks.on_update(index, gpu_memory.wait_message(runs[index]))
                    crowded = True
                    break
                try:
                    running.start(index, _run_and_send, index, runs[index], options)
                except Interrupted:
                    break
                except LimitReached as limit:
                    if not running:
                        raise
                    workers = len(running)
                    callbacks.on_update(index, f"waits, with {workers} at once from here on: {limit}")
                    break
                waiting.remove(index)
                tries[index] += 1
                callbacks.on_start(index)
            for worker, message in running.messages():
                index = worker.index
                if message is None:
                    end = _end(worker, runs[index], options, interrupt.signum is not None)
                    if worker.last is not end and end.status == "failed":
                        if tries[index] < TRIES and interrupt.signum is None:
                            callbacks.on_update(index, f"{end.message}; restarting it from its checkpoint")
                            waiting.appendleft(index)
                            continue
                        folder = options.folder or run_folder(options.runs_dir, runs[index].spec)
                        mark_failed(folder, end.message, worker.peak_bytes or None, options.track)
                    callbacks.on_end(end)
                elif not isinstance(message, RunEnd):
                    callbacks.on_update(index, message)
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


def _end(worker: Worker, resolved: Resolved, options: Options, interrupted: bool) -> RunEnd:
    """Return how a run ended: as it reported, else as its record or its process shows."""
    if isinstance(worker.last, RunEnd):
        return worker.last
    if not interrupted or not worker.ended_by_request():
        return RunEnd(worker.index, "failed", worker.death())
    if worker.last is None:
        return RunEnd(worker.index, "interrupted", "before it began to train")
    with contextlib.suppress(StablebenchError):
        record = (options.folder or run_folder(options.runs_dir, resolved.spec)).read_record()
        if record.status in ("finished", "diverged", "interrupted"):  # all but its last word
            return RunEnd(worker.index, record.status, record.error or "its record says so")
    return RunEnd(worker.index, "interrupted", worker.death())


def seeded(resolved: Resolved, seed: int) -> Resolved:
    """Return the same run with another seed."""
    return replace(resolved, spec=resolved.spec.model_copy(update={"seed": seed}))
