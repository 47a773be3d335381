"""Signals, full disks, memory that runs out, killed workers, clocks that jump: one message, nothing lost."""

import contextlib
import json
import os
import random
import resource
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tiny_runs import PROCESSES, assert_same, folder_of, in_a_process, run, tiny
from typer.testing import CliRunner

from stablebench.cli.app import app
from stablebench.errors import StablebenchError
from stablebench.execution.events import RunCallbacks, RunEnd
from stablebench.execution.local import run_locally
from stablebench.runs import checkpoint
from stablebench.runs.curve import Curve
from stablebench.runs.progress import Progress, Silent
from stablebench.runs.store import RunFolder
from stablebench.specs import resolve
from stablebench.specs.request import Resolved
from stablebench.training import loop
from stablebench.training.run import ExecutionOptions, has_ended, train

SMALL = ["--T", "5", "--hidden", "6", "--steps", "12", "--batch-size", "4", "--set", "task.S=2"]


class SignalAt(Silent):
    """Sends this process signals when a run reaches a step."""

    def __init__(self, step: int, *signums: int) -> None:
        self.step, self.signums, self.sent_s = step, signums, 0.0

    def update(self, progress: Progress) -> bool:
        if progress.step == self.step:
            self.sent_s = time.perf_counter()
            for signum in self.signums:
                os.kill(os.getpid(), signum)
        return True


@pytest.mark.parametrize(
    ("signum", "code"), [(signal.SIGTERM, 143), (signal.SIGUSR1, 143), (signal.SIGINT, 130)], ids=lambda x: str(x)
)
def test_signal_ends_run_after_checkpoint_and_requeue_resumes(signum: int, code: int, tmp_path: Path) -> None:
    """A signal ends a run after its checkpoint and a requeue resumes."""
    whole = run(tiny(), tmp_path / "whole")
    told = SignalAt(13, signum)
    outcome = train(tiny(), ExecutionOptions(tmp_path / "cut"), told)
    assert time.perf_counter() - told.sent_s < 5  # one update and a second, on a machine that may be busy
    assert (outcome.exit_code, outcome.record.status, outcome.record.step) == (code, "interrupted", 13)
    assert signal.Signals(signum).name in (outcome.record.error or "")
    assert_same(whole, run(tiny(), tmp_path / "cut"))


@pytest.mark.parametrize("which", [1, 2, 4], ids=["first evaluation", "second", "of the test examples"])
def test_a_signal_in_an_evaluation_does_not_wait_for_its_end(
    which: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    resolved = tiny("rnn", "digits", True)
    whole = run(resolved, tmp_path / "whole")
    calls, evaluate = [0], loop.evaluate

    def interrupted(*arguments: object, **named: object) -> object:
        calls[0] += 1
        if calls[0] == which:
            os.kill(os.getpid(), signal.SIGTERM)
        return evaluate(*arguments, **named)  # pyright: ignore[reportArgumentType]

    monkeypatch.setattr(loop, "evaluate", interrupted)
    outcome = train(resolved, ExecutionOptions(tmp_path / "cut"), Silent())
    assert (outcome.exit_code, outcome.record.status) == (143, "interrupted")
    assert len(outcome.record.evaluations) == min(which - 1, 3)
    monkeypatch.undo()
    assert_same(whole, run(resolved, tmp_path / "cut"))


@pytest.mark.slow
@pytest.mark.parametrize(("signum", "code"), [(signal.SIGTERM, 143), (signal.SIGUSR1, 143), (signal.SIGINT, 130)])
def test_process_ends_within_update_and_second_of_signal(signum: int, code: int, tmp_path: Path) -> None:
    """Five times each, at random moments of updates of a tenth of a second."""
    sizes = {"task.length": 200, "model.hidden": 64, "train.batch_size": 64, "train.steps": 10_000}
    resolved = tiny("lstm", "adding", **sizes, **{"train.eval_every": 10_000, "train.checkpoint_every": 10_000})
    rng = random.Random(signum)
    for attempt in range(5):
        runs_dir = tmp_path / str(attempt)
        process = in_a_process(resolved, runs_dir)
        while not (folder_of(resolved, runs_dir).path / "metrics.jsonl").exists():
            time.sleep(0.01)
        time.sleep(rng.uniform(0.5, 1.5))
        sent = time.perf_counter()
        os.kill(process.pid or 0, signum)
        process.join(120)
        took = time.perf_counter() - sent
        record = folder_of(resolved, runs_dir).read_record()
        assert (process.exitcode, record.status) == (code, "interrupted")
        assert took < 1 + record.train_s / max(record.step, 1), (took, record.train_s, record.step)
        assert folder_of(resolved, runs_dir).checkpoints()[0].stem == f"step-{record.step}"


def test_signal_that_follows_another_does_not_cost_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As when a terminal's Ctrl-C is followed by the wish of the process that began the run."""
    whole = run(tiny(), tmp_path / "whole")
    saved = loop.TrainingLoop._save

    def hit(self: loop.TrainingLoop) -> None:
        if self.parts.interrupt.signum is not None:
            os.kill(os.getpid(), signal.SIGTERM)
        saved(self)

    def kill(*_: object) -> None:
        pytest.fail("the signal would have ended the process")

    monkeypatch.setattr(loop.TrainingLoop, "_save", hit)
    before = signal.signal(signal.SIGTERM, kill)
    try:
        outcome = train(tiny(), ExecutionOptions(tmp_path / "cut"), SignalAt(13, signal.SIGINT))
    finally:
        signal.signal(signal.SIGTERM, before)
    assert (outcome.exit_code, outcome.record.status, outcome.record.step) == (130, "interrupted", 13)
    assert "SIGINT" in (outcome.record.error or "")  # the first of them is the reason
    assert folder_of(tiny(), tmp_path / "cut").checkpoints()[0].stem == "step-13"
    monkeypatch.undo()
    assert_same(whole, run(tiny(), tmp_path / "cut"))


def test_a_second_ctrl_c_stops_at_once(tmp_path: Path) -> None:
    whole = run(tiny(), tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        train(tiny(), ExecutionOptions(tmp_path / "cut"), SignalAt(13, signal.SIGINT, signal.SIGINT))
    folder = folder_of(tiny(), tmp_path / "cut")
    assert folder.read_record().status == "interrupted"
    assert folder.checkpoints()[0].stem == "step-12"  # none was written after the signals
    assert_same(whole, run(tiny(), tmp_path / "cut"))


# -- disks ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Yield a file system of 256 KiB."""
    path = tmp_path / "disk"
    path.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(path)], capture_output=True)
    if done.returncode:
        pytest.skip("mounting a small file system needs root")
    yield path
    subprocess.run(["umount", "-l", str(path)], check=True)


def fill(disk: Path) -> Path:
    """Fill a file system and return the file that does."""
    filler = disk / "filler"
    with filler.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while file.write(bytes(4096)):
            pass
    return filler


def test_full_disk_has_one_message(small_disk: Path, tmp_path: Path) -> None:
    """A full disk has one message and the last checkpoint stays whole."""
    resolved = tiny("rnn", "copy", **{"model.hidden": 24})
    whole = run(resolved, tmp_path / "whole")

    class Fill(Silent):
        def update(self, progress: Progress) -> bool:
            if progress.step == 9:
                fill(small_disk)
            return True

    with pytest.raises(
        StablebenchError, match=r"step-10.* bytes cannot be written \(No space left on device\)"
    ) as caught:
        train(resolved, ExecutionOptions(small_disk), Fill())
    assert caught.value.exit_code == 1 and len(str(caught.value).splitlines()) == 1
    folder = folder_of(resolved, small_disk)
    assert [checkpoint.load(path).step for path in folder.checkpoints()] == [8, 6]
    (small_disk / "filler").unlink()
    assert_same(whole, run(resolved, small_disk))


def test_page_that_a_full_disk_refuses_leaves_the_old_one(small_disk: Path, tmp_path: Path) -> None:
    """A page or leaderboard that a full disk does not take leaves the old one."""
    run(tiny(), tmp_path)
    old = small_disk / "old"
    old.write_text("old")
    fill(small_disk)
    cells = ["--models", "rnn", "--tasks", "copy", "--no-run"]
    for command in (["report"], ["compare", *cells]):
        result = CliRunner().invoke(app, [*command, "--runs-dir", str(tmp_path), "-o", str(old), "--force"])
        assert result.exit_code == 1, result.output
        *notes, line = result.stderr.strip().splitlines()
        assert notes == [] or "other runs of rnn on copy" in notes[0]  # compare says that they have other settings
        assert str(old) in line and "bytes cannot be written (No space left on device)" in line
        assert old.read_text() == "old" and sorted(path.name for path in small_disk.iterdir()) == ["filler", "old"]


def _run_with_small_files(resolved: Resolved, runs_dir: Path, limit: int, answer: Path) -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
    try:
        train(resolved, ExecutionOptions(runs_dir), Silent())
    except StablebenchError as error:
        message = f"{error.exit_code} {error}"
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        answer.write_text(message)


def test_a_file_that_may_not_grow_has_one_message(tmp_path: Path) -> None:
    process = PROCESSES.Process(target=_run_with_small_files, args=(tiny(), tmp_path / "runs", 6000, tmp_path / "said"))
    process.start()
    process.join(120)
    assert process.exitcode == 0
    said = (tmp_path / "said").read_text()
    assert said.startswith("1 ") and "bytes cannot be written (File too large)" in said and "\n" not in said
    assert run(tiny(), tmp_path / "runs").read_record().status == "finished"


def test_curve_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    """A curve that cannot be written is named and closes quietly."""
    if not Path("/dev/full").exists():
        pytest.skip("there is no /dev/full")
    curve = Curve(tmp_path / "metrics.jsonl")
    curve._file.close()
    curve._file = open("/dev/full", "ab", buffering=0)
    with pytest.raises(StablebenchError, match=r"/dev/full: 12 bytes cannot be written \(No space left on device\)"):
        curve.append(step=1)
    curve.close()


@pytest.mark.parametrize("where", ["below a file", "read-only"])
def test_a_runs_folder_that_cannot_be_written_is_one_message(where: str, tmp_path: Path) -> None:
    if where == "read-only":
        folder = tmp_path / "runs"
        folder.mkdir()
        done = subprocess.run(["mount", "-t", "tmpfs", "-o", "ro", "tmpfs", str(folder)], capture_output=True)
        if done.returncode:
            pytest.skip("mounting needs root")
    else:
        folder = tmp_path / "file" / "runs"
        (tmp_path / "file").write_text("")
    try:
        result = CliRunner().invoke(
            app, ["train", "--model", "rnn", "--task", "copy", *SMALL, "--runs-dir", str(folder)]
        )
    finally:
        subprocess.run(["umount", "-l", str(folder)], capture_output=True)
    assert result.exit_code == 1, result.output
    assert len(result.stderr.strip().splitlines()) == 1 and str(folder) in result.stderr
    assert "Read-only file system" in result.stderr or "Not a directory" in result.stderr


# -- cells ------------------------------------------------------------------------------------------------------------


def cells(count: int, **settings: object) -> list[Resolved]:
    return [tiny(**settings).seeded(seed) for seed in range(count)]


def run_all(asked: list[Resolved], runs_dir: Path, workers: int = 2, **told: Any) -> tuple[int, list[RunEnd]]:
    ends: list[RunEnd] = []
    code = run_locally(
        asked, ExecutionOptions(runs_dir, grace_s=10.0), workers, RunCallbacks(on_end=ends.append, **told)
    )
    return code, ends


def holders(runs_dir: Path) -> list[int]:
    """Return the processes that are running a run of this store."""
    found = []
    for path in runs_dir.glob("*/*/*/.holder"):
        try:
            found.append(int(json.loads(path.read_text())["pid"]))
        except (OSError, ValueError):
            continue
    return found


def check_killed_workers(runs_dir: Path, count: int, kills: int) -> None:
    """Kill that many cells at random while they run: all end, none is run twice to its end."""
    asked = cells(count, **{"train.steps": 150, "train.eval_every": 50, "train.checkpoint_every": 25})
    chosen, killed, missed = set(random.Random(count).sample(range(count), kills)), set[int](), [0]
    notes: list[str] = []

    def kill(index: int, message: Progress | str) -> None:
        if isinstance(message, str):
            notes.append(message)
        elif index not in killed and (index in chosen or missed[0]):
            try:
                holder = json.loads((folder_of(asked[index], runs_dir).path / ".holder").read_text())
                os.kill(holder["pid"], signal.SIGKILL)
                killed.add(index)
                missed[0] -= index not in chosen
            except (OSError, ValueError):  # it has ended by itself since: the next one is killed in its place
                missed[0] += index in chosen
            chosen.discard(index)

    code, ends = run_all(asked, runs_dir, on_update=kill)
    finished = [end.index for end in ends if end.status == "finished"]
    again = [cell for cell in asked if not has_ended(folder_of(cell, runs_dir))]
    assert code == 0 and len(finished) + len(again) == count
    _, ends = run_all(again, runs_dir)
    assert all(end.status == "finished" for end in ends)
    assert len(set(finished)) == len(finished)
    assert all(folder_of(cell, runs_dir).read_record().status == "finished" for cell in asked)
    assert len(killed) == kills and sum("restarting it" in note for note in notes) == kills


def test_killed_workers_cost_nothing_that_was_finished(tmp_path: Path) -> None:
    check_killed_workers(tmp_path, count=4, kills=1)


@pytest.mark.slow
def test_ten_killed_workers_of_a_suite_of_fifty(tmp_path: Path) -> None:
    check_killed_workers(tmp_path, count=50, kills=10)


def test_a_cell_is_begun_once_more_and_then_failed(tmp_path: Path) -> None:
    asked = cells(2, **{"train.steps": 100_000, "train.eval_every": 100_000, "train.checkpoint_every": 1000})
    notes: list[str] = []

    def kill(index: int, message: Progress | str) -> None:
        if isinstance(message, str):
            notes.append(message)
            return
        for pid in holders(tmp_path):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    code, ends = run_all(asked[:1], tmp_path, workers=1, on_update=kill)
    assert code == 0 and [end.status for end in ends] == ["failed"] and "killed by SIGKILL" in ends[0].message
    assert sum("restarting it" in note for note in notes) == 1
    record = folder_of(asked[0], tmp_path).read_record()
    assert record.status == "failed" and "SIGKILL" in (record.error or "")


@pytest.fixture
def unchecked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Resolve specs that this machine cannot hold."""
    monkeypatch.setattr(resolve, "check_spec", lambda *_: None)


@pytest.mark.usefixtures("unchecked")
def test_memory_that_runs_out_fails_one_cell_and_says_its_peak(tmp_path: Path) -> None:
    huge = tiny(**{"train.batch_size": 2**40, "train.eval_every": 8})
    code, ends = run_all([huge, *cells(1)], tmp_path)
    assert code == 0
    by_index = {end.index: end for end in ends}
    assert by_index[0].status == "failed" and "out of memory" in by_index[0].message
    assert by_index[1].status == "finished"
    record = folder_of(huge, tmp_path).read_record()
    assert record.status == "failed" and (record.error or "").startswith("out of memory")
    assert record.result.peak_bytes is not None and record.result.peak_bytes > 0


@pytest.mark.usefixtures("unchecked")
def test_a_network_too_large_to_build_fails_its_cell_alone(tmp_path: Path) -> None:
    _, ends = run_all([tiny(**{"model.hidden": 2**24}), *cells(1)], tmp_path)
    assert {end.index: end.status for end in ends} == {0: "failed", 1: "finished"}
    assert "allocate memory" in next(end.message for end in ends if end.index == 0)


def test_compare_picks_up_exactly_where_it_was(tmp_path: Path) -> None:
    rest = ["--tasks", "copy", "--seeds", "2", *SMALL, "--runs-dir", str(tmp_path)]
    command = ["compare", "--models", "rnn,lstm", *rest]
    first = CliRunner().invoke(app, ["compare", "--models", "rnn", *rest, "--json"])
    assert first.exit_code == 0, first.output
    times = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("record.json")}
    again = CliRunner().invoke(app, [*command, "--json"])
    assert again.exit_code == 0 and "2 of 4 runs to do" in again.stderr
    assert len(times) == 2 and all(path.stat().st_mtime_ns == before for path, before in times.items())
    assert "runs to do" not in CliRunner().invoke(app, command).stderr


def test_a_failed_cell_is_in_the_summary_and_run_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    command = ["compare", "--models", "rnn", "--tasks", "copy", "--seeds", "2", *SMALL, "--runs-dir", str(tmp_path)]
    assert CliRunner().invoke(app, command).exit_code == 0
    folder = sorted(tmp_path.glob("*/*/*"))[0]
    record = RunFolder(folder).read_record()
    (folder / "metrics.jsonl").unlink()
    (folder / "metrics.jsonl").mkdir()  # nothing can be appended to a folder
    RunFolder(folder).write_record(record.model_copy(update={"status": "failed"}))
    failed = CliRunner().invoke(app, command)
    assert failed.exit_code == 1 and "1 of 2 runs to do" in failed.stderr and "failed" in failed.stderr
    (folder / "metrics.jsonl").rmdir()
    for path in (folder / "checkpoints").iterdir():
        path.unlink()
    again = CliRunner().invoke(app, command)
    assert again.exit_code == 0 and "1 of 2 runs to do" in again.stderr


# -- terminals --------------------------------------------------------------------------------------------------------


def test_narrow_terminal_without_unicode_takes_every_command(tmp_path: Path) -> None:
    """A narrow terminal without home or unicode takes every command."""
    folder = run(tiny(), tmp_path / "runs").path
    bare = {"COLUMNS": "40", "LINES": "10", "LANG": "C", "LC_ALL": "C", "TERM": "dumb", "HOME": None}
    runs = ["--runs-dir", str(tmp_path / "runs")]
    commands = [
        ["--help"],
        ["train", "--help"],
        ["train", "--resume", str(folder)],
        ["train", "--model", "rnn", "--task", "copy", *SMALL, *runs],
        ["compare", "--models", "rnn", "--tasks", "copy", *SMALL, *runs, "--no-run", "--statistics"],
        ["evaluate", str(folder)],
        ["verify", str(folder), "--steps", "4"],
        ["list", "models"],
        ["list", "tasks"],
        ["list", "runs", *runs],
        ["show", "run", str(folder)],
        ["show", "model", "roarnn"],
        ["show", "task", "copy"],
        ["data", "list"],
        ["report", *runs, "-o", str(tmp_path / "page.html")],
        ["probe-gradients", str(folder), "--what", "flow"],
    ]
    for command in commands:
        result = CliRunner(env=bare).invoke(app, command)
        assert result.exit_code == 0 and "Traceback" not in result.output, (command, result.output)


# -- clocks -----------------------------------------------------------------------------------------------------------


def test_a_clock_that_jumps_back_makes_no_duration_negative(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [2_000_000_000.0]

    def backwards() -> float:
        now[0] -= 3600
        return now[0]

    monkeypatch.setattr(time, "time", backwards)
    folder = run(tiny(), tmp_path)
    record = folder.read_record()
    durations = [record.train_s, record.wall_s, *(e.train_s for e in record.evaluations)]
    durations += [json.loads(line)["wall_s"] for line in folder.curve_path.read_text().splitlines()]
    assert all(duration >= 0 for duration in durations) and record.status == "finished"
    assert sum(durations) < 600
