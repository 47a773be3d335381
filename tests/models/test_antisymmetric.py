"""AntisymmetricRNN and its gated form: the equation, the spectrum, forward Euler's growth, the published counts."""

import math

import pytest
import torch
from torch import Tensor

from stablebench.models.base import count_parameters
from stablebench.models.network import Network
from stablebench.models.recurrent.antisymmetric import Antisymmetric


@pytest.fixture(autouse=True)
def _double() -> None:
    torch.set_default_dtype(torch.float64)
    torch.manual_seed(0)


def matrix(model: Antisymmetric) -> Tensor:
    """Return W - W^T - gamma I, entry by entry."""
    n = model.hidden
    M, entries = torch.zeros(n, n), iter(model.W.tolist())
    for i in range(n):
        M[i, i] = -model.gamma
        for j in range(i + 1, n):
            M[i, j] = next(entries)
            M[j, i] = -M[i, j]
    return M


@pytest.mark.parametrize("gated", [False, True])
def test_it_is_the_equation_unit_by_unit(gated: bool) -> None:
    model = Antisymmetric(2, 5, epsilon=0.3, gamma=0.2, sigma_w=2.0, gated=gated)
    model.b.data.normal_()
    M, V, b = matrix(model), model.V.detach(), model.b.detach()
    x = torch.randn(1, 8, 2)
    outputs, _ = model(x)
    h = torch.zeros(5)
    for t in range(8):
        product = M @ h
        new = [0.0] * 5
        for i in range(5):
            candidate = math.tanh(float(product[i] + V[i] @ x[0, t] + b[i]))
            z = 1 / (1 + math.exp(-float(product[i] + V[5 + i] @ x[0, t] + b[5 + i]))) if gated else 1.0
            new[i] = float(h[i]) + 0.3 * z * candidate
        h = torch.tensor(new)
        torch.testing.assert_close(outputs[0, t], h, rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize("gated", [False, True])
@pytest.mark.parametrize("gamma", [0.0, 0.01, 1.5])
@pytest.mark.parametrize("hidden", [7, 32])
def test_the_spectrum_stays_on_its_line_after_training_steps(hidden: int, gamma: float, gated: bool) -> None:
    model = Antisymmetric(3, hidden, gamma=gamma, gated=gated)
    optimiser = torch.optim.Adam(model.parameters(), lr=0.1)
    for _ in range(5):
        eigenvalues = torch.linalg.eigvals(model.M().detach())
        # backward error of the eigenvalues of a normal matrix: a few rounding units times its norm
        assert (eigenvalues.real + gamma).abs().max() < 1e-13 * hidden
        assert eigenvalues.imag.abs().max() > 0.1, "and it does turn"
        optimiser.zero_grad()
        model(torch.randn(4, 20, 3))[0].square().sum().backward()
        optimiser.step()


@pytest.mark.parametrize("gamma", [0.0, 0.3])
def test_the_jacobian_of_the_ode_has_its_spectrum_in_a_strip(gamma: float) -> None:
    """Its eigenvalues are those of D^(1/2) (W - W^T) D^(1/2) - gamma D, D = diag(tanh')."""
    model = Antisymmetric(2, 12, gamma=gamma, sigma_w=2.0)
    for scale in (0.1, 1.0, 3.0):
        slope = 1 - torch.tanh(scale * torch.randn(12)).square()
        real = torch.linalg.eigvals(slope[:, None] * matrix(model)).real
        assert real.max() <= -gamma * slope.min() + 1e-12
        assert real.min() >= -gamma * slope.max() - 1e-12


def gated_slope(gate: Tensor, candidate: Tensor) -> Tensor:
    """Return the derivative of sigmoid(a + gate) tanh(a + candidate) in a at 0."""
    s, t = torch.sigmoid(gate), torch.tanh(candidate)
    return s * (1 - t * t) + t * s * (1 - s)


def test_gate_keeps_the_strip_where_candidates_are_positive() -> None:
    """A gate keeps the strip where candidates are positive and not everywhere."""
    M = matrix(Antisymmetric(2, 12, gamma=0.0, gated=True))
    positive = gated_slope(torch.randn(12), torch.rand(12))
    assert torch.linalg.eigvals(positive[:, None] * M).real.abs().max() < 1e-12
    mixed = gated_slope(torch.randn(12), 3 * torch.randn(12))
    assert mixed.min() < 0 < mixed.max()
    assert torch.linalg.eigvals(mixed[:, None] * M).real.max() > 1e-3


def test_diffusion_offsets_the_growth_of_forward_euler() -> None:
    """The linear part of one step, I + epsilon M, has spectral radius |1 - epsilon gamma + i epsilon w|."""
    epsilon = 0.1
    radii = {}
    for gamma in (0.0, 5.0):
        torch.manual_seed(1)
        model = Antisymmetric(1, 16, epsilon=epsilon, gamma=gamma)
        w = torch.linalg.eigvals(matrix(model)).imag.abs().max().item()
        step = torch.eye(16) + epsilon * model.M().detach()
        radii[gamma] = torch.linalg.eigvals(step).abs().max().item()
        assert radii[gamma] == pytest.approx(math.hypot(1 - epsilon * gamma, epsilon * w), rel=1e-12)
        assert (radii[gamma] < 1) == (w**2 < 2 * gamma / epsilon - gamma**2)
    assert radii[5.0] < 1 < radii[0.0]


def test_an_open_gate_gives_the_ungated_model() -> None:
    gated, plain = Antisymmetric(2, 5, epsilon=0.3, gated=True), Antisymmetric(2, 5, epsilon=0.3)
    gated.V.data[5:] = 0
    gated.b.data[5:] = 40.0  # sigmoid(40) is 1 - 4e-18
    plain.W.data, plain.V.data, plain.b.data = gated.W.data, gated.V.data[:5], gated.b.data[:5]
    x = torch.randn(3, 30, 2)
    torch.testing.assert_close(gated(x)[0], plain(x)[0], rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize(("gated", "count"), [(False, 9_674), (True, 9_930)])
def test_128_units_on_psmnist_have_about_ten_thousand_parameters(gated: bool, count: int) -> None:
    network = Network([Antisymmetric(1, 128, gated=gated)], 10, readout="last", input="values")
    assert count_parameters(network.parameters()) == count  # "10k" in the paper
