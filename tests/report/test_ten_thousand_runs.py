"""The leaderboard of ten thousand runs, drawn by the command itself."""

import random
import subprocess
import sys
import time
from pathlib import Path

import pytest
from run_maker import made_record, store

from stablebench.execution.suites import SuiteOverrides, runs_of, suite_of

MODELS = (
    "rnn,lstm,gru,roarnn,rnn_orth,irnn,cornn,exprnn,dtriv,antisymmetric,"
    "fastrnn,fastgrnn,nnrnn,dizzy,lem,lmu,urnn,eunn,lipschitz,indrnn"
)
TASKS = ["copy", "adding", "copy_masked", "first_recall", "kth_highest"]
SEEDS = 100


def stored(runs_dir: Path) -> int:
    """Store a record for each of the ten thousand cells and cut one in twenty short; return how many were."""
    asked = SuiteOverrides([*MODELS.split(",")], TASKS, list(range(SEEDS)), settings={"train.steps": 200})
    cells = runs_of(suite_of(None, asked)[1], asked)
    rng = random.Random(0)
    damaged = set(rng.sample(range(len(cells)), len(cells) // 20))
    for index, cell in enumerate(cells):
        record = made_record(seed=cell.spec.seed, rate=rng.uniform(0.003, 0.04))
        record = record.model_copy(update={"spec": cell.spec, "spec_hash": cell.spec.spec_hash()})
        path = store(runs_dir, record) / "record.json"
        if index in damaged:
            path.write_text(path.read_text()[:2000])
    return len(damaged)


@pytest.mark.slow
def test_ten_thousand_runs_are_ranked_in_five_seconds(tmp_path: Path) -> None:
    """Ten thousand runs of which one in twenty is damaged are ranked in five seconds."""
    damaged = stored(tmp_path)
    command = [sys.executable, "-m", "stablebench", "compare", "--models", MODELS, "--tasks", ",".join(TASKS)]
    command += ["--seeds", str(SEEDS), "--steps", "200", "--no-run", "--runs-dir", str(tmp_path)]
    times = []
    for _ in range(3):
        began = time.perf_counter()
        result = subprocess.run(command, capture_output=True, text=True, check=False)
        times.append(time.perf_counter() - began)
        assert result.returncode == 1, result.stderr[-500:]  # some cannot be read
        assert f"and {damaged - 20} more that cannot be read" in result.stderr
        assert all(f" {model} " in result.stdout for model in MODELS.split(","))
    assert sorted(times)[1] < 5, times
