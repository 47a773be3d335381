"""The sensitivity of states to parameters against sums written out, the paper's closed form, and autograd."""

import json
import math

import pytest
import torch
from probe_networks import linear_network, stack

from stablebench.models.network import Network
from stablebench.probes.chain import chain_of, frozen
from stablebench.probes.sensitivity import Sensitivity, sensitivity


def scalar(decay: float) -> Network:
    network = linear_network(torch.tensor([[decay]]))
    with torch.no_grad():
        network.get_parameter("layers.0.V").fill_(1.0)
    return frozen(network)


def of_decay(x: torch.Tensor, decay: float) -> torch.Tensor:
    """Return dh_t/dlambda of h_t = lambda h_{t-1} + x_t by its own recurrence, (samples, time)."""
    h, d, rows = torch.zeros(len(x)), torch.zeros(len(x)), []
    for x_t in x[:, :, 0].T:
        h, d = decay * h + x_t, decay * d + h
        rows.append(d)
    return torch.stack(rows, dim=1)


@pytest.mark.parametrize("decay", [0.5, 1.0, -0.9])
def test_a_scalar_recurrence_is_exact(decay: float) -> None:
    x = torch.randn(3, 20, 1)
    found = sensitivity(scalar(decay), x)
    assert found is not None and found.exact and found.parameters == 3 and found.relative_error == 0
    powers = decay ** torch.arange(20.0)
    of_b = powers.cumsum(0).square()
    of_v = torch.stack([(x[:, : t + 1, 0].flip(1) * powers[: t + 1]).sum(1) for t in range(20)], dim=1).square()
    expected = of_decay(x, decay).square() + of_v + of_b
    torch.testing.assert_close(found.squares.mean(0), expected, rtol=1e-11, atol=1e-12)
    torch.testing.assert_close(found.curve, expected.mean(0).sqrt(), rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("decay", [0.5, 0.8])
def test_white_input_gives_the_closed_form(decay: float) -> None:
    x = torch.randn(20_000, 60, 1)
    found = sensitivity(scalar(decay), x)
    assert found is not None
    limit = (1 + decay**2) / (1 - decay**2) ** 3 + 1 / (1 - decay**2) + 1 / (1 - decay) ** 2
    assert found.curve[-1].item() ** 2 == pytest.approx(limit, rel=0.04)  # the spread of 20,000 samples is 1 %
    assert found.growth == "saturated"


def test_memory_without_end_grows_while_no_gradient_does() -> None:
    found = sensitivity(scalar(1.0), torch.randn(500, 400, 1))
    assert found is not None and found.growth == "grows"
    assert found.power == pytest.approx(1.5, abs=0.1)  # dh/dlambda is a sum of t states of size t^(1/2)
    unstable = sensitivity(scalar(1.2), torch.randn(2, 400, 1))
    assert unstable is not None and unstable.growth == "explodes"


@pytest.mark.parametrize(("name", "layers"), [("rnn", 1), ("lstm", 2), ("exprnn", 1)])
def test_random_directions_estimate_the_whole_jacobian(name: str, layers: int) -> None:
    network, x = frozen(stack(name, layers, 5)), torch.randint(5, (2, 5))
    found, exact = (sensitivity(network, x, directions=count) for count in (25, 600))
    assert found is not None and not found.exact and found.relative_error is not None
    assert exact is not None and exact.exact
    warm = frozen(network).requires_grad_()
    below = [p for key, p in warm.named_parameters() if not key.startswith("head.")]
    assert found.parameters == sum(p.numel() for p in below)
    with torch.enable_grad():
        chain, total = chain_of(warm, x), torch.zeros(2)
        state = chain.initial()
        for t in range(1, 6):
            state = chain.step(t, state)
        for i in range(2):
            for entry in state[i]:
                parts = torch.autograd.grad(entry, below, retain_graph=True, allow_unused=True)
                total[i] += sum(float(part.square().sum()) for part in parts if part is not None)
    expected = total.mean().sqrt().item()
    assert abs(found.curve[-1].item() / expected - 1) < 4 * found.relative_error < 1
    assert exact.curve[-1].item() == pytest.approx(expected, rel=1e-9)


def test_beyond_float64_there_is_no_number() -> None:
    found = Sensitivity(torch.tensor([[[1.0, 4.0, math.inf, math.inf]]]), 9, False)
    assert found.growth == "explodes" and found.document()["log10"][2] is None
    json.dumps(found.document(), allow_nan=False)
