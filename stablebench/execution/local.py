"""Train many runs on this machine, each in a process of its own; a crash costs one of them, which is restarted."""

import contextlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from stablebench.errors import LimitReached, StablebenchError
from stablebench.execution.events import RunCallbacks, RunEnd
from stablebench.execution.gpu_memory import GpuMemoryBudget
from stablebench.execution.single_run import Evaluated, run_and_send
from stablebench.execution.workers import Processes, Worker
from stablebench.process.signals import Interrupt, Interrupted
from stablebench.runs.lock import RunLock
from stablebench.runs.store import RunFolder, run_folder
from stablebench.schema.run_record import Result
from stablebench.specs.request import Resolved
from stablebench.training.run import ExecutionOptions
from stablebench.training.trackers import end_abandoned

TRIES = 2
"""Times that a run is begun when its process is killed."""
RunExecutor = Callable[[list[Resolved], ExecutionOptions, int, RunCallbacks], int]
"""Executes runs, so many at once, and reports them; returns 0, or 129, 130 or 143 after a signal."""


@dataclass
class Job:
    """A run that is to be executed.

    Args:
        index: Its number, by which callbacks name it.
        resolved: The run.
        tries: How often it was begun.
    """

    index: int
    resolved: Resolved
    tries: int = 0


def run_locally(runs: list[Resolved], options: ExecutionOptions, workers: int, callbacks: RunCallbacks) -> int:
    """Train runs on this machine, `workers` at a time; the next ones go on when one fails.

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
    jobs = [Job(index, resolved) for index, resolved in enumerate(runs)]
    return LocalExecutor(options, workers, callbacks).execute(jobs)


class LocalExecutor:
    """Trains runs in processes of this machine.

    A run whose process is killed is restarted from its checkpoint; killed again, its record says `failed`. Runs on a
    GPU begin as they fit in its memory (`gpu_memory`). Those that another process runs come last, and are waited for.

    Args:
        options: How they are run.
        workers: Processes at once, at most.
        callbacks: Called as they begin, go on and end.
        on_evaluation: Called with an index, an update and the validation value after it; returns whether the run goes
            on. None: all do.
    """

    def __init__(
        self,
        options: ExecutionOptions,
        workers: int,
        callbacks: RunCallbacks,
        on_evaluation: Callable[[int, int, float], bool] | None = None,
    ) -> None:
        self._options, self._workers = options, workers
        self._callbacks, self._on_evaluation = callbacks, on_evaluation
        self._waiting: deque[Job] = deque()
        self._begun: dict[int, Job] = {}
        self._gpu_memory: GpuMemoryBudget | None = None
        self._waits_for_memory = False
        self._interrupt = Interrupt()

    @property
    def interrupted(self) -> bool:
        """Whether a signal has come."""
        return self._interrupt.signum is not None

    def execute(self, jobs: list[Job], more: Iterable[Job] = ()) -> int:
        """Train runs until there are no more, or a signal comes.

        Args:
            jobs: The runs.
            more: Further ones, each asked for when there is a process for it.

        Returns:
            0, or 129, 130 or 143 after a signal; those that ran have then written their checkpoints.

        Raises:
            LimitReached: The system begins no process at all.
        """
        self._waiting.extend(jobs)
        upcoming = iter(more)
        with self._interrupt, Processes(self._interrupt, self._callbacks.on_update) as processes:
            while True:
                self._start_waiting(processes, upcoming)
                if not processes:
                    break
                for worker, message in processes.messages():
                    self._receive(worker, message)
                if self.interrupted:
                    processes.end_all()
        return self._interrupt.exit_code  # only now: a signal may come while the processes are given up

    def _start_waiting(self, processes: Processes, upcoming: Iterator[Job]) -> None:
        """Begin runs until all workers have one, or no other can begin now."""
        while len(processes) < self._workers and not self.interrupted:
            if not self._waiting and (job := next(upcoming, None)) is not None:
                self._waiting.append(job)
            if not self._waiting:
                return
            job = next((job for job in self._waiting if not self._is_held(job)), self._waiting[0])
            if not self._fits(job, [self._begun[index].resolved for index in processes.indices]):
                return
            try:
                arguments = (job.index, job.resolved, self._options, self._on_evaluation is not None)
                processes.start(job.index, run_and_send, *arguments)
            except Interrupted:
                return
            except LimitReached as limit:
                if not processes:
                    raise
                self._workers = len(processes)
                self._callbacks.on_update(job.index, f"waits, with {self._workers} at once from here on: {limit}")
                return
            self._waiting.remove(job)
            job.tries += 1
            self._begun[job.index] = job
            self._callbacks.on_start(job.index)

    def _fits(self, job: Job, running: list[Resolved]) -> bool:
        """Return whether a run fits in the GPU's memory together with those that run; say once that one does not."""
        if self._gpu_memory is None:
            self._gpu_memory = GpuMemoryBudget.now([waiting.resolved for waiting in self._waiting])
        fits = self._gpu_memory.fits(job.resolved, running)
        if not fits and not self._waits_for_memory:
            self._callbacks.on_update(job.index, self._gpu_memory.wait_message(job.resolved))
            self._waits_for_memory = True
        return fits

    def _receive(self, worker: Worker, message: object) -> None:
        """Pass on what a process reports; restart its run where the process died, and report how a run ended."""
        if isinstance(message, Evaluated) and self._on_evaluation is not None:
            goes_on = self._on_evaluation(worker.index, message.step, message.value)
            with contextlib.suppress(OSError):  # it was killed in the meantime
                worker.connection.send(goes_on)
        elif message is None:
            self._end(worker)
        elif not isinstance(message, RunEnd):
            self._callbacks.on_update(worker.index, message)  # pyright: ignore[reportArgumentType]

    def _end(self, worker: Worker) -> None:
        job = self._begun[worker.index]
        end = exit_status(worker, job.resolved, self._options, self.interrupted)
        if end.died and end.status == "failed":
            if job.tries < TRIES and not self.interrupted:
                self._callbacks.on_update(job.index, f"{end.message}; restarting it from its checkpoint")
                self._waiting.appendleft(job)
                return
            folder = self._options.folder or run_folder(self._options.runs_dir, job.resolved.spec)
            mark_failed(folder, end.message, worker.peak_bytes or None, self._options.track)
        self._callbacks.on_end(end)

    def _is_held(self, job: Job) -> bool:
        """Return whether another process of this machine runs a run, as far as can be seen without waiting."""
        folder = self._options.folder or run_folder(self._options.runs_dir, job.resolved.spec)
        holder = RunLock(folder.path).holder()
        return holder is not None and holder.is_here and not holder.has_died


def mark_failed(folder: RunFolder, why: str, peak_bytes: int | None = None, track: tuple[str, ...] = ()) -> None:
    """Write `failed` into the record of a run whose process died while it ran, and end the run in its trackers.

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


def exit_status(worker: Worker, resolved: Resolved, options: ExecutionOptions, interrupted: bool) -> RunEnd:
    """Return how a run ended: as it reported, else as its record or its process shows."""
    if isinstance(worker.last, RunEnd):
        return worker.last
    if not interrupted or not worker.ended_by_request():
        return RunEnd(worker.index, "failed", worker.death(), died=True)
    if worker.last is None:
        return RunEnd(worker.index, "interrupted", "before it began to train", died=True)
    with contextlib.suppress(StablebenchError):
        record = (options.folder or run_folder(options.runs_dir, resolved.spec)).read_record()
        if record.status in ("finished", "diverged", "interrupted"):  # all but its report
            return RunEnd(worker.index, record.status, record.error or "its record says so")
    return RunEnd(worker.index, "interrupted", worker.death(), died=True)
