"""Two processes that `torchrun` started train the run of one: same losses, one run folder."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from small_cells import cells, folder_of

from stablebench.data.batch import Batch
from stablebench.errors import UserError
from stablebench.runs.progress import Silent
from stablebench.runs.store import RunFolder, all_runs
from stablebench.training.data_parallel import Shards, joined
from stablebench.training.run import Options, train

SMALL = ["--task", "copy", "--T", "5", "--set", "task.S=2", "--hidden", "4", "--engine", "reference"]
SMALL += ["--precision", "float64", "--batch-size", "7", "--set", "train.eval_every=10"]


def batch(n: int) -> Batch:
    return Batch(torch.arange(n), torch.arange(n), lengths=torch.arange(n) + 1)


@pytest.mark.parametrize(("n", "size"), [(8, 2), (7, 2), (7, 3), (3, 3)])
def test_the_parts_of_a_batch_are_the_batch_and_their_weights_add_up_to_one(n: int, size: int) -> None:
    shards = [Shards(rank, size) for rank in range(size)]
    parts = [one.part(batch(n)) for one in shards]
    for field in ("inputs", "targets", "lengths"):
        assert torch.equal(torch.cat([getattr(part, field) for part in parts]), getattr(batch(n), field))
    assert all(len(part.inputs) for part in parts)
    weights = [one.weighed(torch.tensor(1.0, dtype=torch.float64)).item() for one in shards]
    assert sum(weights) == pytest.approx(1, rel=1e-12)
    assert weights == pytest.approx([len(part.inputs) / n for part in parts])


def test_a_batch_with_fewer_examples_than_processes_is_taken_whole_by_each() -> None:
    shards = [Shards(rank, 3) for rank in range(3)]
    assert all(torch.equal(one.part(batch(2)).inputs, torch.arange(2)) for one in shards)
    assert [one.weighed(torch.tensor(3.0)).item() for one in shards] == [1.0] * 3


@pytest.mark.parametrize(
    ("streams", "batch_size", "message"),
    [
        (True, 8, "carries its states from one batch to the next"),
        (False, 1, "--batch-size must be >= 2, the processes"),
    ],
)
def test_a_run_that_cannot_be_divided_is_refused_by_the_first_process_alone(
    monkeypatch: pytest.MonkeyPatch, streams: bool, batch_size: int, message: str
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    (cell,) = cells(0, train__batch_size=batch_size, device="cpu")
    with pytest.raises(UserError, match=message), joined(cell.spec, streams):
        pass
    monkeypatch.setenv("RANK", "1")
    with pytest.raises(SystemExit) as ended, joined(cell.spec, streams):
        pass
    assert ended.value.code == 2


def torchrun(runs_dir: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command = [*launcher, "-m", "stablebench", "train", *SMALL, *arguments, "--runs-dir", str(runs_dir)]
    environment = {name: value for name, value in os.environ.items() if name != "WORLD_SIZE"}
    return subprocess.run(command, capture_output=True, text=True, env=environment)


def scores(folder: RunFolder) -> list[Any]:
    record = folder.read_record()
    curve = [json.loads(line) for line in folder.curve_path.read_text().splitlines()]
    keys = ("step", "loss", "gradient_norm", "accuracy")
    return [record.result.test, [{key: line[key] for key in keys if key in line} for line in curve]]


def close(found: Any, expected: Any) -> bool:
    if isinstance(expected, dict):
        return found.keys() == expected.keys() and all(close(found[key], expected[key]) for key in expected)
    if isinstance(expected, list):
        return len(found) == len(expected) and all(map(close, found, expected))
    return found == pytest.approx(expected, rel=1e-9)


@pytest.mark.slow  # torchrun starts three processes that import torch, twice
def test_two_processes_train_the_run_of_one_and_go_on_where_it_was_left(tmp_path: Path) -> None:
    (cell,) = cells(0, steps=40, model="lstm", precision="float64", train__batch_size=7)
    assert train(cell, Options(tmp_path / "one"), Silent()).record.status == "finished"
    assert torchrun(tmp_path / "two", "--model", "lstm", "--steps", "40").returncode == 0
    (two,) = all_runs(tmp_path / "two")
    assert close(scores(two), scores(folder_of(cell, tmp_path / "one")))  # float64: sums in another order
    record = two.read_record()
    assert record.environment.flags["processes"] == 2 and record.spec_hash == cell.spec.spec_hash()
    assert [path.name for path in two.path.parent.iterdir()] == [two.path.name]

    again = torchrun(tmp_path / "two", "--model", "lstm", "--steps", "40")
    assert again.returncode == 0 and again.stdout.count("Already finished") == 1, again.stderr


@pytest.mark.slow
def test_a_model_that_mixes_the_examples_of_a_batch_is_refused(tmp_path: Path) -> None:
    done = torchrun(tmp_path, "--model", "bn_lstm", "--steps", "10")
    assert done.returncode != 0 and "depends on the other examples of the batch" in done.stderr
    assert all(folder.read_record().status != "finished" for folder in all_runs(tmp_path))
