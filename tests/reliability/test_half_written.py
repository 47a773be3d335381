"""Nothing half-written is ever read, and two processes never run one run at once."""

import json
import os
import random
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import torch
from tiny_runs import assert_same, folder_of, in_a_process, run, tensors, tiny
from typer.testing import CliRunner

from stablebench.cli.app import app
from stablebench.errors import StablebenchError, UserError
from stablebench.runs import checkpoint
from stablebench.runs import lock as run_lock
from stablebench.runs.lock import RunLock
from stablebench.runs.progress import Silent
from stablebench.runs.store import RunFolder
from stablebench.training.run import ExecutionOptions, train


class Notes(Silent):
    """Keeps what is said out of the ordinary."""

    def __init__(self) -> None:
        self.texts: list[str] = []

    def note(self, text: str) -> None:
        self.texts.append(text)


def damaged(content: bytes, how: str, rng: random.Random) -> bytes:
    if how == "empty":
        return b""
    if how == "cut":
        return content[: rng.randrange(1, len(content))]
    if how == "zeros at the end":
        return content[:-64] + bytes(64)
    flipped = bytearray(content)
    flipped[rng.randrange(len(content) // 2, len(content))] ^= 1 << rng.randrange(8)
    return bytes(flipped)


@pytest.mark.parametrize("how", ["empty", "cut", "flipped", "zeros at the end"])
def test_damaged_newest_checkpoint_is_seen(how: str, tmp_path: Path) -> None:
    """A damaged newest checkpoint is seen and the one before is used."""
    whole = run(tiny(), tmp_path / "whole")
    process = in_a_process(tiny(), tmp_path / "cut", ("update", 18))
    process.join(120)
    cut = folder_of(tiny(), tmp_path / "cut")
    newest, before = cut.checkpoints()
    newest.write_bytes(damaged(newest.read_bytes(), how, random.Random(how)))
    notes = Notes()
    outcome = train(tiny(), ExecutionOptions(tmp_path / "cut"), notes)
    assert any(newest.name in text and "Falling back to the one before" in text for text in notes.texts), notes.texts
    assert outcome.record.resumed_at == [int(before.stem.removeprefix("step-"))]
    assert_same(whole, cut)


def test_where_all_checkpoints_are_damaged_nothing_is_run(tmp_path: Path) -> None:
    process = in_a_process(tiny(), tmp_path, ("update", 18))
    process.join(120)
    folder = folder_of(tiny(), tmp_path)
    for path in folder.checkpoints():
        path.write_bytes(b"")
    with pytest.raises(UserError, match=r"(?s)step-16.*not a whole checkpoint.*step-14.*not a whole checkpoint"):
        run(tiny(), tmp_path)
    result = CliRunner().invoke(app, ["train", "--resume", str(folder.path)])
    assert (result.exit_code, "Traceback" in result.output) == (2, False)


def test_damaged_best_weights_come_back_from_the_checkpoint(tmp_path: Path) -> None:
    """Best weights that are damaged are put back from the checkpoint."""
    resolved = tiny("rnn", "digits", True)
    whole = run(resolved, tmp_path / "whole")
    process = in_a_process(resolved, tmp_path / "cut", ("update", 20))
    process.join(120)
    cut = folder_of(resolved, tmp_path / "cut")
    cut.best_path.write_bytes(b"half")
    run(resolved, tmp_path / "cut")
    assert_same(whole, cut)
    ours, theirs = checkpoint.load(cut.best_path), checkpoint.load(whole.best_path)  # metadata have no order in a file
    assert ours.state == theirs.state and ours.tensors.keys() == theirs.tensors.keys()
    assert all(torch.equal(tensor, theirs.tensors[name]) for name, tensor in ours.tensors.items())
    assert cut.read_record().result.tested == "best"


def test_damaged_record_is_set_aside(tmp_path: Path) -> None:
    """A damaged record is set aside and nothing finished is lost."""
    folder = run(tiny(), tmp_path)
    record, weights = folder.read_record(), tensors(folder)
    folder.record_path.write_text(folder.record_path.read_text()[:700])
    notes = Notes()
    outcome = train(tiny(), ExecutionOptions(tmp_path), notes)
    assert "record.json.damaged" in notes.texts[0]
    assert outcome.record.result.test == record.result.test and outcome.record.resumed_at == [24]
    assert all((tensors(folder)[name] == tensor).all() for name, tensor in weights.items())


def test_lost_lines_of_the_curve_are_said_and_never_made_up(tmp_path: Path) -> None:
    process = in_a_process(tiny(), tmp_path, ("update", 23))
    process.join(120)
    folder = folder_of(tiny(), tmp_path)
    folder.curve_path.write_bytes(folder.curve_path.read_bytes()[:50])
    with pytest.raises(UserError, match=r"metrics.jsonl: must have \d+ bytes where the checkpoint begins, it has 50"):
        run(tiny(), tmp_path)


# -- one process at a time --------------------------------------------------------------------------------------------


def test_the_second_process_says_who_has_the_run_and_exits_1(tmp_path: Path) -> None:
    folder = folder_of(tiny(), tmp_path)
    script = (
        "import sys, time; from pathlib import Path; from stablebench.runs.lock import RunLock\n"
        f"with RunLock(Path({str(folder.path)!r})): print('taken', flush=True); sys.stdin.read()"
    )
    other = subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert other.stdin is not None and other.stdout is not None
    try:
        assert other.stdout.readline() == "taken\n"
        arguments = "--T 5 --hidden 6 --steps 24 --batch-size 8 --engine reference --set task.S=2".split()
        arguments += ["--set", "train.eval_every=8"]
        result = CliRunner().invoke(
            app, ["train", "--model", "rnn", "--task", "copy", *arguments, "--runs-dir", str(tmp_path)]
        )
        assert result.exit_code == 1, result.output
        message = f"{folder.path}: another process is running this run (process {other.pid} on {socket.gethostname()}"
        assert message in result.stderr and "--wait waits for it" in result.stderr
    finally:
        other.stdin.close()
        other.wait(30)
        other.stdout.close()
    assert run(tiny(), tmp_path).read_record().status == "finished"


def test_wait_waits_and_takes_what_the_other_process_made(tmp_path: Path) -> None:
    process = in_a_process(tiny(), tmp_path)
    deadline = time.monotonic() + 60
    holder = folder_of(tiny(), tmp_path).path / ".holder"
    while not holder.exists() and process.is_alive() and time.monotonic() < deadline:
        time.sleep(0.001)
    outcome = train(tiny(), ExecutionOptions(tmp_path, wait=True), Silent())
    process.join(60)
    assert (process.exitcode, outcome.ran, outcome.record.status) == (0, False, "finished")
    assert not holder.exists()


def holder_file(folder: Path, **changes: object) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    values = {"pid": 2**22 + 1, "host": socket.gethostname(), "began": 5.0, "since": "2026-01-01T00:00:00+00:00"}
    (folder / ".holder").write_text(json.dumps(values | changes))


@pytest.mark.parametrize("flock", [True, False], ids=["with locks of the system", "without"])
def test_the_lock_of_a_dead_process_is_taken_over_and_said(
    flock: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not flock:
        monkeypatch.setattr(run_lock, "_lock", lambda descriptor: None)
    said: list[str] = []
    holder_file(tmp_path)
    with RunLock(tmp_path, note=said.append) as lock:
        assert "left its lock behind" in said[0] and str(2**22 + 1) in said[0]
        mine = lock.holder()
        assert mine is not None and mine.pid == os.getpid() and not mine.has_died
    said.clear()
    holder_file(tmp_path, pid=os.getpid())  # the number is taken again, by a process that began at another time
    with RunLock(tmp_path, note=said.append):
        assert said


def test_another_hosts_stale_lock_is_said_to_be_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    holder_file(tmp_path, host="far-away", pid=7)
    with RunLock(tmp_path, note=said.append):
        assert "process 7 on far-away" in said[0] and "another host's" in said[0]
    monkeypatch.setattr(run_lock, "_lock", lambda descriptor: None)  # nothing can tell whether that process lives
    holder_file(tmp_path, host="far-away", pid=7)
    with pytest.raises(StablebenchError, match=r"process 7 on far-away.*If that host is no more, remove .*\.holder"):
        RunLock(tmp_path).__enter__()


def test_without_locks_of_system_living_process_keeps_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without locks of the system a living process keeps its run."""
    monkeypatch.setattr(run_lock, "_lock", lambda descriptor: None)
    with RunLock(tmp_path):
        with pytest.raises(StablebenchError, match=f"process {os.getpid()} on"):
            RunLock(tmp_path).__enter__()
        with pytest.raises(StablebenchError, match="another process"):
            RunLock(tmp_path, wait_s=0.2).__enter__()
    with RunLock(tmp_path):
        pass


@pytest.mark.parametrize("content", ["", "{", "[]", '{"pid": 1}', '{"pid": "x", "host": 1, "began": [], "since": 0}'])
def test_a_holders_file_that_is_damaged_stands_in_nobodys_way(content: str, tmp_path: Path) -> None:
    (tmp_path / ".holder").write_text(content)
    with RunLock(tmp_path):
        pass


def test_what_a_killed_writer_left_is_gone_after_the_next_start(tmp_path: Path) -> None:
    process = in_a_process(tiny(), tmp_path, ("save", 3))
    process.join(120)
    folder: RunFolder = folder_of(tiny(), tmp_path)
    assert list((folder.path / "checkpoints").glob(".*.tmp"))
    run(tiny(), tmp_path)
    assert not list(folder.path.rglob(".*.tmp"))


def test_a_run_that_cannot_be_built_leaves_nothing(tmp_path: Path) -> None:
    runs_dir, wrong = tmp_path / "runs", tiny("rnn", "copy", **{"optim.momentum": 0.5})
    with pytest.raises(UserError, match=r"optim.momentum: adam has no such option"):
        run(wrong, runs_dir)
    assert not runs_dir.exists()
    kept = run(tiny(), runs_dir)
    with pytest.raises(UserError):
        run(wrong, runs_dir)
    assert list(runs_dir.glob("*/*/*")) == [kept.path]


def test_who_waits_for_nothing_gets_a_folder_of_its_own(tmp_path: Path) -> None:
    """Who waits for a run that leaves nothing gets a folder of its own."""
    folder, waiting, has_it = tmp_path / "a" / "b", threading.Event(), threading.Event()

    def wait() -> None:
        with RunLock(folder, wait_s=60, note=lambda text: waiting.set()):
            has_it.set()
            (folder / "record.json").write_text("{}")

    with RunLock(folder):
        other = threading.Thread(target=wait)
        other.start()
        assert waiting.wait(60) and not has_it.is_set()
    other.join(60)
    assert has_it.is_set() and (folder / "record.json").exists()
    with RunLock(folder), pytest.raises(StablebenchError, match="another process is running"):
        RunLock(folder).__enter__()
    assert (folder / "record.json").exists()


def test_a_folder_that_was_there_stays(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    with RunLock(tmp_path / "mine" / "run"):
        pass
    assert list((tmp_path / "mine").iterdir()) == []
