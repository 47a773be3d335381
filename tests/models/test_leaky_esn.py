"""Leaky ESN: the equation, the reservoir's spectrum, echo states, what is trained."""

from typing import Literal

import pytest
import torch

from stablebench.errors import UserError
from stablebench.models.network import Network
from stablebench.models.recurrent.eyernn import RoaRNN
from stablebench.models.recurrent.leaky_esn import LeakyESN


@pytest.fixture(autouse=True)
def _double() -> None:
    torch.set_default_dtype(torch.float64)
    torch.manual_seed(0)


def test_it_is_the_equation() -> None:
    model = LeakyESN(2, 3, leak=0.8, gamma=0.4)
    x = torch.randn(1, 6, 2)
    outputs, _ = model(x)
    h = torch.zeros(3)
    for t in range(6):
        h = (1 - 0.8 * 0.4) * h + 0.4 * torch.tanh(model.W @ h + model.V @ x[0, t] + model.b)
        torch.testing.assert_close(outputs[0, t], h, rtol=1e-13, atol=1e-13)


def test_with_trained_weights_it_is_eyernn() -> None:
    esn = LeakyESN(2, 5, leak=1.0, gamma=0.1)
    eyernn = RoaRNN(2, 5, horizon=10, rho=1.0, activation="tanh", orthogonal="identity")
    eyernn.W.data, eyernn.V.data, eyernn.b.data = esn.W, esn.V, esn.b
    x = torch.randn(2, 8, 2)
    torch.testing.assert_close(esn(x)[0], eyernn(x)[0], rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize("scaled_by", ["radius", "norm"])
@pytest.mark.parametrize("radius", [0.3, 0.9, 1.2])
def test_the_reservoir_is_scaled_as_asked(radius: float, scaled_by: Literal["radius", "norm"]) -> None:
    W = LeakyESN(2, 60, spectral_radius=radius, scaled_by=scaled_by).W
    found = torch.linalg.eigvals(W).abs().max() if scaled_by == "radius" else torch.linalg.matrix_norm(W, 2)
    assert found.item() == pytest.approx(radius, rel=1e-10)  # an iterative solver of 60 units


@pytest.mark.parametrize(("hidden", "expected"), [(50, 7), (4, 4)])
def test_every_unit_has_its_connections(hidden: int, expected: int) -> None:
    assert ((LeakyESN(2, hidden, connections=7).W != 0).sum(1) == expected).all()


@pytest.mark.parametrize(("leak", "gamma"), [(1.0, 0.5), (0.5, 0.9), (2.0, 0.5)])
def test_the_state_stays_within_one_over_the_leak(leak: float, gamma: float) -> None:
    model = LeakyESN(1, 20, leak=leak, gamma=gamma, spectral_radius=3.0, input_scaling=50.0)
    outputs, _ = model(torch.randn(3, 300, 1).sign())
    assert outputs.abs().max() <= 1 / leak * (1 + 1e-13)
    assert outputs.abs().max() > 0.9 / leak


@pytest.mark.parametrize("norm", [0.5, 0.99])
def test_states_forget_their_start_at_proposition_1s_rate(norm: float) -> None:
    """States forget where they began at the rate of proposition one."""
    model = LeakyESN(2, 30, spectral_radius=norm, scaled_by="norm", gamma=0.7)
    constant = 1 - 0.7 * (1 - norm)
    x = torch.randn(1, 40, 2)
    a, b = torch.randn(1, 30), torch.randn(1, 30)
    distance = [(a - b).norm().item()]
    for t in range(40):
        (a,), (b,) = model(x[:, t : t + 1], (a,))[1], model(x[:, t : t + 1], (b,))[1]
        distance.append((a - b).norm().item())
        assert distance[-1] <= constant * distance[-2] + 1e-15


def test_zero_state_is_unstable_beyond_radius_one() -> None:
    """Beyond an effective spectral radius of one the zero state is unstable."""
    for radius, stable in ((0.95, True), (1.05, False)):
        model = LeakyESN(1, 40, spectral_radius=radius, gamma=0.3, bias_scaling=0.0)
        eye = torch.eye(40)
        effective = torch.linalg.eigvals(0.3 * model.W + 0.7 * eye).abs().max().item()
        if stable:
            assert effective < 1
        (end,) = model(torch.zeros(1, 3000, 1), (1e-6 * torch.randn(1, 40),))[1]
        assert (end.norm().item() < 1e-7) == (effective < 1)


def test_only_the_readout_is_trained() -> None:
    network = Network([LeakyESN(2, 8)], 3, readout="last", input="values")
    (main,) = network.parameter_groups()
    assert {id(p) for p in main.parameters} == {id(p) for p in network.head.parameters()}
    before = network.recurrent_layers[0].state_dict()
    before = {k: v.clone() for k, v in before.items()}
    optimiser = torch.optim.Adam(main.parameters, lr=0.1)
    network(torch.randn(4, 5, 2))[0].square().sum().backward()
    optimiser.step()
    network.after_update()
    assert all(torch.equal(v, before[k]) for k, v in network.recurrent_layers[0].state_dict().items())
    assert set(before) == {"W", "V", "b"}  # a checkpoint holds the reservoir


def test_a_reservoir_that_would_overshoot_is_refused() -> None:
    with pytest.raises(UserError, match=r"`leak` \* `gamma` must be <= 1"):
        LeakyESN(2, 3, leak=2.0, gamma=0.6)
