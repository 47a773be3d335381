"""A deep model under its readout: what it passes on, which engine runs it, and a user's own model."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from stablebench import engines
from stablebench.engines.fused import engine as fused
from stablebench.engines.fused.plan import StepPlan
from stablebench.errors import UserError
from stablebench.models import deep_model
from stablebench.models import registry as model_registry
from stablebench.models.base import DeepModel, LayerGroup, ParameterGroup, State, with_main_group
from stablebench.models.deep.mlp import Mlp
from stablebench.models.deep.roafnn import RoaFNN
from stablebench.models.deep_network import DeepNetwork

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def _double() -> None:
    torch.set_default_dtype(torch.float64)
    torch.manual_seed(0)


class Oscillators(DeepModel):
    """Two states behind every layer; has a group, a penalty, a hook, an output of its own and a readout of its own."""

    output_state = 1

    def __init__(self, in_features: int, hidden: int, *, count: int = 6) -> None:
        super().__init__(in_features, hidden)
        self.first = nn.Linear(in_features, hidden)
        self.k = nn.Parameter(torch.rand(count, hidden))
        self.W = nn.Parameter(torch.randn(count, hidden, hidden))

    def embed_input(self, x: Tensor) -> State:
        h = self.first(x)
        return h, torch.zeros_like(h)

    def layer_groups(self) -> list[LayerGroup]:
        return [LayerGroup((self.k[:2], self.W[:2])), LayerGroup((self.k[2:], self.W[2:]))]

    def step(self, layer: tuple[Tensor, ...], state: State, shared: None) -> State:
        (y, z), (k, W) = state, layer
        z = z + 0.1 * (torch.tanh(y @ W.t()) - k * y)
        return y + 0.1 * z, z

    def penalty(self) -> Tensor | None:
        return self.k.square().sum()

    def parameter_groups(self) -> list[ParameterGroup]:
        return with_main_group(self, ParameterGroup("stiffness", [self.k]))

    def after_update(self) -> None:
        self.k.data.clamp_(min=0.5)

    def readout(self, outputs: int) -> nn.Module:
        return nn.Sequential(nn.Linear(self.hidden, outputs), nn.Sigmoid())


def test_the_output_state_of_the_last_layer_is_read() -> None:
    model = Oscillators(2, 3)
    network, x = DeepNetwork(model, 4), torch.randn(5, 2)
    y, z = model.embed_input(x)
    for k, W in zip(model.k, model.W, strict=True):
        z = z + 0.1 * (torch.tanh(y @ W.T) - k * y)
        y = y + 0.1 * z
    output, states = network(x)
    torch.testing.assert_close(states, (y, z), rtol=1e-13, atol=1e-13)
    assert torch.equal(output, network.head(states[1])) and output.shape == (5, 4)
    assert 0 < output.min() and output.max() < 1


def test_groups_penalties_and_hooks_are_passed_on() -> None:
    model = Oscillators(2, 3)
    network = DeepNetwork(model, 4)
    main, stiffness = network.parameter_groups()
    assert (main.name, stiffness.name) == ("main", "stiffness") and stiffness.parameters == [model.k]
    assert {id(p) for p in main.parameters} == {id(p) for p in network.parameters()} - {id(model.k)}
    assert network.penalty() == model.k.square().sum() and DeepNetwork(Mlp(2, 3, layers=3), 1).penalty() is None
    network.after_update()
    assert model.k.min() == 0.5


def test_several_states_and_stretches_agree_under_fused_engine() -> None:
    """Several states and stretches agree under the fused engine."""
    model = Oscillators(2, 3)
    x = torch.randn(5, 2)
    assert all(isinstance(fused.plan_layers(model, s, model.embed_input(x)), StepPlan) for s in model.layer_groups())
    found = []
    for run in (deep_model.run_layers, fused.run_layers):
        network = DeepNetwork(model, 1, engine=run)
        network.head = nn.Identity()
        model.zero_grad()
        output, states = network(x)
        (output.square().sum() + states[0].sum()).backward()
        found.append([output.detach(), *(p.grad.clone() for p in model.parameters() if p.grad is not None)])
    for a, b in zip(*found, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_values_are_taken_in_either_precision(dtype: torch.dtype) -> None:
    network = DeepNetwork(Mlp(2, 3, layers=4), 1)
    assert network(torch.ones(5, 2, dtype=dtype))[0].dtype == network.dtype == torch.float64


@pytest.mark.parametrize("widths", [[3, 3, 3, 3], [3, 5, 5, 3]])
def test_auto_and_fused_take_compiled_chain(widths: list[int]) -> None:
    """Auto and fused take the compiled chain where layers are of one width."""
    network = DeepNetwork(RoaFNN(2, 3, layers=6, widths=widths), 1)
    for name in ("auto", "fused"):
        choice = engines.choose(name, network, CPU)
        assert (choice.run, choice.name, choice.note) == (fused.run_layers, "fused", None)
    assert engines.choose("reference", network, CPU).run is deep_model.run_layers


class Sorting(Oscillators):
    """A step that cannot be fused."""

    def step(self, layer: tuple[Tensor, ...], state: State, shared: None) -> State:
        y, z = super().step(layer, state, shared)
        return y.sort(dim=1).values, z


def test_what_cannot_be_fused_runs_in_the_loop_or_is_refused() -> None:
    network = DeepNetwork(Sorting(2, 3), 1)
    choice = engines.choose("auto", network, CPU)
    assert choice.run is deep_model.run_layers and choice.name == "reference" and "`sort`" in str(choice.note)
    with pytest.raises(UserError, match="--engine fused cannot run this model: .*sort"):
        engines.choose("fused", network, CPU)
    x = torch.randn(3, 2)
    network.engine = fused.run_layers
    torch.testing.assert_close(network(x)[0], DeepNetwork.forward(network, x)[0])


def test_scan_and_unknown_engines_are_refused() -> None:
    network = DeepNetwork(Mlp(2, 3, layers=4), 1)
    with pytest.raises(UserError, match="--engine scan is for linear recurrences over time"):
        engines.choose("scan", network, CPU)
    with pytest.raises(UserError, match="No engine named 'fuse'"):
        engines.choose("fuse", network, CPU)


def test_a_machine_without_a_compiler_runs_the_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fused, "unavailable_reason", lambda *_: "there is no C compiler")
    network = DeepNetwork(Mlp(2, 3, layers=5), 1)
    auto = engines.choose("auto", network, CPU)
    assert auto.name == "reference" and "no C compiler" in str(auto.note)
    with pytest.raises(UserError, match="--engine fused cannot run this model: there is no C compiler. Take"):
        engines.choose("fused", network, CPU)


MINE = '''
"""Mine: every layer halves what it was given and adds its own bias."""
import torch
from torch import nn
from stablebench.models.base import DeepModel, LayerGroup, RecurrentModel
from stablebench.schema.strict import Count, Positive

class Mine(DeepModel):
    def __init__(self, in_features: int, hidden: int, *, layers: Count, keep: Positive = 0.5) -> None:
        super().__init__(in_features, hidden)
        self.keep = keep
        self.first = nn.Linear(in_features, hidden)
        self.b = nn.Parameter(torch.zeros(layers - 2, hidden))

    def embed_input(self, x):
        return (self.first(x),)

    def layer_groups(self):
        return [LayerGroup((self.b,))]

    def step(self, layer, state, shared):
        return (self.keep * state[0] + layer[0],)

class Half(DeepModel):
    def step(self, layer, state, shared):
        return state
'''


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    path = tmp_path / "mine.py"
    path.write_text(MINE)
    return path


def test_a_users_file_may_hold_a_deep_model(mine: Path) -> None:
    entry = model_registry.model_entry(f"{mine}:Mine")
    assert entry.family == "deep" and entry.resolve({"keep": 0.25}) == {"keep": 0.25} and entry.source is not None
    model: Any = entry.build_deep(2, 3, {"keep": 0.25}, layers=7)
    assert model.b.shape == (5, 3) and model.keep == 0.25
    with pytest.raises(UserError, match="keep"):
        entry.resolve({"keep": -1.0})


def test_a_users_file_without_a_whole_model_is_refused(mine: Path) -> None:
    with pytest.raises(UserError, match="Half must define `layer_groups`"):
        model_registry.model_entry(f"{mine}:Half")
    with pytest.raises(UserError, match=r"extends RecurrentModel or DeepModel .*it has Half, Mine\."):
        model_registry.model_entry(f"{mine}:Other")
