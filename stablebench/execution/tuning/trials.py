"""Run the trials of a sweep: each reports its validation values, and ends where the study says so."""

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from stablebench.errors import StablebenchError, UserError
from stablebench.execution.events import RunCallbacks, RunEnd
from stablebench.execution.local import Job, LocalExecutor
from stablebench.execution.tuning.study import Study, Trial, TrialStatus
from stablebench.runs.progress import Progress
from stablebench.runs.store import RunFolder, run_folder
from stablebench.schema.run_record import RunRecord
from stablebench.specs.resolve import RunRequest
from stablebench.specs.search_space import resolved_with
from stablebench.training.run import ExecutionOptions


@dataclass(frozen=True)
class TrialCallbacks:
    """Functions that are called while trials run.

    Args:
        on_start: Called with a trial that begins.
        on_update: Called with a trial's number and its progress, or a note about it.
        on_end: Called with a trial that ended; one that a signal ended is still `running`.
    """

    on_start: Callable[[Trial], None]
    on_update: Callable[[int, Progress | str], None]
    on_end: Callable[[Trial], None]


def validation_value(record: RunRecord) -> float:
    """Return what a run scored on validation: its best value where the card tests those weights, else its last."""
    if record.result.tested == "best" and record.result.best is not None:
        return record.result.best
    return record.evaluations[-1].metrics[record.metric]


def run_trials(
    study: Study, request: RunRequest, options: ExecutionOptions, trials: int, workers: int, callbacks: TrialCallbacks
) -> int:
    """Run trials, `workers` at a time, until the study has `trials` of them; those left unfinished come first.

    A trial whose process is killed is restarted from its checkpoint. On a GPU they begin as they fit.

    Args:
        study: The study, opened.
        request: What all trials share.
        options: How they are run.
        trials: How many the study is to have, including those of earlier sessions.
        workers: Trials at once, at most.
        callbacks: Called as they begin, go on and end.

    Returns:
        0, or 129, 130 or 143 after a signal; those that ran have then written their checkpoints and go on in the next
        session.
    """
    return _Session(study, request, options, workers, callbacks).run(trials)


class _Session:
    """The trials that one process runs."""

    def __init__(
        self, study: Study, request: RunRequest, options: ExecutionOptions, workers: int, callbacks: TrialCallbacks
    ) -> None:
        self._study, self._request, self._options, self._callbacks = study, request, options, callbacks
        run_callbacks = RunCallbacks(on_update=callbacks.on_update, on_end=self._end)
        self._executor = LocalExecutor(options, workers, run_callbacks, self._evaluated)
        self._running: dict[int, tuple[Trial, RunFolder]] = {}
        self._reported: dict[int, int] = {}
        """The last update of each trial whose value the study has from this session."""
        self._pruned: set[int] = set()

    def run(self, trials: int) -> int:
        return self._executor.execute([], self._jobs(trials))

    def _jobs(self, trials: int) -> Iterator[Job]:
        """Yield the trials of this session one by one, each chosen by what has ended before; what cannot run fails."""
        most = trials if self._study.most is None else min(trials, self._study.most)
        unfinished = deque(self._study.unfinished())
        begun = len(self._study.trials())
        while unfinished or begun < most:
            trial = self._study.resume(unfinished.popleft().number) if unfinished else self._study.ask()
            begun = max(begun, trial.number + 1)
            self._callbacks.on_start(trial)
            try:
                resolved = resolved_with(self._request, self._study.plan.space, trial.values)
                folder = run_folder(self._options.runs_dir, resolved.spec)
                goes_on = self._report_stored(trial, folder)
            except StablebenchError as error:
                self._tell(trial, "failed", str(error))
                continue
            self._running[trial.number] = trial, folder
            if goes_on:
                yield Job(trial.number, resolved)
            else:
                self._tell(trial, "pruned", "by what the run store has of it", folder)

    def _report_stored(self, trial: Trial, folder: RunFolder) -> bool:
        """Report what an earlier session, or another sweep, has measured of a run; return whether the trial goes on."""
        evaluations = folder.read_record().evaluations if folder.record_path.exists() else []
        metric = self._study.plan.metric
        return all(self._evaluated(trial.number, each.step, each.metrics[metric]) for each in evaluations)

    def _evaluated(self, number: int, step: int, value: float) -> bool:
        """Return whether a trial goes on after a validation value; one that was reported before changes nothing."""
        if step > self._reported.get(number, 0):
            self._reported[number] = step
            if self._study.report(number, step, value):
                self._pruned.add(number)
        return number not in self._pruned

    def _end(self, end: RunEnd) -> None:
        """Note how a trial ended; one that was interrupted stays as it is, to go on in the next session."""
        trial, folder = self._running.pop(end.index)
        if end.status != "failed" and trial.number in self._pruned:
            self._tell(trial, "pruned", f"at update {self._reported[trial.number]}", folder)
        elif end.status == "interrupted" or (end.died and self._executor.interrupted):
            self._callbacks.on_end(replace(trial, facts={"message": end.message}))
        elif end.status in ("finished", "diverged"):
            self._tell_scored(trial, folder)
        else:
            self._tell(trial, "failed", end.message, folder)

    def _tell_scored(self, trial: Trial, folder: RunFolder) -> None:
        """Note what the run of a trial scored."""
        try:
            record = folder.read_record()
        except UserError as error:
            self._tell(trial, "failed", str(error), folder)
            return
        status: TrialStatus = "finished" if record.status == "finished" else "diverged"
        value = validation_value(record) if status == "finished" else None
        message = record.error or f"{record.metric} {validation_value(record):.4g}"
        self._tell(trial, status, message, folder, value)

    def _tell(
        self,
        trial: Trial,
        status: TrialStatus,
        message: str,
        folder: RunFolder | None = None,
        value: float | None = None,
    ) -> None:
        facts = {"message": message}
        if folder is not None:
            facts["run"] = folder.path.relative_to(self._options.runs_dir).as_posix()
        self._callbacks.on_end(self._study.tell(trial.number, status, value, **facts))
