"""Run the trials of a sweep, each in a process of its own; each tells its validation values and hears when to end."""

import multiprocessing
import os
import signal
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any, Literal

from stablebench import registry
from stablebench.errors import StablebenchError, UserError
from stablebench.schema.run_record import RunRecord
from stablebench.schema.sweep import SweepSpace
from stablebench.sweep.space import with_values
from stablebench.sweep.study import Study, Trial
from stablebench.training.interrupt import Interrupt
from stablebench.training.progress import Progress
from stablebench.training.resolve import Request, Resolved, resolve
from stablebench.training.run_store import run_folder
from stablebench.training.session import Options

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
class _Running:
    trial: Trial
    process: BaseProcess
    connection: Connection
    end: _End | None = None


class _ToParent:
    """A reporter that sends validation values to the parent, waits for its answer, and ends the run where told to."""

    def __init__(self, connection: Connection, resolved: Resolved) -> None:
        self._connection, self._every = connection, resolved.spec.train.eval_every
        self._sent, self._last_step = 0.0, 0
        self.pruned = False

    def start(self, title: str) -> None:
        """Do nothing: the parent knows what it started."""

    def update(self, progress: Progress) -> None:
        """Send a new validation value, else the progress if the last one is old enough."""
        evaluated = progress.step % self._every == 0 or progress.step == progress.steps
        try:
            if evaluated and progress.value is not None and self.goes_on(progress.step, progress.value) is False:
                signal.raise_signal(signal.SIGUSR1)  # the run ends at this update, after its checkpoint
            if time.monotonic() - self._sent >= _UPDATE_S:
                self._sent = time.monotonic()
                self._connection.send(progress)
        except (EOFError, OSError):  # the parent is gone
            signal.raise_signal(signal.SIGUSR1)

    def goes_on(self, step: int, value: float) -> bool:
        """Return whether the trial goes on behind a validation value; a value told before changes nothing."""
        if step > self._last_step:
            self._last_step = step
            self._connection.send(_Value(step, value))
            self.pruned = self._connection.recv()
        return not self.pruned

    def note(self, text: str) -> None:
        """Send a line."""
        self._connection.send(text)

    def stop(self) -> None:
        """Do nothing."""


def _run_trial(resolved: Resolved, options: Options, connection: Connection) -> None:
    """Run one trial in this process and send how it ended."""
    from stablebench.training.session import train

    reporter = _ToParent(connection, resolved)
    folder = run_folder(options.runs_dir, resolved.spec)
    name = folder.path.relative_to(options.runs_dir).as_posix()
    try:
        registry.model_entry(resolved.spec.model.name)  # named where trials are resolved; its code is run here, too
        if folder.record_path.exists():  # what an earlier sitting, or another sweep, has seen of this run
            for evaluation in folder.read_record().evaluations:
                if not reporter.goes_on(evaluation.step, evaluation.metrics[resolved.card.metric]):
                    connection.send(_End("pruned", "by what the run store has of it", run=name))
                    return
        record = train(resolved, options, reporter).record
        if reporter.pruned:
            connection.send(_End("pruned", f"at update {record.step}", run=name))
        elif record.status in ("finished", "diverged", "interrupted"):
            message = record.error or f"{record.metric} {validation_value(record):.4g}"
            value = validation_value(record) if record.status == "finished" else None
            connection.send(_End(record.status, message, value, name))
        else:
            connection.send(_End("failed", record.error or record.status, run=name))
    except StablebenchError as error:
        connection.send(_End("failed", str(error), run=name))
    except KeyboardInterrupt:
        connection.send(_End("interrupted", "stopped at once", run=name))
    except Exception as error:
        connection.send(_End("failed", f"{type(error).__name__}: {error}", run=name))
    finally:
        connection.close()


def validation_value(record: RunRecord) -> float:
    """Return what a run scored on validation: its best value where the card tests those weights, else its last."""
    if record.result.tested == "best" and record.result.best is not None:
        return record.result.best
    return record.evaluations[-1].metrics[record.metric]


def run_trials(
    study: Study,
    request: Request,
    options: Options,
    *,
    trials: int,
    workers: int = 1,
    on_start: Callable[[Trial], None],
    on_update: Callable[[int, Progress | str], None],
    on_end: Callable[[Trial], None],
) -> int:
    """Run trials, `workers` at a time, until the study has `trials` of them; those left unfinished come first.

    Args:
        study: The study, opened.
        request: What all trials share.
        options: How they are run.
        trials: How many the study is to have, those of earlier sittings counted.
        workers: Trials at once.
        on_start: Called with a trial that begins.
        on_update: Called with a trial's number and its progress, or a note of it.
        on_end: Called with a trial that ended; one that a signal ended is still `running`.

    Returns:
        0, or 130 or 143 after a signal; what ran has then written its checkpoint and goes on in the next sitting.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["stablebench.training.trainer"])
    unfinished = deque(study.unfinished())
    most = trials if study.most is None else min(trials, study.most)
    begun = len(study.trials())
    running: dict[Any, _Running] = {}
    told = False
    with Interrupt() as interrupt:
        while ((unfinished or begun < most) and interrupt.signum is None) or running:
            while (unfinished or begun < most) and len(running) < workers and interrupt.signum is None:
                trial = study.take_up(unfinished.popleft().number) if unfinished else study.ask()
                begun = max(begun, trial.number + 1)
                on_start(trial)
                started = _start(context, trial, request, study.plan.space, options)
                if isinstance(started, _End):
                    on_end(_told(study, trial, started))
                else:
                    running[started.connection] = started
            for ready in wait(list(running), timeout=_UPDATE_S):
                one = running[ready]
                if _receive(one, study, on_update):
                    continue
                one.process.join()
                one.connection.close()
                del running[ready]
                on_end(_told(study, one.trial, one.end or _death(one, interrupt.signum is not None)))
            if interrupt.signum is not None and not told:
                told = True
                for one in running.values():
                    if one.process.pid is not None and one.process.is_alive():
                        os.kill(one.process.pid, signal.SIGTERM)
    return 0 if interrupt.signum is None else interrupt.exit_code


def _start(context: Any, trial: Trial, request: Request, space: SweepSpace, options: Options) -> "_Running | _End":
    try:
        resolved = resolve(with_values(request, space, dict(trial.values)))
    except UserError as error:
        return _End("failed", str(error))
    mine, theirs = context.Pipe()
    process = context.Process(target=_run_trial, args=(resolved, options, theirs))
    process.start()
    theirs.close()
    return _Running(trial, process, mine)


def _receive(one: _Running, study: Study, on_update: Callable[[int, Progress | str], None]) -> bool:
    """Take one message of a trial, answer a validation value; return whether more may come."""
    try:
        message = one.connection.recv()
        if isinstance(message, _Value):
            one.connection.send(study.report(one.trial.number, message.step, message.value))
        elif isinstance(message, _End):
            one.end = message
        else:
            on_update(one.trial.number, message)
    except (EOFError, OSError):
        return False
    return True


def _told(study: Study, trial: Trial, end: _End) -> Trial:
    """Note how a trial ended; one that was interrupted stays as it is, to go on later."""
    if end.status == "interrupted":
        return replace(trial, facts={"message": end.message})
    facts = {"message": end.message} | ({"run": end.run} if end.run is not None else {})
    return study.tell(trial.number, end.status, end.value, **facts)


def _death(one: _Running, interrupted: bool) -> _End:
    """Return the end of a trial whose process died without a word."""
    code = one.process.exitcode
    if interrupted and code == -signal.SIGTERM:
        return _End("interrupted", "before it began to train")
    what = f"was killed by {signal.Signals(-code).name}" if code is not None and code < 0 else f"ended with code {code}"
    return _End("failed", f"its process {what}")
