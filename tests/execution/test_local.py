"""Cells run in processes of their own; one that dies costs itself alone."""

import os
import signal
import subprocess
import sys
import time
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from stablebench.execution.events import RunCallbacks, RunEnd
from stablebench.execution.local import exit_status, run_locally
from stablebench.execution.workers import Worker
from stablebench.runs.progress import Progress, Silent
from stablebench.runs.store import run_folder
from stablebench.specs.resolve import Resolved, RunRequest, resolve
from stablebench.training.run import ExecutionOptions, train


def cells(*seeds: int, steps: int = 20) -> list[Resolved]:
    settings = {"task.S": 2, "train.eval_every": 10, "train.batch_size": 4, "model.hidden": 4, "train.steps": steps}
    run = resolve(RunRequest("rnn", "copy", T=5, settings=settings))
    return [run.seeded(seed) for seed in seeds]


def run(asked: list[Resolved], runs_dir: Path, workers: int = 2) -> tuple[int, dict[int, RunEnd]]:
    ends: dict[int, RunEnd] = {}

    def ended(end: RunEnd) -> None:
        ends[end.index] = end

    return run_locally(asked, ExecutionOptions(runs_dir), workers, RunCallbacks(on_end=ended)), ends


def test_every_cell_ends_with_its_record(tmp_path: Path) -> None:
    code, ends = run(cells(0, 1, 2), tmp_path)
    assert code == 0 and {end.status for end in ends.values()} == {"finished"}
    for cell in cells(0, 1, 2):
        assert run_folder(tmp_path, cell.spec).read_record().spec.seed == cell.spec.seed


def test_a_failing_cell_leaves_the_others_alone(tmp_path: Path) -> None:
    broken = cells(0, 1)
    (run_folder(tmp_path, broken[0].spec).path / "metrics.jsonl").mkdir(parents=True)
    _, ends = run(broken, tmp_path)
    assert (ends[0].status, ends[1].status) == ("failed", "finished")
    assert "metrics.jsonl" in ends[0].message


def test_a_killed_cell_is_failed_and_goes_on_when_run_again(tmp_path: Path) -> None:
    asked = cells(0, steps=100_000)
    ends: list[RunEnd] = []

    def kill(index: int, message: Progress | str) -> None:
        for path in Path("/proc").glob("[0-9]*"):  # the cell is the only process that holds the folder's lock file
            try:
                held = [os.readlink(link) for link in (path / "fd").iterdir()]
            except OSError:
                continue
            if any(name.startswith(str(tmp_path)) and name.endswith(".lock") for name in held):
                os.kill(int(path.name), signal.SIGKILL)

    code = run_locally(asked, ExecutionOptions(tmp_path), 1, RunCallbacks(on_update=kill, on_end=ends.append))
    assert code == 0
    assert (ends[0].status, "SIGKILL" in ends[0].message) == ("failed", True)


def test_a_signal_ends_all_cells_after_their_checkpoints(tmp_path: Path) -> None:
    asked = cells(0, 1, 2, steps=100_000)
    training: set[int] = set()

    def interrupt(index: int, message: Progress | str) -> None:
        if len(training) < 2:
            training.add(index)
            if len(training) == 2:
                os.kill(os.getpid(), signal.SIGINT)

    ends: list[RunEnd] = []
    code = run_locally(asked, ExecutionOptions(tmp_path), 2, RunCallbacks(on_update=interrupt, on_end=ends.append))
    assert code == 130
    assert {end.status for end in ends} == {"interrupted"} and len(ends) == 2
    for end in ends:
        folder = run_folder(tmp_path, asked[end.index].spec)
        assert folder.checkpoints() and folder.read_record().status == "interrupted"


def test_ctrl_c_before_the_first_cell_has_begun_is_no_traceback(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "stablebench", "compare", "--models", "rnn", "--tasks", "copy", "--T", "5"]
    process = subprocess.Popen(
        [*command, "--runs-dir", str(tmp_path)], stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    assert process.stderr is not None
    said = process.stderr.readline()
    time.sleep(0.3)  # the fork server loads torch, which takes seconds
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does
    said += process.communicate(timeout=120)[1]
    assert process.returncode == 130 and "Traceback" not in said, said
    assert "interrupted: 1 of 1 runs have not ended; the same command continues." in said, said


@pytest.mark.parametrize("status", ["interrupted", "finished"])
def test_silent_run_ended_as_its_record_says(status: str, tmp_path: Path) -> None:
    """A cell that was ended before its last word ended as its record says."""
    (cell,) = cells(0)
    record = train(cell, ExecutionOptions(tmp_path), Silent()).record
    run_folder(tmp_path, cell.spec).write_record(record.model_copy(update={"status": status, "error": "as it says"}))
    process = cast(BaseProcess, SimpleNamespace(exitcode=-signal.SIGTERM))
    heard = Worker(0, process, cast(Connection, None), last="a word")
    assert exit_status(heard, cell, ExecutionOptions(tmp_path), interrupted=True) == RunEnd(0, status, "as it says")
    silent = Worker(0, process, cast(Connection, None))
    assert exit_status(silent, cell, ExecutionOptions(tmp_path), interrupted=True).message == "before it began to train"
    assert exit_status(heard, cell, ExecutionOptions(tmp_path), interrupted=False).status == "failed"
