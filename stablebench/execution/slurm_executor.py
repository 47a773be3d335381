"""Train runs as an array job of a Slurm cluster, through submitit; the run store lies on a file system they share.

A job that Slurm takes back for another one, or whose time is over, writes its checkpoint and is queued again.
"""
# pyright: reportMissingImports=false
# submitit is an extra

import os
import re
import signal
import sys
import time
from dataclasses import dataclass, replace
from typing import Any, Literal

from stablebench.errors import StablebenchError, UserError
from stablebench.execution.events import RunCallbacks, RunEnd
from stablebench.execution.single_run import run_one
from stablebench.execution.slurm_ends import why_it_failed
from stablebench.execution.watch import RunWatch
from stablebench.process.extras import require
from stablebench.process.signals import Interrupt
from stablebench.runs.progress import Lines
from stablebench.runs.store import run_folder
from stablebench.specs.request import Resolved
from stablebench.training.run import ExecutionOptions

_LOOK_S = 1.0
"""Seconds between two looks at the run store."""
_LOG_S = 60.0
"""Seconds between two lines in a job's log."""
_QUEUED_AGAIN = 1000
"""How often a job is queued again whose time is over; submitit's own limit would end a long run."""
_END_S = 60.0
"""Seconds that cancelled jobs get to write their checkpoints."""


@dataclass(frozen=True)
class Queue:
    """What Slurm is asked for.

    Args:
        partition: The partition; None for the cluster's default.
        minutes: Time limit of a run; it is queued again where it needs more.
        cluster: `slurm`; `local` runs the jobs as processes of this machine.
    """

    partition: str | None = None
    minutes: int = 24 * 60
    cluster: Literal["slurm", "local"] = "slurm"


class SlurmJob:
    """What a job runs: one run, which goes on from its checkpoint where the job was queued again.

    Args:
        index: Which run.
        resolved: The run.
        options: How it is run.
    """

    def __init__(self, index: int, resolved: Resolved, options: ExecutionOptions) -> None:
        self._index, self._resolved, self._options = index, resolved, options

    def __call__(self) -> RunEnd:
        """Train the run and return how it ended."""
        end = run_one(self._index, self._resolved, self._options, Lines(sys.stderr, _LOG_S))
        if end.status == "interrupted" and signal.SIGUSR1.name in end.message:
            signal.raise_signal(signal.SIGUSR1)  # the checkpoint is written: submitit queues the job again
        return end

    def checkpoint(self) -> Any:
        """Return what submitit queues again."""
        import submitit

        return submitit.helpers.DelayedSubmission(self)


def minutes_of(text: str) -> int:
    """Return the minutes of a time as Slurm reads it: `90`, `30:00` (minutes), `2:00:00` (hours), `1-12` (days, hours).

    Raises:
        UserError: It is no such time.
    """
    match = re.fullmatch(r"(?:(\d+)-)?(\d+)(?::(\d+))?(?::(\d+))?", text.strip())
    if match is None:
        raise UserError(f"--time {text}: must be minutes, MM:SS, HH:MM:SS, D-HH, D-HH:MM or D-HH:MM:SS.")
    days, *parts = (int(part) if part is not None else None for part in match.groups())
    given = [part for part in parts if part is not None]
    if days is None:  # the last of three is seconds, of two as well, a single one is minutes
        hours, minutes, seconds = {1: (0, given[0], 0), 2: (0, *given[-2:]), 3: tuple(given)}[len(given)]
    else:
        hours, minutes, seconds = [*given, 0, 0][:3]
    total = ((days or 0) * 24 + hours) * 60 + minutes + (seconds > 0)
    if total < 1:
        raise UserError(f"--time {text}: must be at least a minute.")
    return total


@dataclass
class _Job:
    """A job and its run."""

    job: Any
    watch: RunWatch
    track: tuple[str, ...] = ()
    began: bool = False


def run_on_slurm(
    queue: Queue, runs: list[Resolved], options: ExecutionOptions, workers: int, callbacks: RunCallbacks
) -> int:
    """Train runs as one array job, at most `workers` at a time.

    Args:
        queue: What Slurm is asked for; each run gets as many cores as it has threads.
        runs: The runs.
        options: How they are run; `runs_dir` and `data_dir` must be the same folders on every machine.
        workers: Runs at once.
        callbacks: Called as they begin, go on and end.

    Returns:
        0, or 129, 130 or 143 after a signal; the jobs are then cancelled, and those that ran have written their
        checkpoints.

    Raises:
        UserError: submitit is not installed, or this machine cannot submit jobs.
    """
    jobs = _submitted(queue, runs, options, workers)
    ended_by = None
    with Interrupt() as interrupt:
        waiting = dict(enumerate(jobs))
        while waiting:
            time.sleep(_LOOK_S)
            for index in list(waiting):
                one = waiting[index]
                _look(one, index, callbacks)
                if one.job.done():
                    callbacks.on_end(_end(one, index))
                    del waiting[index]
            if interrupt.signum is not None and ended_by is None:
                ended_by = time.monotonic() + _END_S
                for one in waiting.values():
                    one.job.cancel(check=False)
            if ended_by is not None and time.monotonic() > ended_by:
                break
    return interrupt.exit_code


def _submitted(queue: Queue, runs: list[Resolved], options: ExecutionOptions, workers: int) -> list[_Job]:
    require("submitit", "--slurm")
    os.environ["SUBMITIT_PREEMPT_SIGNAL"] = "USR1"  # which a training run waits for
    import submitit
    from submitit.core.utils import FailedJobError

    logs = (options.runs_dir / "slurm").resolve()
    try:
        executor = submitit.AutoExecutor(folder=logs / "%j", cluster=queue.cluster, slurm_max_num_timeout=_QUEUED_AGAIN)
    except RuntimeError as error:
        raise UserError(f"--slurm: this machine cannot submit jobs ({error}).") from None
    slurm: dict[str, Any] = {"slurm_array_parallelism": min(workers, len(runs))}
    if any(run.spec.device == "cuda" for run in runs):  # clusters without GPUs may know no such option
        slurm["gpus_per_node"] = 1
    if queue.partition is not None:
        slurm["slurm_partition"] = queue.partition
    executor.update_parameters(
        name="stablebench",
        timeout_min=queue.minutes,
        cpus_per_task=max(run.spec.threads for run in runs),
        **slurm,
    )
    data_dir = None if options.data_dir is None else options.data_dir.resolve()
    there = replace(options, runs_dir=options.runs_dir.resolve(), data_dir=data_dir)
    try:
        jobs = executor.submit_array([SlurmJob(index, run, there) for index, run in enumerate(runs)])
    except FailedJobError as error:
        raise StablebenchError(f"--slurm: sbatch refused the job: {error}") from None
    watches = [RunWatch(run_folder(options.runs_dir, run.spec)) for run in runs]
    return [_Job(job, watch, options.track) for job, watch in zip(jobs, watches, strict=True)]


def _look(one: _Job, index: int, callbacks: RunCallbacks) -> None:
    """Report that a run began, and how far its record says it is."""
    if not one.began and one.job.paths.stderr.exists():
        one.began = True
        callbacks.on_start(index)
        callbacks.on_update(index, f"job {one.job.job_id}, log {one.job.paths.stderr}")
    if one.began:
        for message in one.watch.news():
            callbacks.on_update(index, message)


def _end(one: _Job, index: int) -> RunEnd:
    """Return how a job ended: as it reports, else as its record says, else how it died."""
    try:
        error = one.job.exception()
        if error is None:
            return one.job.result()
        why = why_it_failed(one.job, error)
    except Exception as unknown:  # submitit's own, where a job left nothing behind
        why = f"{type(unknown).__name__}: {unknown}"
    end = one.watch.end_without_report(index, why, one.track)
    return end if end.status == "interrupted" else replace(end, message=f"{why} (log {one.job.paths.stderr})")
