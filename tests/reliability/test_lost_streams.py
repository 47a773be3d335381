"""Standard streams that are closed, or go away in mid-run, cost words: the run goes on, and its record is written."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from stablebench.process.streams import LossyFile
from stablebench.runs.progress import Lines
from stablebench.runs.store import all_runs

TRAIN = ["train", "--model", "rnn", "--task", "copy", "--T", "5", "--hidden", "6", "--steps", "300", "--set"]
TRAIN += ["task.S=2", "--batch-size", "4", "--engine", "reference"]
COMPARE = ["compare", "--models", "rnn", "--tasks", "copy", *TRAIN[5:]]


def shell(
    arguments: list[str], redirected: str, runs_dir: Path, before: str = ""
) -> "subprocess.CompletedProcess[str]":
    command = " ".join([before, sys.executable, "-m", "stablebench", *arguments, "--runs-dir", str(runs_dir)])
    script = f"{command} {redirected}"
    return subprocess.run(["bash", "-c", script], capture_output=True, text=True, timeout=300)


@pytest.mark.parametrize(
    ("redirected", "code"),
    [
        pytest.param("2>&-", 0, id="no stderr"),
        pytest.param(">&-", 0, id="no stdout", marks=pytest.mark.slow),
        pytest.param("<&- >&- 2>&-", 0, id="none"),
        pytest.param("2>/dev/full", 0, id="stderr on a full disk", marks=pytest.mark.slow),
        pytest.param(">/dev/full", 1, id="stdout on a full disk"),
        pytest.param("2> >(exec true)", 0, id="nobody reads stderr", marks=pytest.mark.slow),
        pytest.param("> >(exec true)", 1, id="nobody reads stdout"),
    ],
)
def test_a_run_ends_whatever_becomes_of_its_streams(redirected: str, code: int, tmp_path: Path) -> None:
    done = shell([*TRAIN, "--json"], redirected, tmp_path)
    assert done.returncode == code and "Traceback" not in done.stderr, done.stderr
    (folder,) = all_runs(tmp_path)
    assert folder.read_record().status == "finished"
    if "2>&-" in redirected and ">&- 2" not in redirected:
        assert json.loads(done.stdout)["status"] == "finished"  # what is said there has not come here
    if redirected == ">/dev/full":
        assert done.stderr.splitlines()[-1] == "Error: stdout: No space left on device."
    for path in folder.path.rglob("*.json*"):  # no file took the place of a stream
        assert all(json.loads(line) for line in path.read_text().splitlines() if path.suffix == ".jsonl")


def test_compare_ends_though_nobody_reads_what_it_or_model_says(tmp_path: Path) -> None:
    """Compare ends though nobody reads what it or a model says."""
    (tmp_path / "talker.py").write_text(
        "from stablebench.models.recurrent.rnn import Rnn\n\n\n"
        "class Talker(Rnn):\n"
        "    def recurrent_weights(self):\n"
        "        print('x' * 5000, flush=True)\n"
        "        return super().recurrent_weights()\n"
    )
    model = f"{tmp_path}/talker.py:Talker"
    arguments = [model if argument == "rnn" else argument for argument in COMPARE]
    done = shell(arguments, "> >(exec true) 2> >(exec true)", tmp_path / "runs")
    assert done.returncode == 1
    (folder,) = all_runs(tmp_path / "runs")
    assert folder.read_record().status == "finished"


def test_what_a_stream_does_not_take_is_dropped_and_remembered() -> None:
    reader, writer = os.pipe()
    stream = LossyFile(writer)
    assert stream.write(b"heard") == 5 and stream.lost is None and os.read(reader, 9) == b"heard"
    os.close(reader)
    assert stream.write(b"lost") == 4 and stream.lost == 32
    os.close(writer)


def test_a_stream_that_does_not_wait_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stablebench.process.streams._PATIENCE_S", 0.01)
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    stream = LossyFile(writer)
    while stream.lost is None:  # until the pipe is full
        assert stream.write(bytes(4096)) <= 4096
    assert stream.lost == 11
    os.read(reader, 65536)
    assert stream.write(b"again") == 5
    os.close(reader)
    os.close(writer)


def test_lines_go_on_where_their_stream_is_closed(tmp_path: Path) -> None:
    stream = (tmp_path / "said").open("w")
    lines = Lines(stream)
    stream.close()
    lines.start("a run")
    lines.note("a word")
    lines.stop()
