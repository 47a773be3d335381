"""Shares of the parameters' gradient by lag, and norms in the inputs, against closed forms and plain autograd."""

import copy
import json
import math
from collections.abc import Sequence

import pytest
import torch
from probe_networks import emitting_stack, linear_network, stack, still_batch
from torch import Tensor

from stablebench.data.batch import Batch
from stablebench.models import registry as model_registry
from stablebench.models.deep.mlp import Mlp
from stablebench.models.deep_network import DeepNetwork
from stablebench.models.network import AnyNetwork, Network
from stablebench.probes.chain import chain_of, frozen
from stablebench.probes.gradient_flow import GradientFlow, Loss, adjoints, gradient_flow, last_loss, sum_of_losses
from stablebench.probes.lag_share import LagShare, lag_share


def share_of(network: AnyNetwork, batch: Batch, which: Loss = "task", loss: str = "cross_entropy") -> LagShare | None:
    network = frozen(network)
    chain = chain_of(network, batch.inputs)
    return lag_share(network, chain, chain.states(), batch, loss=loss, which=which)


def flow_of(network: AnyNetwork, batch: Batch, which: Loss = "task", loss: str = "cross_entropy") -> GradientFlow:
    network = frozen(network)
    chain = chain_of(network, batch.inputs)
    return gradient_flow(network, chain, chain.states(), batch, loss=loss, which=which)


def tokens(samples: int = 3, steps: int = 6) -> Batch:
    return Batch(torch.randint(5, (samples, steps)), torch.randint(3, (samples, steps)))


@pytest.mark.parametrize("a", [0.5, 1.0, 1.5])
def test_a_scalar_with_a_constant_state_gives_a_geometric_series(a: float) -> None:
    # h' = a h + v x with x chosen so that h = 1 at all steps: C_t = 2 a^(E-t) (h, x, 1) up to a constant factor
    network, steps = linear_network(torch.tensor([[a]])), 400
    with torch.no_grad():
        network.get_parameter("layers.0.V").fill_(1.0)
    inputs = torch.full((2, steps, 1), 1 - a)
    inputs[:, 0] = 1
    found = share_of(network, Batch(inputs, torch.zeros(2, 1)), loss="mse")
    assert found is not None
    k = torch.arange(steps - 1)  # the first step starts from 0, so that it is another
    expected = k * math.log(a) + math.log(2 * math.sqrt(1 + (1 - a) ** 2 + 1))
    torch.testing.assert_close(found.log_norms[:, :-1], expected.expand(2, -1), rtol=1e-12, atol=1e-9)
    torch.testing.assert_close(found.shares.sum(1), torch.ones(2))


def test_half_of_a_geometric_series_of_halves_lies_at_lag_0() -> None:
    logs = -torch.arange(60) * math.log(2)
    found = LagShare("last", logs.expand(3, -1))
    assert found.within(0.5) == 0 and found.within(0.75) == 1 and found.within(0.95) == 4
    assert LagShare("last", torch.full((3, 10), 7.0)).within(0.5) == 4
    dead = LagShare("last", torch.full((3, 10), -math.inf))
    assert dead.within(0.5) is None and dead.document()["share"]["median"] == [None] * 10
    json.dumps(dead.document(), allow_nan=False)


def whole_gradient(network: AnyNetwork, batch: Batch, which: Loss, leaves: Sequence[Tensor]) -> list[Tensor]:
    scores = network(batch.inputs)[0]
    if which == "last":
        total = last_loss(network, scores, batch, "cross_entropy")
    else:
        total = sum_of_losses(scores, batch, "cross_entropy")
    return list(torch.autograd.grad(total, leaves))


@pytest.mark.parametrize("which", ["task", "last"])
@pytest.mark.parametrize("name", ["rnn", "lstm", "cornn", "lem"])
def test_the_contributions_add_up_to_autograd_s_gradient(name: str, which: Loss) -> None:
    network, batch = stack(name, 2, 6), tokens(samples=1)
    cold = frozen(network)
    chain = chain_of(cold, batch.inputs)
    states = chain.states()
    leaves = [p for layer in network.recurrent_layers for p in layer.parameters()]
    expected = sum(g.square().sum() for g in whole_gradient(network, batch, which, leaves))
    sums: list[Tensor | None] = []
    for adjoint in adjoints(cold, chain, states, batch, loss="cross_entropy", which=which):
        if adjoint.t:
            traced = chain.trace(adjoint.t, states[adjoint.t - 1])
            g = adjoint.g * 2.0 ** adjoint.scale[:, None]
            parts = torch.autograd.grad(traced.after, traced.used, g, allow_unused=True)
            sums = list(parts) if not sums else [p if s is None else s + p for s, p in zip(sums, parts, strict=True)]  # pyright: ignore
    total = sum(s.square().sum() for s in sums if s is not None)
    torch.testing.assert_close(total, expected, rtol=1e-10, atol=0)


def test_each_samples_contribution_is_that_of_the_sample_alone() -> None:
    network, batch = stack("gru", 1, 5), tokens(3, 5)
    together = share_of(network, batch)
    assert together is not None
    for i in range(3):
        alone = share_of(network, Batch(batch.inputs[i : i + 1], batch.targets[i : i + 1]))
        assert alone is not None
        torch.testing.assert_close(together.log_norms[i : i + 1], alone.log_norms, rtol=1e-10, atol=1e-10)


def test_fixed_parts_do_not_count() -> None:
    entry = model_registry.model_entry("leaky_esn")
    reservoir = Network(
        [entry.build(5, 4, entry.resolve({}), horizon=6, layer=0)], 3, readout="every", input="tokens"
    ).double()  # pyright: ignore
    assert share_of(reservoir, tokens()) is None
    assert flow_of(reservoir, tokens()).log_norms.isfinite().all()
    network = frozen(stack("roarnn", 1, 6))
    chain = chain_of(network, tokens().inputs)
    shapes = [tuple(p.shape) for p in chain.trace(2, chain.states()[1]).used]
    assert shapes.count((4, 4)) == 2  # W as the transition has it, and the parameter itself; O is none of them


@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("name", ["rnn", "lstm", "cornn", "lru", "urnn_arjovsky", "emitting"])
@pytest.mark.parametrize("which", ["task", "last"])
def test_norms_in_the_inputs_are_those_of_autograd(name: str, layers: int, which: Loss) -> None:
    network = emitting_stack(layers) if name == "emitting" else stack(name, layers, 6)
    batch = tokens()
    found = flow_of(network, batch, which).log_input_norms
    assert found is not None
    plain = copy.deepcopy(network)
    plain.input = "values"
    x = network.encode(batch.inputs).double().requires_grad_()
    (gradient,) = whole_gradient(plain, batch._replace(inputs=x), which, [x])
    torch.testing.assert_close(found.exp(), gradient.norm(dim=2), rtol=1e-9, atol=1e-15)


def test_a_scalar_chain_s_inputs_decay_like_its_states() -> None:
    network = linear_network(torch.tensor([[0.5]]))
    with torch.no_grad():
        network.get_parameter("layers.0.V").fill_(3.0)
    flow = flow_of(network, still_batch(2, 3000), loss="mse")
    assert flow.log_input_norms is not None
    torch.testing.assert_close(flow.log_input_norms, flow.log_norms[:, 1:] + math.log(3), rtol=1e-12, atol=1e-9)
    rate = flow.input_growth_rate()
    assert rate is not None and rate.mean == pytest.approx(math.log(0.5))


def test_a_padded_sequence_is_read_at_its_own_end() -> None:
    network = stack("rnn", 1, 6, readout="last")
    inputs, targets = torch.randint(5, (2, 6)), torch.tensor([0, 1])
    padded = flow_of(network, Batch(inputs, targets, lengths=torch.tensor([4, 6])))
    alone = flow_of(network, Batch(inputs[:1, :4], targets[:1]))
    torch.testing.assert_close(padded.log_norms[0, :5], alone.log_norms[0], rtol=1e-12, atol=1e-12)
    assert padded.log_norms[0, 5:].isneginf().all()


def test_layers_of_a_deep_network_have_shares() -> None:
    """Layers of a deep network have shares and its input is its first state."""
    network = DeepNetwork(Mlp(2, 3, layers=7), 2).double()
    batch = Batch(torch.randn(4, 2), torch.randint(2, (4,)))
    found = share_of(network, batch)
    assert found is not None and found.log_norms.shape == (4, 5)
    assert flow_of(network, batch).log_input_norms is None
    cold = frozen(network)
    for i in range(4):
        one = copy.deepcopy(cold).requires_grad_()
        torch.nn.functional.cross_entropy(one(batch.inputs[i : i + 1])[0], batch.targets[i : i + 1]).backward()
        # of the five layers the first has another shape; the last is at the end of the other four
        top = [p.grad[-1].square().sum() for p in one.model.parameters() if p.grad is not None and len(p) == 4]
        assert found.log_norms[i, 0].exp().item() == pytest.approx(torch.stack(top).sum().sqrt().item(), rel=1e-9)
