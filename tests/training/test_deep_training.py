"""Deep models in the training loop: resolved, interrupted, resumed, scored, and at 50,000 layers."""

import os
import re
import signal
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from stablebench.cli.app import app
from stablebench.data.task import sizes_of
from stablebench.errors import UserError
from stablebench.models import registry as model_registry
from stablebench.models.build import build_network
from stablebench.models.deep.roafnn import RoaFNN
from stablebench.models.deep_network import DeepNetwork
from stablebench.runs import checkpoint
from stablebench.runs.progress import Progress, Silent
from stablebench.runs.store import RunFolder
from stablebench.specs.resolve import Resolved, RunRequest, resolve
from stablebench.training.run import ExecutionOptions, train
from stablebench.training.score import score

STEPS = 40


def small(model: str = "roafnn", /, **settings: object) -> Resolved:
    options = {"model.hidden": 3, "model.layers": 12, "train.steps": STEPS, "train.eval_every": 10}
    every = {"train.checkpoint_every": 15, "optim.name": "adam", "optim.lr": 0.01} | settings
    return resolve(RunRequest(model, "double_moon", options=options, settings=every))


class InterruptAt(Silent):
    """Sends this process a signal when a run reaches a step."""

    def __init__(self, step: int) -> None:
        self.step = step

    def update(self, progress: Progress) -> bool:
        if progress.step == self.step:
            os.kill(os.getpid(), signal.SIGINT)
        return True


def final_tensors(folder: RunFolder) -> dict[str, torch.Tensor]:
    return checkpoint.load(folder.checkpoints()[0]).tensors


@pytest.mark.parametrize("engine", ["reference", "fused"])
@pytest.mark.parametrize("model", model_registry.model_names("deep"))
def test_interrupted_run_goes_on_bit_for_bit_and_can_be_scored(tmp_path: Path, model: str, engine: str) -> None:
    """An interrupted run goes on bit for bit and can be scored."""
    resolved = small(model, engine=engine)
    whole = train(resolved, ExecutionOptions(tmp_path / "whole"), Silent())
    assert whole.record.status == "finished" and whole.record.environment.engine == engine
    assert train(resolved, ExecutionOptions(tmp_path / "cut"), InterruptAt(17)).exit_code == 130
    resumed = train(resolved, ExecutionOptions(tmp_path / "cut"), Silent())
    assert resumed.record.resumed_at == [17] and resumed.record.result.test == whole.record.result.test
    expected = final_tensors(whole.folder)
    assert set(final_tensors(resumed.folder)) == set(expected)
    for name, tensor in final_tensors(resumed.folder).items():
        assert torch.equal(tensor, expected[name]), name
    assert score(whole.folder, whole.record).metrics == pytest.approx(whole.record.result.test, rel=1e-6)


@pytest.mark.parametrize("model", model_registry.model_names("deep"))
def test_the_engines_train_alike(tmp_path: Path, model: str) -> None:
    ends = []
    for engine in ("reference", "fused"):
        resolved = small(model, engine=engine, precision="float64", **{"train.steps": 20})
        ends.append(train(resolved, ExecutionOptions(tmp_path), Silent()).record.result.test)
    assert ends[0] == pytest.approx(ends[1], rel=1e-9)


def test_depth_is_the_horizon_and_says_where_it_came_from() -> None:
    card_own = resolve(RunRequest("roafnn", "double_moon"))
    assert card_own.spec.model.layers == card_own.spec.horizon == 50
    asked = resolve(RunRequest("roafnn", "double_moon", options={"model.layers": 7}))
    assert asked.spec.model.layers == asked.spec.horizon == 7 and asked.spec.readout == "last"
    assert asked.origin["horizon"] == "model.layers" and asked.origin["model.layers"] == "option"


def test_the_cards_depth_is_that_of_a_model_without_recipe(tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    path.write_text("from stablebench.models.deep.mlp import Mlp\n\nclass Mine(Mlp):\n    pass\n")
    found = resolve(RunRequest(f"{path}:Mine", "digits_flat"))
    assert found.spec.model.layers == 50 and found.origin["model.layers"] == "card"


def test_a_recipe_of_another_depth_is_taken_for_it() -> None:
    shallow, deep = (resolve(RunRequest("mlp", "double_moon", options={"model.layers": n})) for n in (3, 50))
    assert (shallow.spec.model.hidden, deep.spec.model.hidden) == (72, 2)
    deepest = resolve(RunRequest("roafnn", "double_moon", options={"model.layers": 50_000}))
    assert (deepest.spec.optim.name, deepest.spec.optim.lr, deepest.spec.train.steps) == ("adam", 0.1, 100)


def test_the_seed_decides_the_network_and_nothing_else_is_drawn() -> None:
    resolved = small()
    sizes = sizes_of(resolved.card, resolved.spec.task.params)
    before = torch.get_rng_state()
    first, again = (build_network(resolved.spec, resolved.card, sizes) for _ in range(2))
    other = build_network(
        replace(resolved, spec=resolved.spec.model_copy(update={"seed": 1})).spec, resolved.card, sizes
    )
    assert torch.equal(torch.get_rng_state(), before) and isinstance(first, DeepNetwork)
    assert all(torch.equal(v, again.state_dict()[k]) for k, v in first.state_dict().items())
    assert not any(torch.equal(v, other.state_dict()[k]) for k, v in first.state_dict().items())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["rnn", "double_moon"],
            "double_moon has static inputs and rnn is recurrent, which needs sequences. Take a deep",
        ),
        (["mlp", "copy"], r"copy has sequences and mlp is a deep model, .* \(digits_flat, double_moon\)"),
        (["mlp", "double_moon", "--recompute-every", "5"], "--recompute-every: .* a deep model has none"),
        (["mlp", "double_moon", "--T", "5"], "double_moon has a fixed length"),
        (["mlp", "double_moon", "--engine", "scan"], "--engine scan is for linear recurrences"),
        (["mlp", "double_moon", "--layers", "2"], "`layers` must be >= 3"),
        (["roafnn", "double_moon", "--layers", "4", "--set", "model.rho=3.5"], "`rho` must be <= 3 "),
        (["mlp", "double_moon", "--layers", "4", "--set", "model.widths=[2, 0]"], "widths"),
        (["mlp", "double_moon", "--set", "model.depth=3"], "depth: unknown key"),
    ],
)
def test_what_does_not_fit_ends_with_one_message(tmp_path: Path, arguments: list[str], message: str) -> None:
    model, task, *more = arguments
    result = CliRunner().invoke(app, ["train", "--model", model, "--task", task, *more, "--runs-dir", str(tmp_path)])
    assert result.exit_code == 2 and "Traceback" not in result.output
    assert re.search(message, result.stderr) and len(result.stderr.splitlines()) <= 3


def test_shipped_deep_model_on_sequence_is_refused_by_probe_too() -> None:
    """A shipped deep model on a sequence is refused by the probe too."""
    with pytest.raises(UserError, match="deep model"):
        resolve(RunRequest("highway", "adding"))


def test_fifty_thousand_layers_cost_no_python_a_layer(tmp_path: Path) -> None:
    began = time.process_time()
    torch.manual_seed(0)
    network = DeepNetwork(RoaFNN(2, 2, layers=50_000, rho=5.0), 1)
    assert time.process_time() - began < 2  # 0.03 s on a quiet core; drawn one by one, some 10 s
    assert len(list(network.parameters())) == 4

    resolved = resolve(
        RunRequest(
            "roafnn",
            "double_moon",
            options={"model.layers": 50_000, "train.steps": 3, "train.eval_every": 3},
            settings={"train.checkpoint_every": 1},
        )
    )
    began = time.process_time()
    outcome = train(resolved, ExecutionOptions(tmp_path), Silent())
    assert time.process_time() - began < 30  # about 3 s; a loop over layers takes 20 s an update
    assert outcome.record.parameters == 299_991
    assert outcome.record.environment.engine == "fused" and outcome.record.status == "finished"
    assert len(final_tensors(outcome.folder)) < 25


@pytest.mark.smoke
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_figure_1_is_reproduced(tmp_path: Path, seed: int) -> None:
    def accuracy(model: str, layers: int) -> float:
        resolved = resolve(RunRequest(model, "double_moon", options={"model.layers": layers, "seed": seed}))
        return (train(resolved, ExecutionOptions(tmp_path), Silent()).record.result.test or {})["accuracy"]

    assert accuracy("mlp", 3) > 0.99
    assert accuracy("mlp", 50) < 0.6
    assert accuracy("roafnn", 50) > 0.99
    assert accuracy("roafnn", 50_000) > 0.99
