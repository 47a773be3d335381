"""Runs measured at once, each in a process that has torch loaded already."""

import multiprocessing
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path

from stablebench.errors import StablebenchError
from stablebench.execution.probe_study.one_run import LoadCode, RunProbes, StudyOptions, measured
from stablebench.process.cgroups import cores
from stablebench.runs.store import RunFolder
from stablebench.schema.run_record import RunRecord

_SAID = 10
"""How many times progress is said."""


def measure_all(
    runs: Sequence[tuple[Path, RunRecord]],
    options: StudyOptions,
    workers: int | None,
    note: Callable[[str], None] | None,
    load_code: LoadCode,
) -> tuple[list[tuple[RunRecord, RunProbes]], dict[str, str]]:
    """Return what was measured of runs, in their order, and why some are left out, by folder.

    Args:
        runs: Folders and records of runs that ended.
        options: How they are measured.
        workers: Processes, >= 1; None for one a core.
        note: Takes a line of progress now and then; None for silence.
        load_code: Loads the code of a run's own model or task; it is called in the processes.
    """
    count = min(workers or cores(), len(runs))
    results: dict[int, RunProbes] = {}
    left_out: dict[str, str] = {}
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # read when torch starts, in the processes
    with ProcessPoolExecutor(count, mp_context=multiprocessing.get_context("spawn")) as pool:
        jobs = {pool.submit(_one, path, options, load_code): i for i, (path, _) in enumerate(runs)}
        try:
            for done, job in enumerate(as_completed(jobs), 1):
                i = jobs[job]
                answer = job.result()
                if isinstance(answer, str):
                    left_out[str(runs[i][0])] = answer
                else:
                    results[i] = answer
                if note is not None and (done == len(runs) or done % max(1, len(runs) // _SAID) == 0):
                    note(f"{done} of {len(runs)} runs measured")
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return [(runs[i][1], results[i]) for i in sorted(results)], left_out


def _one(path: Path, options: StudyOptions, load_code: LoadCode) -> RunProbes | str:
    """Return what was measured of a run, or why it was not."""
    try:
        return measured(RunFolder(path), options, load_code)[1]
    except StablebenchError as error:
        return str(error)
