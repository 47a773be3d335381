"""Flossing drives exponents to 0 along the exact gradient, resumes bit for bit and refuses what it cannot do."""

import math
import os
import signal
from pathlib import Path
from typing import Any

import pytest
import torch

from stablebench.data.batch import Batch
from stablebench.errors import UserError
from stablebench.models import registry as model_registry
from stablebench.models.network import Network
from stablebench.runs import checkpoint
from stablebench.runs.curve import read_curve
from stablebench.runs.progress import Progress, Silent
from stablebench.runs.store import RunFolder
from stablebench.schema.floss import FlossRecord, FlossSpec
from stablebench.specs.repeat_command import command_of
from stablebench.specs.resolve import Resolved, RunRequest, resolve
from stablebench.training.diverged import Diverged
from stablebench.training.floss import Flosser, largest_exponents
from stablebench.training.run import ExecutionOptions, train


def network_of(name: str, hidden: int = 6, layers: int = 1, **params: Any) -> Network:
    torch.manual_seed(0)
    entry = model_registry.model_entry(name)
    built = [entry.build(hidden if i else 2, hidden, entry.resolve(params), horizon=8, layer=i) for i in range(layers)]
    return Network(built, 2, readout="last", input="values").double()


def inputs(samples: int = 2, steps: int = 8) -> torch.Tensor:
    return torch.randn(samples, steps, 2, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def test_a_linear_chain_has_the_exponents_of_its_matrix() -> None:
    network = network_of("rnn", 4, activation="identity")
    layer = network.recurrent_layers[0]
    with torch.no_grad():
        layer.get_parameter("W").copy_(torch.diag(torch.tensor([0.5, 2.0, 1.0, 0.25], dtype=torch.float64)))
    found = largest_exponents(network, inputs(1, 8).repeat(1, 100, 1), 4).sort(descending=True).values[0]
    expected = torch.tensor([2.0, 1.0, 0.5, 0.25], dtype=torch.float64).log()
    torch.testing.assert_close(found.sum(), expected.sum(), rtol=1e-12, atol=0)  # the determinant's, whatever Q_1
    torch.testing.assert_close(found, expected, rtol=0, atol=0.02)  # Q_1 is turned towards them within a few steps


@pytest.mark.parametrize(("name", "layers"), [("rnn", 1), ("lstm", 1), ("gru", 2), ("cornn", 1)])
def test_the_gradient_is_that_of_finite_differences(name: str, layers: int) -> None:
    network, x = network_of(name, 4, layers), inputs()

    def loss() -> torch.Tensor:
        return largest_exponents(network, x, 3).square().sum(1).mean()

    parameters = [p for layer in network.recurrent_layers for p in layer.parameters() if p.requires_grad]
    gradients = torch.autograd.grad(loss(), parameters, allow_unused=True)
    rng = torch.Generator().manual_seed(2)
    directions = [torch.randn(p.shape, generator=rng, dtype=p.dtype) for p in parameters]
    slope = sum((g * d).sum() for g, d in zip(gradients, directions, strict=True) if g is not None)
    values = []
    for step in (1e-5, -1e-5):
        with torch.no_grad():
            for p, d in zip(parameters, directions, strict=True):
                p.add_(step * d)
            values.append(loss().item())
            for p, d in zip(parameters, directions, strict=True):
                p.sub_(step * d)
    assert abs(float(slope)) > 1e-3  # there is something to compare
    assert float(slope) == pytest.approx((values[0] - values[1]) / 2e-5, rel=1e-6)


@pytest.mark.parametrize("name", ["rnn", "lstm"])
def test_exponents_move_to_0(name: str) -> None:
    network, record = network_of(name), None
    flosser = Flosser(network, FlossSpec(exponents=2, lr=2e-2), 8)
    for _ in range(80):
        record = flosser.update(Batch(inputs(4), torch.zeros(4)), record, before=True)
    assert record is not None and record.before == 80 and record.during == 0 and record.seconds > 0
    assert max(map(abs, record.first)) > 0.3 and max(map(abs, record.last)) < 0.05


def test_a_flossing_update_leaves_other_gradients_alone() -> None:
    network = network_of("rnn")
    head, W = network.head.weight, network.recurrent_layers[0].get_parameter("W")
    before = head.detach().clone()
    W.grad = kept = torch.ones_like(W)
    Flosser(network, FlossSpec(exponents=2), 8).update(Batch(inputs(), torch.zeros(2)), None, before=False)
    assert torch.equal(head, before) and W.grad is kept and torch.equal(kept, torch.ones_like(W))
    assert network.training


@pytest.mark.parametrize(
    ("name", "spec", "message"),
    [
        ("skip_gru", {"exponents": 1}, "rounded to 0 or 1"),
        ("leaky_esn", {"exponents": 1}, "nothing in this model's recurrence is trained"),
        ("rnn", {"exponents": 7}, "must be <= 6, the size of the state"),
        ("rnn", {"exponents": 1, "steps": 9}, r"must be 2 \.\.\. 8"),
    ],
)
def test_what_cannot_be_flossed_is_refused(name: str, spec: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        Flosser(network_of(name), FlossSpec(**spec), 8)


def test_a_direction_that_dies_is_named() -> None:
    network = network_of("rnn", 4, activation="relu")
    with torch.no_grad():
        network.recurrent_layers[0].get_parameter("b").fill_(-100.0)
    with pytest.raises(Diverged, match="a direction of the state dies"):
        Flosser(network, FlossSpec(exponents=2), 8).update(Batch(inputs(), torch.zeros(2)), None, before=True)


# -- runs ------------------------------------------------------------------------------------------------------------


def small(model: str = "rnn", **floss: Any) -> Resolved:
    options = {"model.hidden": 6, "train.steps": 20, "train.batch_size": 4, "train.eval_every": 10}
    own = {f"floss.{key}": value for key, value in floss.items()}
    return resolve(RunRequest(model, "copy", T=5, options=options, settings={"train.checkpoint_every": 6} | own))


FLOSS = {"exponents": 2, "before": 5, "every": 4, "batch": 2, "lr": 0.01}


def test_a_run_without_flossing_is_what_it_was() -> None:
    plain, flossed = small().spec, small(**FLOSS).spec
    assert "floss" not in plain.model_dump() and "floss" not in plain.model_dump(mode="json")
    assert plain.spec_hash() == "c4a93bd3f798"
    assert flossed.spec_hash() != plain.spec_hash() != small(exponents=1).spec.spec_hash()
    assert small(exponents=3).spec.floss == FlossSpec(exponents=3, before=100, every=100, batch=8, lr=1e-3)


class InterruptAt(Silent):
    """Sends this process a signal when a run reaches a step."""

    def update(self, progress: Progress) -> bool:
        if progress.step == 7:
            os.kill(os.getpid(), signal.SIGINT)
        return True


def final_tensors(folder: RunFolder) -> dict[str, torch.Tensor]:
    return checkpoint.load(folder.checkpoints()[0]).tensors


@pytest.mark.parametrize("model", ["rnn", "exprnn"])
@pytest.mark.parametrize("during", ["training", "the updates before it"])
def test_a_resumed_run_is_the_unbroken_one(
    tmp_path: Path, model: str, during: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    resolved = small(model, **FLOSS)
    whole = train(resolved, ExecutionOptions(tmp_path / "whole"), Silent())
    assert whole.record.floss is not None and whole.record.floss.before == 5 and whole.record.floss.during == 5
    assert 0 < whole.record.floss.seconds <= whole.record.train_s
    with monkeypatch.context() as patched:
        if during != "training":
            original = Flosser.update

            def interrupted(self: Flosser, batch: Batch, record: FlossRecord | None, *, before: bool) -> FlossRecord:
                made = original(self, batch, record, before=before)
                if before and made.before == 3:
                    os.kill(os.getpid(), signal.SIGINT)
                return made

            patched.setattr(Flosser, "update", interrupted)
        reporter = InterruptAt() if during == "training" else Silent()
        broken = train(resolved, ExecutionOptions(tmp_path / "broken"), reporter)
    assert broken.record.status == "interrupted" and broken.record.step == (7 if during == "training" else 0)
    resumed = train(resolved, ExecutionOptions(tmp_path / "broken"), Silent())
    assert resumed.record.resumed_at == [broken.record.step] and resumed.record.floss is not None
    assert resumed.record.floss.first == whole.record.floss.first
    assert resumed.record.floss.last == whole.record.floss.last
    expected, found = final_tensors(whole.folder), final_tensors(resumed.folder)
    assert any(name.startswith("floss.") for name in expected) and found.keys() == expected.keys()
    for name, tensor in found.items():
        assert torch.equal(tensor, expected[name]), name
    lines = [
        [{k: v for k, v in line.items() if k != "wall_s"} for line in read_curve(run.folder.curve_path)]
        for run in (whole, resumed)
    ]
    assert lines[0] == lines[1]


def test_the_repeat_command_flosses_too(tmp_path: Path) -> None:
    outcome = train(small(**FLOSS), ExecutionOptions(tmp_path), Silent())
    command, exact = command_of(outcome.record, [0])
    assert exact and "floss.exponents=2" in command and math.isfinite(outcome.record.evaluations[-1].metrics["loss"])


def test_a_deep_model_is_refused() -> None:
    with pytest.raises(UserError, match="moves exponents of a recurrence"):
        resolve(RunRequest("mlp", "double_moon", options={"floss.exponents": 1}))
    with pytest.raises(UserError, match="must be at least 1, or nothing is flossed"):
        small(exponents=1, before=0, every=0)
    with pytest.raises(UserError, match="floss.exponents"):
        small(every=3)
