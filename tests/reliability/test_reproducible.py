"""The same spec gives the same weights, whatever else runs; `verify` shows it for a run that is there."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_runs import RunFolder, assert_same, folder_of, in_a_process, run, tensors, tiny
from typer.testing import CliRunner, Result

from stablebench.cli.app import app
from stablebench.execution.events import RunCallbacks
from stablebench.execution.local import run_locally
from stablebench.runs import checkpoint
from stablebench.specs.request import Resolved
from stablebench.training.run import ExecutionOptions

MODELS = ["roarnn", "exprnn", "rnn", "lstm"]
MORE_MODELS = (
    "antisymmetric cornn dizzy dtriv eunn eyernn fastgrnn gru indrnn lem lmu nnrnn ornn scornn ugru urnn".split()
)


def run_all(cells: list[Resolved], runs_dir: Path, workers: int) -> None:
    assert run_locally(cells, ExecutionOptions(runs_dir), workers, RunCallbacks()) == 0


@pytest.mark.slow
def test_workers_and_order_of_runs_change_no_bit(tmp_path: Path) -> None:
    """Neither the number of workers nor the order of cells changes a bit."""
    cells = [tiny(model).seeded(seed) for model in MODELS for seed in (0, 1)]
    run_all(cells, tmp_path / "one", 1)
    run_all(cells[::-1], tmp_path / "three", 3)
    for cell in cells:
        assert_same(folder_of(cell, tmp_path / "one"), folder_of(cell, tmp_path / "three"))


def test_what_ran_before_in_a_process_changes_nothing(tmp_path: Path) -> None:
    alone = in_a_process(tiny("lstm"), tmp_path / "alone")
    alone.join(120)
    torch.manual_seed(99)
    torch.rand(1000)
    run(tiny("rnn", "copy", seed=3), tmp_path / "before")
    assert_same(folder_of(tiny("lstm"), tmp_path / "alone"), run(tiny("lstm"), tmp_path / "after"))


@pytest.mark.slow
def test_a_hundred_runs_twice(tmp_path: Path) -> None:
    """Twenty models on five tasks, each twice, in another order and at another number of workers."""
    own: dict[str, dict[str, Any]] = {
        "copy": {},
        "adding": {"optim.name": "rmsprop"},
        "first_recall": {"optim.name": "sgd", "optim.momentum": 0.9},
        "kth_highest": {"optim.name": "adagrad"},
        "digits": {"train.steps": 6},
    }
    cells = [tiny(model, task, **settings) for model in MODELS + MORE_MODELS for task, settings in own.items()]
    assert len({folder_of(cell, tmp_path).path for cell in cells}) == 100
    run_all(cells, tmp_path / "one", 1)
    run_all(cells[::-1], tmp_path / "two", 2)
    pairs = [[folder_of(cell, tmp_path / where) for where in ("one", "two")] for cell in cells]
    unfinished = [str(f.path) for pair in pairs for f in pair if f.read_record().status != "finished"]
    assert unfinished == []
    for one, two in pairs:
        assert_same(one, two)


# -- verify -----------------------------------------------------------------------------------------------------------


def verify(folder: RunFolder, *more: str) -> Result:
    return CliRunner().invoke(app, ["verify", str(folder.path), "-q", *more])


@pytest.mark.parametrize(("model", "task", "best"), [("rnn", "copy", False), ("lstm", "digits", True)])
def test_verify_finds_a_run_equal_to_its_end(model: str, task: str, best: bool, tmp_path: Path) -> None:
    folder = run(tiny(model, task), tmp_path)
    before = {path: path.read_bytes() for path in folder.path.rglob("*") if path.is_file()}
    result = verify(folder, "--json")
    assert result.exit_code == 0, result.output
    verdict = json.loads(result.stdout)
    assert verdict["equal"] and verdict["result"] and verdict["steps"] == 24 and verdict["checkpoints"] == [22, 24]
    assert verdict["lines"] == 5 and verdict["differences"] == []
    assert {path: path.read_bytes() for path in folder.path.rglob("*") if path.is_file()} == before


def test_verify_compares_as_far_as_it_is_told(tmp_path: Path) -> None:
    folder = run(tiny(), tmp_path)
    result = verify(folder, "--steps", "10")
    assert result.exit_code == 0 and "equal: 10 updates run again" in result.stdout
    assert "2 lines of the curve" in result.stdout and "no checkpoint lies within" in result.stdout


def test_verify_says_where_a_loss_parts(tmp_path: Path) -> None:
    folder = run(tiny(), tmp_path)
    lines = folder.curve_path.read_text().splitlines(keepends=True)
    line = json.loads(lines[2])
    line["loss"] = float(torch.nextafter(torch.tensor(line["loss"]), torch.tensor(9.0)))
    folder.curve_path.write_text("".join([*lines[:2], json.dumps(line) + "\n", *lines[3:]]))
    result = verify(folder)
    assert result.exit_code == 1 and f"differs at step {line['step']}: {line['split']} loss" in result.stdout


def test_verify_says_which_tensor_parts_by_a_single_bit(tmp_path: Path) -> None:
    folder = run(tiny(), tmp_path)
    path = folder.checkpoints()[1]
    found = checkpoint.load(path)
    weights = found.tensors["network.head.weight"]
    weights.view(torch.int32).view(-1)[0] ^= 1
    checkpoint.save(path, found)
    result = verify(folder)
    assert result.exit_code == 1 and "differs at step 22: network head.weight differs by up to" in result.stdout


def test_verify_says_that_the_result_parts(tmp_path: Path) -> None:
    folder = run(tiny(), tmp_path)
    record = folder.read_record()
    result = record.result.model_copy(update={"test": {**(record.result.test or {}), "loss": 0.0}})
    folder.write_record(record.model_copy(update={"result": result}))
    told = verify(folder)
    assert told.exit_code == 1 and "differs at the end: test" in told.stdout


def test_verify_holds_a_diverged_run_to_its_divergence(tmp_path: Path) -> None:
    wild = {"optim.name": "sgd", "optim.lr": 1e30, "model.activation": "identity", "train.steps": 50}
    folder = run(tiny(**wild), tmp_path)
    assert folder.read_record().status == "diverged"
    result = verify(folder)
    assert result.exit_code == 0 and "the result" in result.stdout, result.output


def test_verify_takes_an_interrupted_run(tmp_path: Path) -> None:
    process = in_a_process(tiny(), tmp_path, ("update", 18))
    process.join(120)
    folder = folder_of(tiny(), tmp_path)
    result = verify(folder)
    assert result.exit_code == 0 and "the checkpoints of step 14, 16" in result.stdout, result.output


def test_verify_of_no_run_is_the_users_mistake(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["verify", str(tmp_path)])
    assert result.exit_code == 2 and "no run with a readable record.json" in result.stderr


# -- the environment --------------------------------------------------------------------------------------------------


def test_record_holds_what_it_takes_to_rebuild_environment(tmp_path: Path) -> None:
    """The record holds what it takes to rebuild the environment."""
    from importlib.metadata import version

    environment = run(tiny(), tmp_path).read_record().environment
    packages = dict(line.split("==") for line in environment.packages)
    assert {"torch", "numpy", "safetensors", "pydantic"} <= set(packages)
    assert packages["torch"] == version("torch") and packages["numpy"] == version("numpy")
    assert environment.versions["python"] == sys.version.split()[0]
    assert environment.platform.startswith("Linux") or sys.platform != "linux"
    assert "PyTorch built with" in environment.torch_config
    assert environment.flags.keys() >= {"flush_denormal", "deterministic", "float32_matmul_precision"}


def test_the_weights_are_the_seeds_and_nothing_elses(tmp_path: Path) -> None:
    a, b = (tensors(run(tiny("rnn", "copy", seed=seed), tmp_path)) for seed in (0, 1))
    assert not torch.equal(a["network.head.weight"], b["network.head.weight"])
