"""The memory of a network linearised at its own states."""

import math
from typing import Any

import pytest
import torch
from probe_networks import linear_network, stack, still_batch

from stablebench.models.deep.mlp import Mlp
from stablebench.models.deep_network import DeepNetwork
from stablebench.probes.chain import Chain, LayerChain, chain_of, frozen
from stablebench.probes.fisher_memory import feedforward_matrix, fisher_memory, noise_root
from stablebench.probes.linear_memory import LinearMemory, input_directions, linear_memory


def memory_of(W: torch.Tensor, v: torch.Tensor, steps: int) -> LinearMemory:
    network = linear_network(W)
    with torch.no_grad():
        network.get_parameter("layers.0.V").copy_(3 * v[:, None])
    chain = Chain(frozen(network), still_batch(2, steps).inputs)
    return linear_memory(chain, chain.states())


@pytest.mark.parametrize("alpha", [0.9, 1.0, 1.1])
def test_delay_line_as_network_has_ganguli_s_curve(alpha: float) -> None:
    """A delay line as a network has ganguli's curve and remembers its length."""
    n = 12
    found = memory_of(feedforward_matrix(n, math.sqrt(alpha)), torch.eye(n)[0], 30)
    k = torch.arange(n)
    expected = 1 / (k + 1) if alpha == 1 else alpha**k * (alpha - 1) / (alpha ** (k + 1) - 1)
    assert found.curve is not None and found.lags == 30
    torch.testing.assert_close(found.curve[:n], expected, rtol=1e-12, atol=0)
    assert not found.curve[n:].any()
    assert found.area == pytest.approx(expected.sum().item()) and found.capacity == pytest.approx(n)


def test_orthogonal_network_is_measured_over_steps_of_chain() -> None:
    """An orthogonal network is measured over the steps of its chain and says so."""
    n, steps = 6, 40
    found = memory_of(torch.linalg.qr(torch.randn(n, n)).Q, torch.randn(n), steps)
    assert found.curve is not None
    torch.testing.assert_close(found.curve, torch.full((steps + 1,), 1 / steps), rtol=1e-9, atol=0)
    assert found.document()["steps"][0]["horizon"] == steps


def test_a_radius_just_below_one_is_measured_like_one() -> None:
    """All rows of a comparison have the same horizon, so that a difference of 1e-5 in the radius changes little."""
    n, steps = 6, 200
    Q, v = torch.linalg.qr(torch.randn(n, n)).Q, torch.randn(n)
    areas = [memory_of(radius * Q, v, steps).area for radius in (1.0, 1 - 1e-5, 1 - 1e-4)]
    # (steps + 1) / steps at radius 1; below it J(k) = r^2k (1 - r^2) / (1 - r^2T)
    expected = [(steps + 1) / steps] + [
        (1 - r ** (2 * steps + 2)) / (1 - r ** (2 * steps)) for r in (1 - 1e-5, 1 - 1e-4)
    ]
    assert areas == pytest.approx(expected, rel=1e-9)
    assert max(expected) - min(expected) < 0.0001


def test_noise_beyond_float64_is_a_reason_and_no_crash() -> None:
    found = memory_of(torch.diag(torch.tensor([3.0, 0.5])), torch.ones(2), 2000)
    assert found.curve is None and found.area is None
    assert "noise of this network" in found.steps[0].reason


def test_the_finite_sum_is_that_of_its_terms() -> None:
    theta = 0.4 * torch.randn(5, 5)
    for horizon in (1, 2, 5, 12):
        expected = sum(
            torch.linalg.matrix_power(theta, j) @ torch.linalg.matrix_power(theta, j).T for j in range(horizon)
        )
        root = noise_root(theta, horizon)
        torch.testing.assert_close(root @ root.T, expected, rtol=1e-12, atol=1e-12)


def test_several_directions_are_averaged() -> None:
    theta, V = 0.3 * torch.randn(5, 5), torch.linalg.qr(torch.randn(5, 3)).Q
    together = fisher_memory(theta, V, 7).curve
    alone = torch.stack([fisher_memory(theta, v, 7).curve for v in V.T])
    torch.testing.assert_close(together, alone.mean(0))


def test_the_directions_are_those_that_the_input_moves() -> None:
    network = frozen(stack("lstm", 1, 5))
    chain = chain_of(network, torch.randint(5, (2, 5)))
    states, t = chain.states(), 3
    U = input_directions(chain, states, t)
    torch.testing.assert_close(U.T @ U, torch.eye(U.shape[1]))
    base, layer = chain.step(t, states[t - 1]), network.recurrent_layers[0]
    h, c = states[t - 1].split(4, dim=1)
    assert isinstance(chain, Chain) and chain.inputs is not None
    moved = chain.inputs[t - 1] + 1e-6 * torch.randn(2, 5)
    projected: Any = layer.input_projection(moved[:, None])
    after = torch.cat(layer.step(projected[:, 0], (h, c), layer.recurrent_weights()), dim=1)
    change = ((after - base) / 1e-6)[0]
    torch.testing.assert_close(U @ (U.T @ change), change, rtol=1e-4, atol=1e-6)


def test_a_chain_over_layers_takes_all_directions() -> None:
    network = frozen(DeepNetwork(Mlp(3, 3, layers=6), 2))
    chain = LayerChain(network, torch.randn(2, 3))
    found = linear_memory(chain, chain.states())
    assert input_directions(chain, chain.states(), 2).shape == (3, 3)
    assert found.curve is not None and found.curve[0] <= 1
