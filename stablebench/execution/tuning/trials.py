"""Run the trials of a sweep, each in a process of its own; each tells its validation values and hears when to end."""

import contextlib
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from typing import Literal

from stablebench.errors import LimitReached, StablebenchError, UserError, described, reached_limit
from stablebench.execution.gpu_memory import GpuMemoryBudget
from stablebench.execution.local import TRIES
from stablebench.execution.tuning.study import Study, Trial
from stablebench.execution.workers import Processes, Worker
from stablebench.process.signals import Interrupt, Interrupted
from stablebench.runs.progress import Progress
from stablebench.runs.store import RunFolder, run_folder
from stablebench.schema.run_record import RunRecord
from stablebench.specs.resolve import Resolved, RunRequest, resolve
from stablebench.specs.search_space import with_values
from stablebench.training.run import Options
from stablebench.training.run_code import take_code

_UPDATE_S = 0.5
"""Seconds between two reports of a trial to its parent."""


@dataclass(frozen=True)
class _Value:
    """A validation value after an update; the trial waits for the answer whether it is to end."""

    step: int
    value: float


@dataclass(frozen=True)
class _End:
    status: Literal["finished", "pruned", "diverged", "interrupted", "failed"]
    message: str
    value: float | None = None
    run: str | None = None


@dataclass
class _Chosen:
    """A trial with what it runs."""

    trial: Trial
    resolved: Resolved
    tries: int = 0


class _ToParent:
    """A reporter that sends validation values to the parent, waits for its answer, and ends the run where told to."""

    def __init__(self, connection: Connection, resolved: Resolved) -> None:
        self._connection, self._every = connection, resolved.spec.train.eval_every
        self._sent, self._last_step = 0.0, 0
        self.pruned = False

    def start(self, title: str) -> None:
        """Do nothing: the parent knows what it started."""

    def update(self, progress: Progress) -> bool:
        """Send a new validation value, and the progress if the last one is old enough."""
        evaluated = progress.step % self._every == 0 or progress.step == progress.steps
        try:
            if evaluated and progress.value is not None and not self.goes_on(progress.step, progress.value):
                return False
            if time.monotonic() - self._sent >= _UPDATE_S:
                self._sent = time.monotonic()
                self._connection.send(progress)
        except (EOFError, OSError):  # the parent is gone
            return False
        return True

    def goes_on(self, step: int, value: float) -> bool:
        """Return whether the trial goes on behind a validation value; a value told before changes nothing."""
        if step > self._last_step:
            self._last_step = step
            self._connection.send(_Value(step, value))
            self.pruned = self._connection.recv()
        return not self.pruned

    def note(self, text: str) -> None:
        """Send a line."""
        with contextlib.suppress(OSError):  # the parent is gone, which the next update notices
            self._connection.send(text)

    def stop(self) -> None:
        """Do nothing."""


def _run_trial(resolved: Resolved, options: Options, connection: Connection) -> None:
    """Run one trial in this process and send how it ended."""
    folder = run_folder(options.runs_dir, resolved.spec)
    end = _end_of(resolved, options, folder, _ToParent(connection, resolved))
    with contextlib.suppress(OSError):  # the parent was killed: nobody wants to know
        connection.send(replace(end, run=folder.path.relative_to(options.runs_dir).as_posix()))
    connection.close()


def _end_of(resolved: Resolved, options: Options, folder: RunFolder, reporter: _ToParent) -> _End:
    """Run one trial in this process and return how it ended: whatever happens to it is said there."""
    from stablebench.training.run import train

    try:
        take_code(resolved, reporter.note)
        if folder.record_path.exists():  # what an earlier sitting, or another sweep, has seen of this run
            for evaluation in folder.read_record().evaluations:
                if not reporter.goes_on(evaluation.step, evaluation.metrics[resolved.card.metric]):
                    return _End("pruned", "by what the run store has of it")
        record = train(resolved, options, reporter).record
    except StablebenchError as error:
        return _End("failed", str(error))
    except KeyboardInterrupt:
        return _End("interrupted", "stopped at once")
    except Exception as error:
        return _End("failed", str(reached_limit(error) or described(error)))
    if reporter.pruned:
        return _End("pruned", f"at update {record.step}")
    if record.status in ("finished", "diverged", "interrupted"):
        message = record.error or f"{record.metric} {validation_value(record):.4g}"
        return _End(record.status, message, validation_value(record) if record.status == "finished" else None)
    return _End("failed", record.error or record.status)


def validation_value(record: RunRecord) -> float:
    """Return what a run scored on validation: its best value where the card tests those weights, else its last."""
    if record.result.tested == "best" and record.result.best is not None:
        return record.result.best
    return record.evaluations[-1].metrics[record.metric]


def run_trials(
    study: Study,
    request: RunRequest,
    options: Options,
    *,
    trials: int,
    workers: int = 1,
    on_start: Callable[[Trial], None],
    on_update: Callable[[int, Progress | str], None],
    on_end: Callable[[Trial], None],
) -> int:
    """Run trials, `workers` at a time, until the study has `trials` of them; those left unfinished come first.

    A trial whose process is killed is begun once more, from its checkpoint. On a GPU they begin as they fit.

    Args:
        study: The study, opened.
        request: What all trials share.
        options: How they are run.
        trials: How many the study is to have, those of earlier sittings counted.
        workers: Trials at once, at most.
        on_start: Called with a trial that begins.
        on_update: Called with a trial's number and its progress, or a note of it.
        on_end: Called with a trial that ended; one that a signal ended is still `running`.

    Returns:
        0, or 129, 130 or 143 after a signal; what ran has then written its checkpoint and goes on in the next sitting.
    """
    most = trials if study.most is None else min(trials, study.most)
    choices = _choices(study, request, most, on_start, on_end)
    waiting: deque[_Chosen] = deque()
    begun: dict[int, _Chosen] = {}
    gpu_memory = None
    with Interrupt() as interrupt, Processes(interrupt, on_update) as running:
        while True:
            while len(running) < workers and interrupt.signum is None:
                if not waiting and (chosen := next(choices, None)) is not None:
                    waiting.append(chosen)
                if not waiting:
                    break
                one = waiting[0]
                gpu_memory = gpu_memory or GpuMemoryBudget.now([one.resolved])
                if not gpu_memory.fits(one.resolved, [begun[number].resolved for number in running.indices]):
                    break
                try:
                    running.start(one.trial.number, _run_trial, one.resolved, options)
                except Interrupted:
                    break
                except LimitReached as limit:
                    if not running:
                        raise
                    workers = len(running)
                    on_update(one.trial.number, f"waits, with {workers} at once from here on: {limit}")
                    break
                waiting.popleft()
                one.tries += 1
                begun[one.trial.number] = one
            if not running:
                return interrupt.exit_code
            for worker, message in running.messages():
                one = begun[worker.index]
                if message is None:
                    end = _end(worker, interrupt.signum is not None)
                    if worker.last is not end and end.status == "failed" and one.tries < TRIES:
                        on_update(worker.index, f"{end.message}; it is begun once more from its checkpoint")
                        waiting.appendleft(one)
                    else:
                        on_end(_told(study, one.trial, end))
                elif isinstance(message, _Value):
                    _answer(worker, study.report(worker.index, message.step, message.value))
                elif not isinstance(message, _End):
                    on_update(worker.index, message)
            if interrupt.signum is not None:
                running.end_all()


def _choices(
    study: Study, request: RunRequest, most: int, on_start: Callable[[Trial], None], on_end: Callable[[Trial], None]
) -> Iterator[_Chosen]:
    """Yield the trials of this sitting one by one, each chosen by what has ended before; what cannot be run fails."""
    unfinished = deque(study.unfinished())
    begun = len(study.trials())
    while unfinished or begun < most:
        trial = study.take_up(unfinished.popleft().number) if unfinished else study.ask()
        begun = max(begun, trial.number + 1)
        on_start(trial)
        try:
            resolved = resolve(with_values(request, study.plan.space, dict(trial.values)))
        except UserError as error:
            on_end(_told(study, trial, _End("failed", str(error))))
        else:
            yield _Chosen(trial, resolved)


def _answer(worker: Worker, ends: bool) -> None:
    """Tell a trial whether it is to end here."""
    with contextlib.suppress(OSError):  # it was killed in the meantime
        worker.connection.send(ends)


def _told(study: Study, trial: Trial, end: _End) -> Trial:
    """Note how a trial ended; one that was interrupted stays as it is, to go on later."""
    if end.status == "interrupted":
        return replace(trial, facts={"message": end.message})
    facts = {"message": end.message} | ({"run": end.run} if end.run is not None else {})
    return study.tell(trial.number, end.status, end.value, **facts)


def _end(worker: Worker, interrupted: bool) -> _End:
    """Return how a trial ended: as it said, else as its process did, which died without a word."""
    if isinstance(worker.last, _End):
        return worker.last
    if interrupted and worker.ended_by_request():
        return _End("interrupted", "before it began to train" if worker.last is None else worker.death())
    return _End("failed", worker.death())
