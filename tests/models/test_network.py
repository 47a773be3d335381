"""The network: inputs encoded, layers stacked, their groups, penalties and hooks put together."""

from typing import Literal

import pytest
import torch
from torch import Tensor, nn

from stablebench.engines.fused import engine as fused
from stablebench.models import recurrent_model
from stablebench.models import registry as model_registry
from stablebench.models.base import ParameterGroup, RecurrentModel, State, with_main_group
from stablebench.models.network import EngineRun, Network
from stablebench.models.recurrent.lstm import LSTM
from stablebench.models.recurrent.rnn import Rnn
from stablebench.models.recurrent.urnn import URNN

Readout = Literal["last", "every"]


@pytest.fixture(autouse=True)
def _double() -> None:
    torch.set_default_dtype(torch.float64)
    torch.manual_seed(0)


class Adder(RecurrentModel):
    """Sums its inputs; has a group, a penalty and a hook, and an output of another width than its state."""

    output_state = 1

    def __init__(self, in_features: int, hidden: int, *, weight: float = 1.0, penalised: bool = True) -> None:
        super().__init__(in_features, hidden)
        self.scale = nn.Parameter(torch.tensor(weight))
        self.spare = nn.Parameter(torch.tensor(weight))
        self.penalised = penalised

    @property
    def state_sizes(self) -> tuple[int, ...]:
        return (1, self.hidden)

    def step(self, projected: Tensor, state: State, recurrent_weights: None) -> State:
        total = state[0] + self.scale * projected.sum(-1, keepdim=True)
        return total, total.expand(-1, self.hidden)

    def penalty(self) -> Tensor | None:
        return self.scale.square() if self.penalised else None

    def parameter_groups(self) -> list[ParameterGroup]:
        return with_main_group(self, ParameterGroup("slow", [self.scale], rule="exponential"))

    def after_update(self) -> None:
        self.scale.data.clamp_(max=1)

    def initialise_readout(self, readout: nn.Linear) -> None:
        nn.init.constant_(readout.weight, self.hidden)


def test_tokens_are_fed_one_hot_in_precision_of_parameters() -> None:
    """Tokens are fed one hot in the precision of the parameters."""
    network = Network([Rnn(4, 3)], 2, readout="last", input="tokens").float()
    tokens = torch.tensor([[2, 0, 3]])
    encoded = network.encode(tokens)
    assert encoded.dtype == torch.float32
    assert torch.equal(encoded, torch.eye(4, dtype=torch.float32)[tokens])
    assert network(tokens)[0].dtype == torch.float32


def test_values_are_fed_as_they_are() -> None:
    network = Network([Rnn(2, 3)], 2, readout="last", input="values")
    x = torch.randn(5, 4, 2, dtype=torch.float32)
    encoded = network.encode(x)
    assert encoded.dtype == torch.float64 and torch.equal(encoded, x.double())


@pytest.mark.parametrize("readout", ["last", "every"])
def test_layers_feed_each_other_and_the_readout(readout: Readout) -> None:
    layers = [LSTM(2, 3), Adder(3, 4), Rnn(4, 5)]
    network, x = Network(layers, 6, readout=readout, input="values"), torch.randn(7, 8, 2)
    outputs, states = network(x)
    for layer, state in zip(layers, states, strict=True):
        x, end = layer(x)
        assert all(torch.equal(s, e) for s, e in zip(state, end, strict=True))
    expected = x if readout == "every" else x[:, -1]
    torch.testing.assert_close(outputs, expected @ network.head.weight.T + network.head.bias, rtol=1e-12, atol=1e-12)


def test_states_carried_on_equal_one_run() -> None:
    network, x = Network([LSTM(2, 3), Rnn(3, 4)], 2, readout="every", input="values"), torch.randn(5, 9, 2)
    whole, end = network(x)
    first, states = network(x[:, :4])
    second, after = network(x[:, 4:], states)
    torch.testing.assert_close(torch.cat([first, second], dim=1), whole, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(after, end, rtol=1e-12, atol=1e-12)


def test_engine_is_asked_for_every_output_only_if_needed() -> None:
    """The engine is asked for every output only where one is needed."""
    asked = []

    def engine(
        model: RecurrentModel,
        x: Tensor,
        state: State | None = None,
        outputs: Readout = "every",
        recurrent_weights: object = None,
    ) -> tuple[Tensor, State]:
        asked.append((type(model), outputs))
        return recurrent_model.run_steps(model, x, state, outputs)

    for readout in ("last", "every"):
        Network([LSTM(2, 3), Rnn(3, 4)], 2, readout=readout, input="values", engine=engine)(torch.randn(1, 2, 2))
    assert asked == [(LSTM, "every"), (Rnn, "last"), (LSTM, "every"), (Rnn, "every")]


def test_groups_of_one_name_are_merged_and_readout_is_in_main() -> None:
    """Groups of one name are merged and the readout is in main."""
    layers = [Adder(2, 3), Adder(3, 3)]
    network = Network([*layers], 2, readout="last", input="values")
    main, slow = network.parameter_groups()
    assert (main.name, main.rule) == ("main", "optimiser") and (slow.name, slow.rule) == ("slow", "exponential")
    assert [id(p) for p in slow.parameters] == [id(layer.scale) for layer in layers]
    expected = {id(p) for p in (*(layer.spare for layer in layers), *network.head.parameters())}
    assert {id(p) for p in main.parameters} == expected and len(main.parameters) == 4


def test_a_group_keeps_its_rule() -> None:
    layers: list[RecurrentModel] = [URNN(2, 4), URNN(4, 4)]
    groups = Network(layers, 2, readout="last", input="values").parameter_groups()
    assert [(g.name, g.rule, len(g.parameters)) for g in groups] == [
        ("main", "optimiser", 6),
        ("orthogonal", "exponential", 2),
    ]


def test_penalties_add_up() -> None:
    layers: list[RecurrentModel] = [Adder(2, 3, weight=2.0), Adder(3, 3, penalised=False), Adder(3, 3, weight=3.0)]
    network = Network(layers, 2, readout="last", input="values")
    penalty = network.penalty()
    assert penalty is not None and penalty.item() == 13 and penalty.requires_grad
    assert Network([Rnn(2, 3)], 2, readout="last", input="values").penalty() is None


def test_the_hook_of_every_layer_runs() -> None:
    layers = [Adder(2, 3, weight=2.0), Adder(3, 3, weight=5.0)]
    Network([*layers], 2, readout="last", input="values").after_update()
    assert [layer.scale.item() for layer in layers] == [1, 1]


def test_the_last_layer_initialises_the_readout() -> None:
    assert (Network([Rnn(2, 5), Adder(5, 3)], 2, readout="last", input="values").head.weight == 3).all()
    assert (Network([Adder(2, 3), Rnn(3, 5)], 2, readout="last", input="values").head.weight.abs() < 1).all()


def _gradients(network: Network, inputs: Tensor) -> list[Tensor]:
    network.zero_grad()
    outputs, states = network(inputs)
    (outputs.square().sum() + torch.stack([s.sum() for state in states for s in state]).sum()).backward()
    return [outputs.detach(), *(p.grad.clone() for p in network.parameters() if p.grad is not None)]


@pytest.mark.parametrize("engine", [recurrent_model.run_steps, fused.run])
@pytest.mark.parametrize("readout", ["last", "every"])
@pytest.mark.parametrize("every", [1, 3, 7, 50])
def test_recomputing_changes_nothing_but_memory(every: int, readout: Readout, engine: EngineRun) -> None:
    torch.set_default_dtype(torch.float64)
    torch.manual_seed(0)
    layers: list[RecurrentModel] = [
        model_registry.model_entry("exprnn").cls(4, 6),
        model_registry.model_entry("lstm").cls(6, 5),
    ]
    network = Network(layers, 3, readout=readout, input="tokens", engine=engine)
    inputs = torch.randint(4, (2, 7))
    expected = _gradients(network, inputs)
    network.recompute_every = every
    found = _gradients(network, inputs)
    assert len(found) == len(expected) == 1 + len(list(network.parameters()))
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)
    with torch.no_grad():
        torch.testing.assert_close(network(inputs)[0], expected[0], rtol=1e-12, atol=1e-12)


def test_recomputing_builds_each_transition_once(monkeypatch: pytest.MonkeyPatch) -> None:
    layer = model_registry.model_entry("exprnn").cls(4, 6)
    network = Network([layer], 3, readout="last", input="tokens", recompute_every=2)
    calls: list[int] = []
    monkeypatch.setattr(layer, "recurrent_weights", lambda build=layer.recurrent_weights: (calls.append(1), build())[1])
    _gradients(network, torch.randint(4, (2, 7)))
    assert len(calls) == 1


def test_recomputing_keeps_few_states() -> None:
    layer = model_registry.model_entry("rnn").cls(4, 16)
    network = Network([layer], 3, readout="every", input="tokens", engine=fused.run)
    kept: list[int] = []

    def pack(tensor: Tensor) -> Tensor:
        kept.append(tensor.untyped_storage().nbytes())
        return tensor

    def kept_bytes() -> int:
        kept.clear()
        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            outputs, _ = network(torch.randint(4, (8, 200)))
        assert outputs.requires_grad
        return sum(kept)

    whole = kept_bytes()
    network.recompute_every = 20
    assert kept_bytes() < whole / 5


@pytest.mark.parametrize("recompute_every", [None, 2])
@pytest.mark.parametrize("engine", [recurrent_model.run_steps, fused.run])
def test_of_padded_sequences_the_last_real_step_is_read(engine: EngineRun, recompute_every: int | None) -> None:
    network = Network([Rnn(3, 4), LSTM(4, 5)], 2, readout="last", input="values", recompute_every=recompute_every)
    network.engine = engine
    x, lengths = torch.randn(3, 6, 3), torch.tensor([2, 6, 1])
    found, _ = network(torch.nn.functional.pad(x, (0, 0, 0, 5)), None, lengths)  # all of it padding, not computed
    for i, length in enumerate(lengths):
        torch.testing.assert_close(found[i], network(x[i : i + 1, :length])[0][0])
    found.sum().backward()
    gradient = [p.grad.clone() for p in network.parameters() if p.grad is not None]
    network.zero_grad()
    torch.stack([network(x[i : i + 1, :n])[0].sum() for i, n in enumerate(lengths)]).sum().backward()
    torch.testing.assert_close(gradient, [p.grad for p in network.parameters() if p.grad is not None])


def test_embedded_tokens_are_their_vectors() -> None:
    embedding = nn.Embedding(5, 3)
    network = Network([Rnn(3, 4)], 2, readout="every", input="tokens", embedding=embedding)
    tokens = torch.tensor([[4, 0, 2]])
    assert torch.equal(network.encode(tokens), embedding.weight[tokens])
    network(tokens)[0].sum().backward()
    assert embedding.weight.grad is not None and embedding.weight.grad[4].any() and not embedding.weight.grad[1].any()
    assert "embedding.weight" in network.state_dict()
    assert any(p is embedding.weight for group in network.parameter_groups() for p in group.parameters)
