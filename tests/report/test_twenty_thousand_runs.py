"""Twenty thousand runs, and a curve of a million lines: seconds and memory of the commands themselves."""

import json
import resource
import subprocess
import sys
import time
from pathlib import Path

import pytest
from run_maker import made_record, store

from stablebench.cli.list_ import runs

_CHILD = """
import resource, runpy, sys
sys.argv = ["stablebench", *sys.argv[1:]]
try:
    runpy.run_module("stablebench", run_name="__main__")
finally:
    status = open("/proc/self/status").read()  # of this program: what it was started from does not count
    mine = int(status.partition("VmHWM:")[2].split()[0])
    print("peak", max(mine, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss), file=sys.stderr)
"""


def stored(runs_dir: Path, count: int) -> None:
    """Store records of twenty models on five tasks, their seeds and scores apart."""
    base = made_record(seed=0, rate=0.01)
    for i in range(count):
        seed, cell = divmod(i, 100)
        model = base.spec.model.model_copy(update={"name": f"model{cell % 20}"})
        spec = base.spec.model_copy(update={"seed": seed, "model": model})
        spec = spec.model_copy(update={"task": spec.task.model_copy(update={"name": f"task{cell // 20}"})})
        store(runs_dir, base.model_copy(update={"spec": spec, "spec_hash": spec.spec_hash()}))


def test_a_line_of_the_list_takes_little_processor_time(tmp_path: Path) -> None:
    """At most 0.3 ms of a run: a quarter of it is needed on a quiet machine."""
    stored(tmp_path, 500)
    times = []
    for _ in range(3):
        began = time.process_time()
        assert len(runs(tmp_path, [])) == 500
        times.append(time.process_time() - began)
    assert min(times) < 500 * 3e-4


def test_the_list_is_in_the_order_of_paths(tmp_path: Path) -> None:
    stored(tmp_path, 120)
    names = [item["name"] for item in runs(tmp_path, [])]
    paths = sorted(path.parent.relative_to(tmp_path) for path in tmp_path.glob("*/*/*/record.json"))
    assert names == [path.as_posix() for path in paths]


def peak_of(*command: str) -> int:
    """Return the bytes that a command, or a process that it began, had at most."""
    result = subprocess.run([sys.executable, "-c", _CHILD, *command], capture_output=True, text=True, check=False)
    (line,) = [line for line in result.stderr.splitlines() if line.startswith("peak ")]
    return int(line.split()[1]) * 1024


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux's /proc")
def test_twenty_thousand_runs(tmp_path: Path) -> None:
    """Listed in two seconds of processor time, reported in 250 MB."""
    stored(tmp_path / "runs", 20_000)
    command = [sys.executable, "-m", "stablebench", "list", "runs", "--runs-dir", str(tmp_path / "runs")]
    times = []
    for _ in range(4):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        times.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    assert min(times) < 2.2, times  # with what it takes to begin
    assert peak_of("report", "--runs-dir", str(tmp_path / "runs"), "-o", str(tmp_path / "r.html")) < 250 * 2**20


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux's /proc")
def test_a_curve_of_a_million_lines(tmp_path: Path) -> None:
    folder = store(tmp_path / "runs", made_record(seed=0, rate=0.01))
    with (folder / "metrics.jsonl").open("w") as file:
        for i in range(1_000_000):
            line = {"step": 10 * i, "split": "train", "loss": 2.3, "gradient_norm": 0.1 + i * 1e-7, "wall_s": i * 0.01}
            file.write(json.dumps(line) + "\n")
    assert peak_of("report", "--runs-dir", str(tmp_path / "runs"), "-o", str(tmp_path / "r.html")) < 250 * 2**20
