"""Scores finished runs at the lengths that they were not scored at yet, several at once."""

import contextlib
from collections import deque
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import NamedTuple

from stablebench.errors import StablebenchError, UserError, described, reached_limit
from stablebench.execution.workers import Processes
from stablebench.process.settings import prepare_process
from stablebench.process.signals import Interrupt, Interrupted
from stablebench.runs.store import RunFolder, run_folders
from stablebench.specs.own_task import take_card
from stablebench.specs.request import Resolved
from stablebench.training.lengths import score_lengths, unscored_lengths
from stablebench.training.run import ended_record
from stablebench.training.run_code import take_code
from stablebench.training.score import EvaluationOptions

Note = Callable[[str], None]
_SCORED = "scored"


class _Scoring(NamedTuple):
    """A run that is to be scored.

    Args:
        run: The run.
        lengths: All that are asked for.
        folder: Where it lies.
    """

    run: Resolved
    lengths: list[int]
    folder: Path


def score_missing(
    runs: Sequence[Resolved],
    lengths: Sequence[Sequence[int]],
    runs_dir: Path,
    data_dir: Path | None,
    note: Note,
    workers: int = 1,
) -> dict[str, str]:
    """Score every finished run at the lengths that it was not scored at yet; return why runs could not be, by label.

    Args:
        runs: The runs.
        lengths: Of each run.
        runs_dir: The run store.
        data_dir: Folder of the real data sets.
        note: Takes a line for each run that is scored.
        workers: Processes at once, at most; a single one, or a single run, is scored in this process.

    Raises:
        KeyboardInterrupt: A signal came; what was scored is kept.
    """
    failed: dict[str, str] = {}
    jobs: list[_Scoring] = []
    for run, wanted, folder in zip(runs, lengths, run_folders(runs_dir, [run.spec for run in runs]), strict=True):
        try:
            record = ended_record(folder) if wanted else None
            if record is not None and record.status == "finished" and unscored_lengths(folder, record, wanted):
                jobs.append(_Scoring(run, list(wanted), folder.path))
        except UserError as error:
            failed[run.label] = str(error)
    if min(len(jobs), workers) > 1:
        return failed | _in_processes(jobs, data_dir, note, workers)
    for job in jobs:
        try:
            note(_line(job))
            _score(job, data_dir, note)
        except UserError as error:
            failed[job.run.label] = str(error)
    return failed


def _score(job: _Scoring, data_dir: Path | None, note: Note) -> None:
    spec, folder = job.run.spec, RunFolder(job.folder)
    prepare_process(spec.threads, spec.precision, spec.deterministic)
    take_code(job.run, note)
    score_lengths(folder, folder.read_record(), job.lengths, EvaluationOptions(data_dir))


def _in_processes(jobs: list[_Scoring], data_dir: Path | None, note: Note, workers: int) -> dict[str, str]:
    """Score runs in processes of their own; return why some could not be, by label."""
    failed: dict[int, str] = {}
    waiting = deque(range(len(jobs)))
    interrupt = Interrupt()

    def say(index: int, line: str) -> None:
        note(f"{jobs[index].run.label}: {line}")

    with interrupt, Processes(interrupt, say) as processes:
        while (waiting and interrupt.signum is None) or processes:
            with contextlib.suppress(Interrupted):
                while waiting and len(processes) < workers and interrupt.signum is None:
                    note(_line(jobs[waiting[0]]))
                    processes.start(waiting[0], _score_and_send, jobs[waiting[0]], data_dir)
                    waiting.popleft()
            for worker, message in processes.messages():
                if message is None and worker.last != _SCORED:
                    failed[worker.index] = worker.last or worker.death()
            if interrupt.signum is not None:
                processes.end_all()
    if interrupt.signum is not None:
        raise KeyboardInterrupt
    return {jobs[index].run.label: failed[index] for index in sorted(failed)}


def _score_and_send(job: _Scoring, data_dir: Path | None, connection: Connection) -> None:
    """Score a run in this process, and send why it could not be, or that it was."""
    answer = _SCORED
    try:
        take_card(job.run.card, _silent)
        _score(job, data_dir, _silent)
    except StablebenchError as error:
        answer = str(error)
    except KeyboardInterrupt:
        answer = "stopped"
    except Exception as error:
        answer = str(reached_limit(error) or described(error))
    with contextlib.suppress(OSError):  # the parent was killed: nobody wants to know
        connection.send(answer)
    connection.close()


def _line(job: _Scoring) -> str:
    return f"{job.run.label}: scored at lengths {', '.join(map(str, job.lengths))}"


def _silent(text: str) -> None:
    """Say nothing: the parent says what is scored."""
