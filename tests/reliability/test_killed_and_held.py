"""Runs that the kernel kills for memory say so; runs that another process has are waited for."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from killable_runs import ENDLESS, SMALL, cells, process_of, run_all
from tiny_runs import folder_of

from stablebench.execution import memory_kills
from stablebench.execution.events import RunCallbacks, RunEnd
from stablebench.execution.local import run_locally
from stablebench.runs import lock as run_lock
from stablebench.runs.progress import Progress, Silent
from stablebench.training.run import ExecutionOptions, train


def test_process_killed_for_memory_is_out_of_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that the kernel killed for memory is out of memory with its peak."""
    asked, count = [*cells(1, **ENDLESS), *cells(2)[1:]], [5]
    monkeypatch.setattr(memory_kills, "memory_kills", lambda: memory_kills.MemoryKills(1, count[0]))

    def kill(index: int, message: Progress | str) -> None:
        if index == 0 and not isinstance(message, str):
            count[0] += 1
            os.kill(process_of(asked[0], tmp_path), signal.SIGKILL)

    code, ends = run_all(asked, tmp_path, workers=1, on_update=kill)
    assert code == 0 and ends[1].status == "finished"
    assert ends[0].status == "failed" and ends[0].message.startswith("out of memory: the kernel killed its process")
    record = folder_of(asked[0], tmp_path).read_record()
    assert record.status == "failed" and record.error == ends[0].message
    assert record.result.peak_bytes is not None and record.result.peak_bytes > 1e6


def test_a_process_that_another_one_killed_is_not_out_of_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor where the kernel has killed one of somebody else's before."""
    asked, count, began = cells(1, **ENDLESS), [5], time.monotonic()
    monkeypatch.setattr(memory_kills, "memory_kills", lambda: memory_kills.MemoryKills(1, count[0]))
    monkeypatch.setattr(memory_kills, "_SEEN_S", 0.1)

    def kill(index: int, message: Progress | str) -> None:
        if not isinstance(message, str):
            count[0] = 6
            if time.monotonic() - began > 3:
                os.kill(process_of(asked[0], tmp_path), signal.SIGKILL)

    _, ends = run_all(asked, tmp_path, workers=1, on_update=kill)
    assert ends[0].message == "its process was killed by SIGKILL"


def test_next_start_says_that_a_process_was_lost_for_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The next start of a run says that its group lost a process for memory."""
    notes: list[str] = []
    kills = [run_lock.memory_kills.__globals__["MemoryKills"](7, 1)]
    monkeypatch.setattr(run_lock, "memory_kills", lambda: kills[0])
    lock = run_lock.RunLock(tmp_path)
    with lock:
        left = lock.holder_path.read_text()
    died = left.replace(f'"pid": {os.getpid()}', '"pid": 4194303')
    for group, count, said in ((7, 2, True), (7, 1, False), (8, 9, False)):
        lock.holder_path.write_text(died)
        kills[0] = type(kills[0])(group, count)
        notes.clear()
        with run_lock.RunLock(tmp_path, note=notes.append):
            pass
        assert any("the kernel has killed 1 process of its control group" in note for note in notes) is said, notes


def test_an_older_holder_is_read(tmp_path: Path) -> None:
    (tmp_path / ".holder").write_text('{"pid": 1, "host": "elsewhere", "began": 0.0, "since": "2026-01-01"}')
    holder = run_lock.RunLock(tmp_path).holder()
    assert holder is not None and holder.killed_since == 0


@pytest.mark.parametrize("theirs", ["finishes", "dies"])
def test_a_run_that_another_process_has_is_waited_for(theirs: str, tmp_path: Path) -> None:
    asked = cells(3, **{"train.steps": 100, "train.eval_every": 100})
    notes: list[str] = []
    lock = run_lock.RunLock(folder_of(asked[0], tmp_path).path)
    lock.__enter__()
    order: list[int] = []

    def end(told: RunEnd) -> None:
        ends.append(told)
        order.append(told.index)

    def heard(index: int, message: Progress | str) -> None:
        if isinstance(message, str) and message.startswith("waiting for process"):
            notes.append(message)
            lock.__exit__(None, None, None)
            if theirs == "finishes":
                train(asked[0], ExecutionOptions(tmp_path, wait=True), Silent())  # the waiting one may be faster

    ends: list[RunEnd] = []
    code = run_locally(asked, ExecutionOptions(tmp_path, wait=True), 1, RunCallbacks(on_update=heard, on_end=end))
    assert code == 0 and {told.status for told in ends} == {"finished"} and len(ends) == 3
    assert order == [1, 2, 0] and len(notes) == 1  # it comes last, and is said once


def test_two_overlapping_compares_both_end_well(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "stablebench", "compare", "--models", "rnn", "--tasks", "copy", "--seeds", "3"]
    command += [*SMALL, "--steps", "400", "--workers", "1", "--runs-dir", str(tmp_path)]
    both = [
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ)
        for _ in range(2)
    ]
    for process in both:
        out, said = process.communicate(timeout=180)
        assert process.returncode == 0, said
        assert "failed" not in said and "--wait" not in said and "rnn" in out
