import math

import pytest
import torch
from torch import nn

from stablebench.models.base import count_parameters
from stablebench.models.deep.mlp import Mlp
from stablebench.models.deep_network import DeepNetwork


@pytest.fixture(autouse=True)
def _float64() -> None:
    torch.manual_seed(0)
    torch.set_default_dtype(torch.float64)


@pytest.mark.parametrize("widths", [None, [3, 5, 2, 2, 7]])
@pytest.mark.parametrize("activation", ["tanh", "relu"])
def test_the_chain_is_the_equation(activation, widths: list[int] | None) -> None:
    model = Mlp(3, 7, layers=7, widths=widths, activation=activation, init="normal")
    matrices = [W.tolist() for parameter in model.W for W in parameter]
    biases = [b.tolist() for parameter in model.b for b in parameter]
    phi = {"relu": lambda z: max(z, 0.0), "tanh": math.tanh}[activation]
    x = torch.randn(4, 3)
    for sample, found in zip(x.tolist(), model(x).tolist(), strict=True):
        h = sample
        for W, b in zip(matrices, biases, strict=True):
            h = [phi(b[i] + sum(W[i][j] * h[j] for j in range(len(h)))) for i in range(len(b))]
        assert found == pytest.approx(h, abs=1e-12)
    assert len(matrices) == 5


@pytest.mark.parametrize("output", ["linear", "layer"])
def test_it_is_a_sequence_of_torchs_linear_layers(output) -> None:
    network = DeepNetwork(Mlp(3, 5, layers=5, output=output), 2)
    parts: list[nn.Module] = []
    for parameter, bias in zip(network.models[0].W, network.models[0].b, strict=True):  # pyright: ignore
        for W, b in zip(parameter, bias, strict=True):
            linear = nn.Linear(W.shape[1], W.shape[0])
            linear.weight.data, linear.bias.data = W.data.clone(), b.data.clone()
            parts += [linear, nn.Tanh()]
    last = nn.Linear(5, 2)
    last.load_state_dict(network.head.state_dict())
    parts += [last, nn.Tanh()] if output == "layer" else [last]
    theirs, x = nn.Sequential(*parts), torch.randn(6, 3)
    torch.testing.assert_close(network(x)[0], theirs(x), rtol=1e-13, atol=1e-13)
    network(x)[0].square().sum().backward()
    theirs(x).square().sum().backward()
    ours = torch.cat([p.grad.flatten() for p in network.parameters() if p.grad is not None])
    expected = torch.cat([p.grad.flatten() for p in theirs.parameters() if p.grad is not None])
    torch.testing.assert_close(ours.sort().values, expected.sort().values, rtol=1e-12, atol=1e-12)


def test_double_moon_networks_have_289_and_291_parameters() -> None:
    """The shallow network of the double moon has 289 parameters and the deep one 291."""
    shallow, deep = DeepNetwork(Mlp(2, 72, layers=3), 1), DeepNetwork(Mlp(2, 2, layers=50), 1)
    assert count_parameters(shallow.parameters()) == 289
    assert count_parameters(deep.parameters()) == 291
