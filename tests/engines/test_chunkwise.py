"""Matrix memories in chunks compute what the loop over their steps defines, with all gradients, at any length."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from passes import Outputs, assert_as_exact, assert_the_same, everything
from torch import Tensor
from typer.testing import CliRunner

from stablebench.cli.app import app
from stablebench.engines import choose, chunkwise
from stablebench.engines.fused import engine as fused
from stablebench.errors import UserError
from stablebench.models import recurrent_model
from stablebench.models import registry as model_registry
from stablebench.models.base import LayerOutputs, RecurrentModel, State, layer_outputs
from stablebench.models.blocks.chunkwise import Chunks, decays_between
from stablebench.models.network import Network
from stablebench.models.recurrent.deltanet import DeltaNet
from stablebench.models.recurrent.deltaproduct import DeltaProduct
from stablebench.models.recurrent.gated_deltanet import GatedDeltaNet
from stablebench.models.recurrent.mamba2 import Mamba2
from stablebench.models.recurrent.mamba3 import Mamba3
from stablebench.models.recurrent.mlstm import MLSTM
from stablebench.models.recurrent.rnn import Rnn
from stablebench.process.signals import Interrupted
from stablebench.runs.progress import Progress, Silent
from stablebench.specs.request import RunRequest
from stablebench.specs.resolve import resolve
from stablebench.training.run import ExecutionOptions, train

IN, HIDDEN = 3, 6
CPU = torch.device("cpu")
LENGTHS = [1, 2, 15, 16, 17, 33, 70]
"""Below, at and above the length of a chunk, 16 and 32."""
ROUNDINGS = 10, 1e-5
"""How far a pass in float32 may be from one in float64: sums are in another order, and some nearly cancel."""
MODELS: list[tuple[type[Any], dict[str, Any]]] = [
    (DeltaNet, {}),
    (DeltaNet, {"heads": 3, "key_size": 2, "negative_eigenvalues": True}),
    (GatedDeltaNet, {"heads": 2, "key_size": 3}),
    (GatedDeltaNet, {"negative_eigenvalues": True, "key_size": 20}),
    (DeltaProduct, {"heads": 2, "key_size": 3}),
    (DeltaProduct, {"householders": 3, "decay": True, "key_size": 4, "negative_eigenvalues": False}),
    (DeltaProduct, {"householders": 20, "key_size": 2}),
    (Mamba2, {"key_size": 40}),
    (Mamba2, {"heads": 3, "key_size": 4}),
    (Mamba3, {"key_size": 2}),
    (Mamba3, {"heads": 3, "key_size": 4}),
    (MLSTM, {"key_size": 20}),
    (MLSTM, {"heads": 3, "key_size": 4}),
    (MLSTM, {"heads": 2, "forget": "exp", "forget_bias": 0.0}),
]
NAMES = [f"{cls.__name__}-{i}" for i, (cls, _) in enumerate(MODELS)]
every_model = pytest.mark.parametrize(("cls", "arguments"), MODELS, ids=NAMES)


@pytest.fixture(autouse=True)
def _double() -> None:
    torch.set_default_dtype(torch.float64)
    torch.manual_seed(0)


def built(cls: type[Any], arguments: dict[str, Any]) -> Any:
    """Return a model whose gates and decays are not those of an initialisation, where they are nearly constant."""
    model = cls(IN, HIDDEN, **arguments)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return model


def network(*layers: RecurrentModel, readout: Any = "last", **how: Any) -> Network:
    return Network(list(layers), 2, readout=readout, input="values", **how)


@pytest.mark.parametrize("outputs", ["every", "last"])
@pytest.mark.parametrize("steps", LENGTHS)
@every_model
def test_it_is_the_loop_at_every_length(
    cls: type[Any], arguments: dict[str, Any], steps: int, outputs: Outputs
) -> None:
    """From a state that is not 0; outputs, the last state, and the gradients of inputs, state and parameters."""
    model = built(cls, arguments)
    expected = everything(recurrent_model.run_steps, model, steps, outputs, torch.float64)
    assert_the_same(everything(chunkwise.run, model, steps, outputs, torch.float64), expected)


@every_model
def test_every_form_in_chunks_is_as_exact_in_float32(cls: type[Any], arguments: dict[str, Any]) -> None:
    assert_as_exact(chunkwise.run, built(cls, arguments), 70, *ROUNDINGS)


def test_every_registered_matrix_memory_with_chunks_is_here() -> None:
    classes = [model_registry.model_entry(name).cls for name in model_registry.model_names()]
    assert {cls for cls in classes if hasattr(cls, "in_chunks")} == {cls for cls, _ in MODELS}


HARD: list[tuple[type[Any], dict[str, Any], dict[str, tuple[str, float, float]]]] = [
    (GatedDeltaNet, {"negative_eigenvalues": True}, {"steps": ("decay.step_size", 400.0, -200.0)}),
    (DeltaProduct, {"decay": True}, {"steps": ("decay.step_size", 400.0, -200.0)}),
    (Mamba2, {"heads": 2}, {"steps": ("decay.step_size", 400.0, -200.0)}),
    (Mamba3, {"heads": 2}, {"steps": ("rate", 4000.0, -2000.0)}),
]


@pytest.mark.parametrize(("cls", "arguments", "gates"), HARD, ids=[cls.__name__ for cls, _, _ in HARD])
def test_what_is_forgotten_at_once_leaves_the_rest_exact(
    cls: type[Any], arguments: dict[str, Any], gates: dict[str, tuple[str, float, float]]
) -> None:
    """Decays of exp(-1000) and less among others that are 1: quotients overflow, and differences of sums are rounded.

    The first input decides, one step in four; what is written after such a step is kept as it is.
    """
    model = built(cls, arguments)
    name, weight, bias = gates["steps"]
    with torch.no_grad():
        gate = model.get_submodule(name)
        gate.weight.zero_()
        gate.weight[:, 0] = weight
        gate.bias.fill_(bias)
    x = torch.randn(4, 50, IN, generator=torch.Generator().manual_seed(1))
    if cls is not Mamba3:
        decays = model.decay(x)
        assert (decays < 1e-300).any() and (decays == 1).any()
    assert_as_exact(chunkwise.run, model, 50, *ROUNDINGS)
    found = everything(chunkwise.run, model.float(), 50, "every", torch.float32)
    assert all(part.isfinite().all() for part in found)


@pytest.mark.parametrize("forget", ["sigmoid", "exp"])
def test_exponential_gates_of_any_size_leave_the_rest_exact(forget: str) -> None:
    """Gates of exp(-800) to exp(800), decided by one input each: written, kept and forgotten beyond every float."""
    model = built(MLSTM, {"heads": 2, "key_size": 3, "forget": forget})
    with torch.no_grad():
        model.gates.weight.zero_()
        model.gates.weight[:2, 0] = 400.0
        model.gates.weight[2:, 1] = 400.0
    x = torch.randn(4, 50, IN, generator=torch.Generator().manual_seed(1))
    i, f = model.gates(x).chunk(2, dim=-1)
    assert i.max() > 800 and i.min() < -800 and f.max() > 800 and f.min() < -800
    assert_as_exact(chunkwise.run, model, 50, *ROUNDINGS)
    found = everything(chunkwise.run, model.float(), 50, "every", torch.float32)
    assert all(part.isfinite().all() for part in found)


def test_equal_keys_that_are_turned_around_stay_exact() -> None:
    """Beta near 2 and one key only: the entries of the triangular system are as large as they can be."""
    model = DeltaProduct(IN, HIDDEN, key_size=3)
    with torch.no_grad():
        model.beta.bias.fill_(15.0)
        model.key.weight.mul_(0.01)
        model.key.bias.fill_(1.0)
    assert_as_exact(chunkwise.run, model, 200, *ROUNDINGS)


def test_decays_between_steps_are_their_products() -> None:
    decays = torch.rand(2, 5)
    decays[0, 2] = 1e-200
    decays[1, 1] = 1.0
    between = decays_between(decays.log())
    for row in range(2):
        for later in range(6):
            for earlier in range(6):
                product = decays[row, earlier:later].prod() if later >= earlier else torch.zeros(())
                torch.testing.assert_close(between[row, later, earlier], product, rtol=1e-13, atol=0)
    forgotten = torch.tensor([-1.0, -torch.inf, -1.0], requires_grad=True)
    between = decays_between(forgotten)
    assert between[2, 0] == 0 and between[3, 2] == torch.exp(torch.tensor(-1.0)) and between.isfinite().all()
    between.sum().backward()
    assert forgotten.grad is not None and forgotten.grad.isfinite().all()


@pytest.mark.parametrize(("steps", "writes", "count"), [(16, 1, 1), (17, 1, 2), (100, 1, 7), (100, 2, 13), (3, 40, 3)])
def test_chunks_cover_the_steps(steps: int, writes: int, count: int) -> None:
    """With less than one step a chunk to spare."""
    chunks = Chunks(steps, 8, writes)
    assert chunks.count == count and 0 <= chunks.count * chunks.length - steps < chunks.count
    x = torch.randn(2, steps, 6)
    assert torch.equal(chunks.joined(chunks.of(x, 3)), x)


@every_model
def test_a_carried_state_equals_one_run(cls: type[Any], arguments: dict[str, Any]) -> None:
    model, x = built(cls, arguments), torch.randn(2, 40, IN)
    whole, end = chunkwise.run(model, x)
    first, state = chunkwise.run(model, x[:, :21])
    second, after = chunkwise.run(model, x[:, 21:], state)
    parts = [part.values for part in (first, second) if isinstance(part, LayerOutputs)]
    torch.testing.assert_close(torch.cat(parts, dim=1), layer_outputs(model, whole, x), rtol=1e-11, atol=1e-12)
    torch.testing.assert_close(after, end, rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("readout", ["last", "every"])
@every_model
def test_padded_sequences_are_those_without_padding(cls: type[Any], arguments: dict[str, Any], readout: str) -> None:
    """Outputs and gradients of each sequence in a padded batch are those of the sequence for itself."""
    layers = [cls(IN, HIDDEN, **arguments), cls(HIDDEN, HIDDEN, **arguments)]
    subject = network(*layers, readout=readout, engine=chunkwise.run)
    lengths = torch.tensor([50, 3, 17])
    x = torch.randn(3, 50, IN) * (torch.arange(50) < lengths[:, None])[..., None]
    padded, _ = subject(x, None, lengths)
    rows = zip(padded, lengths.tolist(), strict=True)
    outputs = [row[:steps] if readout == "every" else row for row, steps in rows]
    alone = [subject(x[row : row + 1, :steps])[0][0] for row, steps in enumerate(lengths.tolist())]
    found, expected = (
        torch.autograd.grad(sum(part.square().sum() for part in parts), list(subject.parameters()))  # pyright: ignore
        for parts in (outputs, alone)
    )
    assert_the_same([part.detach() for part in outputs], [part.detach() for part in alone])
    assert_the_same(list(found), list(expected))


@pytest.mark.parametrize("readout", ["last", "every"])
def test_segments_and_blocks_give_the_same_gradients(readout: str) -> None:
    gradients = []
    for engine, recompute_every in ((recurrent_model.run_steps, None), (chunkwise.run, None), (chunkwise.run, 7)):
        torch.manual_seed(0)
        layers = GatedDeltaNet(IN, HIDDEN), Mamba3(HIDDEN, 4)
        subject = network(*layers, readout=readout, engine=engine, recompute_every=recompute_every)
        subject(torch.randn(3, 40, IN))[0].square().sum().backward()
        gradients.append([p.grad.clone() for p in subject.parameters() if p.grad is not None])
    for other in gradients[1:]:
        assert_the_same(other, gradients[0])


@every_model
def test_second_derivatives_are_those_of_the_loop(cls: type[Any], arguments: dict[str, Any]) -> None:
    model, x = built(cls, arguments), torch.randn(2, 18, IN, requires_grad=True)
    found = []
    for engine in (recurrent_model.run_steps, chunkwise.run):
        y = layer_outputs(model, engine(model, x)[0], x)
        (gradient,) = torch.autograd.grad(y.sin().sum(), x, create_graph=True)
        found.append(torch.autograd.grad(gradient.square().sum(), x)[0])
    assert_the_same(found[1:], found[:1])


def test_auto_takes_chunks_and_fused_what_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    for device in (CPU, torch.device("cuda")):
        choice = choose("auto", network(DeltaNet(IN, 4), Mamba2(4, 4)), device)
        assert (choice.name, choice.run, choice.note) == ("chunkwise", chunkwise.run, None)
    for layers in ((Rnn(IN, 4),), (DeltaNet(IN, 4), Rnn(4, 4))):
        assert choose("auto", network(*layers), CPU).name == "fused"
    assert choose("fused", network(DeltaNet(IN, 4)), CPU).run is fused.run
    monkeypatch.setattr(fused, "unavailable_reason", lambda device, dtype: "there is no compiler")
    assert choose("auto", network(DeltaNet(IN, 4)), CPU).name == "chunkwise"


class Forgetful(DeltaNet):
    """A user's DeltaNet with a step of its own."""

    def step(self, projected: Any, state: State, recurrent_weights: Tensor) -> State:
        """Return half of S_t."""
        (S,) = super().step(projected, state, recurrent_weights)
        return (0.5 * S,)


class Louder(DeltaNet):
    """A user's DeltaNet with an output of its own, which chunks do run."""

    def finish(self, read: Tensor, x: Tensor) -> Tensor:
        """Return twice y_t."""
        return 2 * super().finish(read, x)


def test_steps_of_their_own_are_not_run_in_chunks() -> None:
    with pytest.raises(UserError, match="it has a `step` of its own, which its `in_chunks` would not run"):
        choose("chunkwise", network(Forgetful(IN, 4)), CPU)
    with pytest.raises(TypeError, match="Rnn: it is no matrix memory with a form in chunks"):
        chunkwise.run(Rnn(IN, 4), torch.zeros(1, 1, IN))
    assert choose("auto", network(Forgetful(IN, 4)), CPU).name == "fused"
    changed = DeltaNet(IN, 4)
    changed.layer_output = lambda output, x: output  # pyright: ignore
    assert "`layer_output` of its own" in (chunkwise.unsupported_reason(changed) or "")
    model = Louder(IN, HIDDEN)
    expected = everything(recurrent_model.run_steps, model, 20, "every", torch.float64)
    assert_the_same(everything(chunkwise.run, model, 20, "every", torch.float64), expected)


SMALL = ["--task", "copy", "--T", "5", "--hidden", "4", "--batch-size", "4", "--set", "train.checkpoint_every=2"]


def trained(runs: Path, steps: int, *arguments: str) -> dict[str, Any]:
    command = ["train", "--model", "deltanet", *SMALL, "--steps", str(steps), "--runs-dir", str(runs), "--json"]
    result = CliRunner().invoke(app, [*command, *arguments])
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def test_a_run_says_what_ran_it_and_speed_times_it(tmp_path: Path) -> None:
    record = trained(tmp_path, 2)
    assert record["environment"]["engine"] == record["environment"]["backend"] == "chunkwise"
    assert record["self_check"] == "passed"
    command = ["speed", "--model", "mamba2", "--size", "2,4,5", "--repeats", "3", "--device", "cpu", "--json"]
    row = json.loads(CliRunner().invoke(app, [*command, "--no-memory"]).stdout)["sizes"][0]["models"][0]
    assert len(row["contenders"]["chunkwise"]["seconds"]) == 3 and row["ratios"]["chunkwise / fused"]["median"] > 0


def test_the_self_check_sees_a_wrong_chunk(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    right = DeltaNet.in_chunks

    def wrong(self: DeltaNet, x: Tensor, state: State, outputs: Outputs) -> Any:
        read, after = right(self, x, state, outputs)
        return None if read is None else 1.01 * read, (1.01 * after[0],)

    monkeypatch.setattr(DeltaNet, "in_chunks", wrong)
    record = trained(tmp_path, 2)
    assert record["self_check"] == "failed" and record["environment"]["engine"] == "reference"


def test_a_run_of_the_fused_engine_goes_on_with_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """As runs that were begun before there were chunks: whatever `auto` takes today, their numbers go on."""
    options = {"model.hidden": 4, "train.steps": 6, "train.batch_size": 4}
    resolved = resolve(RunRequest("deltanet", "copy", T=5, options=options, settings={"train.checkpoint_every": 2}))
    with monkeypatch.context() as before:
        before.setattr(chunkwise, "unsupported_reason", lambda model: "there are no chunks yet")
        whole = train(resolved, ExecutionOptions(tmp_path / "whole"), Silent()).record
        train(resolved, ExecutionOptions(tmp_path / "cut"), StopAt(3))
    record = train(resolved, ExecutionOptions(tmp_path / "cut"), Silent()).record
    assert record.resumed_at == [3] and record.resumed_elsewhere == []
    assert record.environment.engine == whole.environment.engine == "fused"
    assert record.result.test == whole.result.test


class StopAt(Silent):
    """Interrupts a run at a step."""

    def __init__(self, step: int) -> None:
        self.step = step

    def update(self, progress: Progress) -> bool:
        if progress.step == self.step:
            raise Interrupted
        return True
