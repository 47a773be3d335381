"""Many runs measured: one after the other here, or at once, in processes that have torch loaded already."""

import multiprocessing
import os
import signal
import tempfile
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing, contextmanager
from multiprocessing import connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from types import FrameType

from stablebench.errors import StablebenchError
from stablebench.execution.probe_study.one_run import LoadCode, RunProbes, StudyOptions, measured, stored
from stablebench.process.cgroups import cores
from stablebench.runs.store import RunFolder
from stablebench.schema.run_record import RunRecord

_SAID = 10
"""How many times progress is said."""
_PATIENCE_S = 2.0
"""Seconds that processes have to leave what they are at."""
Run = tuple[Path, RunRecord]
Answer = RunProbes | str
"""What was measured of a run, or why it was not."""
Measuring = Generator[tuple[int, Answer], None, None]
"""Gives answers by the number of their run."""


def measure_all(
    runs: Sequence[Run],
    options: StudyOptions,
    workers: int | None,
    note: Callable[[str], None] | None,
    load_code: LoadCode,
) -> tuple[list[tuple[RunRecord, RunProbes]], dict[str, str]]:
    """Return what was measured of runs, in their order, and why some are left out, by folder.

    Args:
        runs: Folders and records of runs that ended.
        options: How they are measured.
        workers: Runs at once, >= 1, in processes of their own if more than one; None for one a core.
        note: Takes a line of progress now and then; None for silence.
        load_code: Loads the code of a run's own model or task, where it is measured.

    Raises:
        StablebenchError: A process was ended from outside.
    """
    answers: dict[int, Answer] = {}
    for i, (path, _) in enumerate(runs):
        if (known := stored(RunFolder(path), options)) is not None:
            answers[i] = known
    waiting = [i for i in range(len(runs)) if i not in answers]
    if waiting:
        if note is not None and answers:
            note(f"{len(answers)} of {len(runs)} runs were measured before")
        count = min(workers or cores(), len(waiting))
        _measure_rest({i: runs[i] for i in waiting}, answers, (options, load_code), count, note)
    kept = [(runs[i][1], answer) for i, answer in sorted(answers.items()) if isinstance(answer, RunProbes)]
    return kept, {str(runs[i][0]): answer for i, answer in sorted(answers.items()) if isinstance(answer, str)}


def _measure_rest(
    runs: dict[int, Run],
    answers: dict[int, Answer],
    how: tuple[StudyOptions, LoadCode],
    count: int,
    note: Callable[[str], None] | None,
) -> None:
    """Measure runs, by number, into `answers`."""
    total = len(answers) + len(runs)
    with closing(_here(runs, how) if count == 1 else _at_once(runs, how, count)) as measuring:
        for i, answer in measuring:
            answers[i] = answer
            if note is not None and (len(answers) == total or len(answers) % max(1, total // _SAID) == 0):
                note(f"{len(answers)} of {total} runs measured")


def _here(runs: dict[int, Run], how: tuple[StudyOptions, LoadCode]) -> Measuring:
    for i, (path, _) in runs.items():
        yield i, _one(path, *how, None)[0]


def _at_once(runs: dict[int, Run], how: tuple[StudyOptions, LoadCode], count: int) -> Measuring:
    """Yield what was measured as it comes; the costly runs are begun first, so that none is waited for at the end."""
    order, waiting = CostlyFirst(runs), len(runs)
    with _pool(count) as (pool, scratch):
        jobs: dict[Future[tuple[Answer | None, float]], int] = {}
        while jobs or waiting:
            while waiting and len(jobs) < count + 1:  # one is ready for the process that is free next
                i, waiting = order.next(), waiting - 1
                jobs[pool.submit(_one_apart, runs[i][0], *how, scratch)] = i
            for job in wait(jobs, return_when=FIRST_COMPLETED).done:
                i = jobs.pop(job)
                answer, seconds = job.result()
                if answer is None:
                    raise KeyboardInterrupt
                order.took(i, seconds)
                yield i, answer


class CostlyFirst:
    """The order of runs: one of each model and task, by what is known of their cost, then the rest, by what that took.

    Args:
        runs: By number.
    """

    def __init__(self, runs: dict[int, Run]) -> None:
        self._cell = {i: _cell(record) for i, (_, record) in runs.items()}
        self._seconds: dict[tuple[str, str], float] = {}
        guess = {i: record.parameters * record.wall_s / max(record.step, 1) for i, (_, record) in runs.items()}
        ranked = sorted(runs, key=lambda i: -guess[i])
        firsts = {self._cell[i]: i for i in reversed(ranked)}
        self._firsts = [i for i in ranked if firsts[self._cell[i]] == i]
        self._rest = [i for i in ranked if firsts[self._cell[i]] != i]

    def next(self) -> int:
        """Return the run to be begun now."""
        if self._firsts:
            return self._firsts.pop(0)
        costliest = max(self._rest, key=lambda i: self._seconds.get(self._cell[i], 0.0))
        self._rest.remove(costliest)
        return costliest

    def took(self, i: int, seconds: float) -> None:
        """Note what a run took."""
        self._seconds[self._cell[i]] = seconds


def _cell(record: RunRecord) -> tuple[str, str]:
    return record.called, f"{record.spec.task.name}/{record.spec.task.variant}"


@contextmanager
def _pool(count: int) -> Iterator[tuple[ProcessPoolExecutor, Path]]:
    """Context of processes and of a folder for them, both of which end with it, also where something is raised."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # read when torch starts, in the processes
    with tempfile.TemporaryDirectory(prefix="stablebench-study-", ignore_cleanup_errors=True) as scratch:
        spawn, before = multiprocessing.get_context("spawn"), set(multiprocessing.active_children())
        pool = ProcessPoolExecutor(count, mp_context=spawn, initializer=_Ended.receive)
        try:
            yield pool, Path(scratch)
        except BaseException as error:  # what was measured is stored
            pool.shutdown(wait=False, cancel_futures=True)
            _end(set(multiprocessing.active_children()) - before)
            if isinstance(error, BrokenProcessPool):
                raise StablebenchError(
                    "A process that measures runs was ended from outside, perhaps for want of memory. What was "
                    "measured is stored; the same command goes on from there, with less memory by --workers 1."
                ) from error
            raise
        finally:
            pool.shutdown(cancel_futures=True)


def _end(children: set[BaseProcess]) -> None:
    """Ask processes to leave what they are at, and kill those that do not."""
    for child in children:
        child.terminate()
    deadline, running = time.monotonic() + _PATIENCE_S, [child.sentinel for child in children]
    while running and time.monotonic() < deadline:
        gone = connection.wait(running, timeout=deadline - time.monotonic())
        running = [sentinel for sentinel in running if sentinel not in gone]
    for child in children:
        if child.sentinel in running:
            child.kill()


class _Ended:
    """In a process that measures: whether it was asked to end, and whether it is at something."""

    asked, busy = False, False

    @classmethod
    def receive(cls) -> None:
        """Leave Ctrl-C to the command, and end what is measured when that asks for it."""
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, cls._ask)

    @classmethod
    def _ask(cls, signum: int, frame: FrameType | None) -> None:
        cls.asked = True
        if cls.busy:
            raise KeyboardInterrupt


def _one_apart(path: Path, options: StudyOptions, load_code: LoadCode, scratch: Path) -> tuple[Answer | None, float]:
    """Return what `_one` does, in a process of its own; None where it was asked to end."""
    if _Ended.asked:
        return None, 0.0
    try:
        _Ended.busy = True
        return _one(path, options, load_code, scratch)
    except (KeyboardInterrupt, SystemExit):  # the latter of a signal while updates were made again
        _Ended.asked = True
        return None, 0.0
    finally:
        _Ended.busy = False


def _one(path: Path, options: StudyOptions, load_code: LoadCode, scratch: Path | None) -> tuple[Answer, float]:
    """Return what was measured of a run, or why it was not, and the seconds that it took."""
    began = time.perf_counter()
    try:
        answer: Answer = measured(RunFolder(path), options, load_code, scratch)[1]
    except StablebenchError as error:
        answer = str(error)
    return answer, time.perf_counter() - began
