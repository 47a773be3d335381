"""A thousand cells, a hundred thousand lines, a thousand runs, some of them damaged."""

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import psutil
import pytest
from tiny_runs import folder_of, run, tiny
from typer.testing import CliRunner

from stablebench.cli.app import app
from stablebench.errors import UserError
from stablebench.runs.curve import read_curve
from stablebench.runs.store import all_runs, readable_records, run_folders

COMMAND = (
    "compare --models rnn --tasks copy --set task.S=2 --T 5 --hidden 4 --steps 4 --batch-size 4 --engine reference"
)


def test_hundred_thousand_lines_of_curve_are_read_in_second(tmp_path: Path) -> None:
    """A hundred thousand lines of a curve are read in a second."""
    path = tmp_path / "metrics.jsonl"
    line = {"step": 10, "split": "train", "loss": 2.317993402481079, "gradient_norm": 0.1, "wall_s": 1.0}
    with path.open("w") as file:
        file.writelines(json.dumps(line | {"step": i}) + "\n" for i in range(100_000))
        file.write('{"step": 100000, "split": "tr')  # torn
    began = time.process_time()
    steps = [line["step"] for line in read_curve(path)]
    assert time.process_time() - began < 1.0
    assert steps == list(range(100_000))


@pytest.mark.parametrize("line", ['{"step": 1', "[1]", "null", "5", "\x00", "[" * 50_000, "{" * 50_000])
def test_a_damaged_line_amid_a_curve_is_named(line: str, tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 1}\n' + line + '\n{"step": 3}\n')
    with pytest.raises(UserError, match=r"metrics.jsonl:2: must be one JSON object a line"):
        list(read_curve(path))


def test_runs_of_which_one_in_twenty_is_damaged_make_leaderboard(tmp_path: Path) -> None:
    """At most half a millisecond of processor time each."""
    count = 1000
    settings = {"train.steps": 4, "train.eval_every": 4, "train.batch_size": 4, "model.hidden": 4}
    base = tiny(**settings)
    record = run(base, tmp_path / "one").read_record()
    texts, rng = record.model_dump_json(indent=1), random.Random(0)
    damaged = set(rng.sample(range(count), count // 20))
    for seed in range(count):
        cell = base.seeded(seed)
        folder = tmp_path / "runs" / "copy" / "rnn" / f"{cell.spec.spec_hash()}-s{seed}"
        os.makedirs(folder)
        text = texts.replace('"seed": 0', f'"seed": {seed}')
        (folder / "record.json").write_text(text[: len(text) // 2] if seed in damaged else text)
    asked = [
        f"--set={key}={value}" for key, value in {"train.checkpoint_every": 2, "task.length": 5, "task.S": 2}.items()
    ]
    asked += [f"--set={key}={value}" for key, value in settings.items()] + ["--engine", "reference"]
    command = ["compare", "--models", "rnn", "--tasks", "copy", "--seeds", str(count), *asked, "--no-run", "--json"]
    began = time.process_time()
    folders = run_folders(tmp_path / "runs", (base.seeded(seed).spec for seed in range(count)))
    records, unreadable = readable_records(folders)
    assert time.process_time() - began < count * 5e-4
    assert (len(records), len(unreadable)) == (count - len(damaged), len(damaged))
    result = CliRunner().invoke(app, [*command, "--runs-dir", str(tmp_path / "runs")])
    assert result.exit_code == 1, result.output[-500:]
    document = json.loads(result.stdout)
    assert document["tables"][0]["rows"][0]["n"] == count - len(damaged)
    assert {int(path.rpartition("-s")[2]) for path in document["unreadable"]} == damaged
    listed = [line for line in result.stderr.splitlines() if "record.json" in line]
    assert len(listed) == 20 and f"and {len(damaged) - 20} more that cannot be read" in result.stderr


def compare(runs_dir: Path, seeds: int) -> list[str]:
    asked = [*COMMAND.split(), "--seeds", str(seeds), "--runs-dir", str(runs_dir), "--json", "--quiet"]
    return [sys.executable, "-m", "stablebench", *asked]


def done(runs_dir: Path) -> int:
    """Return how many cells have begun, all but the last of which have ended."""
    return len(list(runs_dir.glob("*/*/*/record.json")))


def interrupted_suite(runs_dir: Path, seeds: int, signals: Sequence[int], rng: random.Random) -> None:
    """Run a suite that is interrupted at random, then let it end; nothing that had finished is run again."""
    for signum in signals:
        process = subprocess.Popen(compare(runs_dir, seeds), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        enough = done(runs_dir) + rng.randrange(1, max(2, seeds // (3 * len(signals))))
        deadline = time.monotonic() + 300
        while done(runs_dir) < enough and time.monotonic() < deadline:
            time.sleep(0.05)
        process.send_signal(signum)
        process.wait(120)
        assert process.returncode in (130, 143, -signal.SIGKILL)
    finished = {
        folder.record_path: folder.record_path.stat().st_mtime_ns
        for folder in all_runs(runs_dir)
        if folder.read_record().status == "finished"
    }
    output = runs_dir / "board.json"
    last = subprocess.Popen([*compare(runs_dir, seeds), "-o", str(output)], stdout=subprocess.DEVNULL)
    seen = diagnostics(last, runs_dir)
    assert last.wait(60) == 0
    assert json.loads(output.read_text())["tables"][0]["rows"][0]["n"] == seeds
    assert all(path.stat().st_mtime_ns == before for path, before in finished.items())
    if seeds >= 100:
        hold_no_growth([sample[1:] for sample in seen if seeds * 0.3 <= sample[0] < seeds * 0.95])


def diagnostics(process: "subprocess.Popen[bytes]", runs_dir: Path) -> list[tuple[int, int, int]]:
    """Return runs done, bytes and open files of a process, three times a second until it ends."""
    system, seen = psutil.Process(process.pid), []
    while process.poll() is None:
        with contextlib.suppress(psutil.Error):
            seen.append((done(runs_dir), system.memory_info().rss, system.num_fds()))
        time.sleep(0.3)
    return seen


def hold_no_growth(seen: list[tuple[int, int]]) -> None:
    """Hold that the last quarter of samples takes no more memory and files than the first."""
    quarter = len(seen) // 4
    assert quarter >= 10
    (early_bytes, early_files), (late_bytes, late_files) = (
        [max(sample[i] for sample in part) for i in (0, 1)] for part in (seen[:quarter], seen[-quarter:])
    )
    assert late_files <= early_files + 4, (early_files, late_files)
    assert late_bytes <= early_bytes + 20e6, (early_bytes, late_bytes)


@pytest.mark.slow
def test_thousand_runs_interrupted_ten_times_end_complete(tmp_path: Path) -> None:
    """A thousand cells interrupted ten times end complete and take no more than a few."""
    signals = [signal.SIGINT, signal.SIGTERM, signal.SIGKILL, signal.SIGUSR1, signal.SIGKILL] * 2
    interrupted_suite(tmp_path, 1000, signals, random.Random(10))


@pytest.mark.slow
def test_a_suite_whose_process_is_killed_ends_complete(tmp_path: Path) -> None:
    interrupted_suite(tmp_path, 6, [signal.SIGKILL], random.Random(1))


def test_listing_runs_lists_the_damaged_ones(tmp_path: Path) -> None:
    folder = run(tiny(), tmp_path)
    folder.record_path.write_text("{")
    result = CliRunner().invoke(app, ["list", "runs", "--runs-dir", str(tmp_path), "--json"])
    assert result.exit_code == 0 and json.loads(result.stdout)[0]["status"] == "broken"
    assert folder_of(tiny(), tmp_path).path == folder.path
