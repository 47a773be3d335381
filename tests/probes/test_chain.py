import math
from typing import Any

import pytest
import torch
from probe_networks import emitting_stack, linear_network, stack, still_batch
from torch import Tensor

from stablebench.errors import StablebenchError
from stablebench.models import registry as model_registry
from stablebench.probes import chain as chain_module
from stablebench.probes.chain import Chain, frozen
from stablebench.probes.state_chain import batched_vjp

MODELS = model_registry.model_names(family="recurrent")


@pytest.mark.parametrize("layers", [1, 3])
@pytest.mark.parametrize("name", MODELS)
def test_chain_passes_through_networks_states_and_outputs(name: str, layers: int) -> None:
    """The chain passes through the networks own states and outputs."""
    network = stack(name, layers, 7)
    tokens = torch.randint(5, (2, 7))
    chain = Chain(frozen(network), tokens)
    states = chain.states()
    output, after = network(tokens)
    expected = torch.cat([part for state in after for part in state], dim=1)
    torch.testing.assert_close(states[-1], expected, rtol=1e-12, atol=1e-12)
    mine = network.head(chain.outputs(states[1:]).transpose(0, 1))
    torch.testing.assert_close(mine, output, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("layers", [1, 3])
def test_what_layers_emit_is_output_but_no_part_of_chain(layers: int) -> None:
    """What layers emit is their output but no part of the chain."""
    network = emitting_stack(layers)
    tokens = torch.randint(5, (2, 7))
    chain = Chain(frozen(network), tokens)
    states = chain.states()
    output, after = network(tokens)
    torch.testing.assert_close(states[-1], torch.cat([s for (s,) in after], dim=1), rtol=1e-12, atol=1e-12)
    mine = network.head(chain.outputs(states[3:6], first=3).transpose(0, 1))
    torch.testing.assert_close(mine, output[:, 2:5], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", MODELS)
def test_pulled_cotangents_are_those_of_a_restarted_network(name: str) -> None:
    """Pulled cotangents are those of the network restarted a step before."""
    network = frozen(stack(name, 2, 6))
    tokens = torch.randint(5, (2, 6))
    chain = Chain(network, tokens)
    states = chain.states()
    _, before = network(tokens[:, :4])
    leaves = [tuple(part.clone().requires_grad_() for part in state) for state in before]
    _, after = network(tokens[:, 4:5], leaves)
    cotangents = torch.randn(3, 2, chain.size)
    pulled = chain.vjp(5, states[4], cotangents)
    flat = [part for state in leaves for part in state]
    for cotangent, mine in zip(cotangents, pulled, strict=True):
        end = torch.cat([part for state in after for part in state], dim=1)
        expected = torch.autograd.grad(end, flat, cotangent, retain_graph=True)
        torch.testing.assert_close(mine, torch.cat(expected, dim=1), rtol=1e-12, atol=1e-12)


def test_a_state_beyond_float64_is_named_by_its_step() -> None:
    network = linear_network(torch.tensor([[1e200]]))
    with torch.no_grad():
        network.get_parameter("layers.0.b").fill_(1.0)
    with pytest.raises(StablebenchError, match="beyond float64 at step 3 of 5"):
        Chain(frozen(network), still_batch(1, 5).inputs).states()


def test_freezing_leaves_the_network_as_it_is() -> None:
    network = linear_network(torch.eye(2)).float()
    copy = frozen(network)
    assert copy.head.weight.dtype == torch.float64 and not copy.head.weight.requires_grad
    assert network.head.weight.dtype == torch.float32 and network.head.weight.requires_grad


@pytest.mark.parametrize("entries", [1, 100, 1 << 20])
@pytest.mark.parametrize("name", ["lstm", "urnn_arjovsky", "emitting"])
def test_steps_together_pull_back_what_each_does_alone(
    name: str, entries: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Into the inputs, however many steps are taken together."""
    monkeypatch.setattr(chain_module, "_ENTRIES_AT_ONCE", entries)
    network = emitting_stack(2) if name == "emitting" else stack(name, 2, 7)
    chain = Chain(frozen(network), torch.randint(5, (3, 7)))
    states, cotangents = chain.states(), torch.randn(6, 3, chain.size)
    found = chain.input_vjp(states[:6], cotangents)
    for t in range(1, 7):
        traced = chain.trace(t, states[t - 1])
        assert traced.x is not None
        (expected,) = torch.autograd.grad(traced.after, traced.x, cotangents[t - 1])
        torch.testing.assert_close(found[t - 1], expected, rtol=1e-12, atol=1e-12)


class _Halved(torch.autograd.Function):
    """x / 2, whose derivative looks at a cotangent's value and so takes one at a time."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x / 2

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        return gradients[0] / (2 if gradients[0].sum() != math.inf else 1)


def test_many_cotangents_are_taken_together_where_that_can_be() -> None:
    x, unused = torch.randn(2, 3, requires_grad=True), torch.randn(4, requires_grad=True)
    cotangents = torch.randn(5, 2, 3)
    in_x, in_unused = batched_vjp(x.tanh(), [x, unused], cotangents)
    torch.testing.assert_close(in_x, cotangents * (1 - x.tanh().square()))
    assert in_unused.shape == (5, 4) and not in_unused.any()
    with pytest.raises(RuntimeError):
        batched_vjp(_Halved.apply(x), [x], cotangents)


def test_a_derivative_of_one_cotangent_at_a_time_is_taken_so(monkeypatch: pytest.MonkeyPatch) -> None:
    chain = Chain(frozen(stack("rnn", 1, 5)), torch.randint(5, (2, 5)))
    states, cotangents = chain.states(), torch.randn(4, 2, chain.size)
    expected = chain.vjp(3, states[2], cotangents) / 2
    step = chain.step
    monkeypatch.setattr(chain, "step", lambda t, state: _Halved.apply(step(t, state)))
    torch.testing.assert_close(chain.vjp(3, states[2], cotangents), expected)
