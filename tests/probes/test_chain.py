import pytest
import torch
from probe_networks import emitting_stack, linear_network, stack, still_batch

from stablebench.errors import StablebenchError
from stablebench.models import registry as model_registry
from stablebench.probes.chain import Chain, frozen

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
