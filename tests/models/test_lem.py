"""LEM: the equation, the bound on the states, the Jacobian's, the limits of its gates, the published count."""

import math

import pytest
import torch
from torch import Tensor

from stablebench.models.base import count_parameters
from stablebench.models.network import Network
from stablebench.models.recurrent.lem import LEM


@pytest.fixture(autouse=True)
def _double() -> None:
    torch.set_default_dtype(torch.float64)
    torch.manual_seed(0)


def test_it_is_the_equation_unit_by_unit() -> None:
    n, dt = 4, 0.7
    model = LEM(3, n, dt=dt)
    for parameter in model.parameters():
        parameter.data.mul_(3)
    W1, W2, Wz = model.W.detach().chunk(3)
    Wy = model.W_y.detach()
    V1, V2, Vz, Vy = model.V.detach().chunk(4)
    b1, b2, bz, by = model.b.detach().chunk(4)

    def sigmoid(v: float) -> float:
        return 0.5 * (1 + math.tanh(v / 2))

    x = torch.randn(1, 7, 3)
    outputs, (_, z_end) = model(x)
    y, z = [0.0] * n, [0.0] * n
    for t in range(7):
        u = x[0, t].tolist()

        def affine(W: Tensor, s: list[float], V: Tensor, b: Tensor, i: int, u: list[float] = u) -> float:
            recurrent = sum(float(W[i, j]) * s[j] for j in range(n))
            return recurrent + sum(float(V[i, j]) * u[j] for j in range(3)) + float(b[i])

        new_z = []
        for i in range(n):
            d = dt * sigmoid(affine(W1, y, V1, b1, i))
            new_z.append((1 - d) * z[i] + d * math.tanh(affine(Wz, y, Vz, bz, i)))
        new_y = []
        for i in range(n):
            d = dt * sigmoid(affine(W2, y, V2, b2, i))
            new_y.append((1 - d) * y[i] + d * math.tanh(affine(Wy, new_z, Vy, by, i)))
        y, z = new_y, new_z
        assert outputs[0, t].tolist() == pytest.approx(y, abs=1e-13)
    assert z_end[0].tolist() == pytest.approx(z, abs=1e-13)


@pytest.mark.parametrize("dt", [0.05, 1.0])
def test_states_stay_in_unit_cube_whatever_weights_and_inputs(dt: float) -> None:
    """States stay in the unit cube whatever the weights and inputs."""
    model = LEM(2, 8, dt=dt)
    for scale in (1.0, 30.0, 30.0):
        for parameter in model.parameters():
            parameter.data.mul_(scale)
        outputs, states = model(10 * torch.randn(16, 200, 2))
        assert outputs.abs().max() <= 1 and all(state.abs().max() <= 1 for state in states)
    assert outputs.abs().max() > 0.9, "and they get there"


def test_a_step_beyond_one_may_leave_the_cube() -> None:
    model = LEM(2, 8, dt=2.0)
    for parameter in model.parameters():
        parameter.data.mul_(30)
    assert model(10 * torch.randn(16, 50, 2))[0].abs().max() > 1


@pytest.mark.parametrize("dt", [0.01, 0.3, 1.0])
@pytest.mark.parametrize("scale", [0.3, 1.0, 4.0])
def test_the_jacobian_of_one_step_has_its_bound(dt: float, scale: float) -> None:
    model = LEM(2, 8, dt=dt)
    for parameter in model.parameters():
        parameter.data.mul_(scale)
    norms = [matrix.abs().sum(1).max().item() for matrix in (*model.W.detach().chunk(3), model.W_y.detach())]
    eta = max(norms)

    def step(joined: Tensor) -> Tensor:
        projected = model.input_projection(torch.randn(1, 1, 2))[:, 0]
        return torch.cat(model.step(projected, (joined[None, :8], joined[None, 8:]), model.recurrent_weights()), dim=1)[
            0
        ]

    largest = 0.0
    for spread in (0.0, 0.3, 1.0):
        jacobian = torch.autograd.functional.jacobian(step, spread * (2 * torch.rand(16) - 1))
        assert isinstance(jacobian, Tensor)
        largest = max(largest, jacobian.abs().sum(1).max().item())
    assert largest <= 1 + 1.5 * eta * dt * (1 + eta * dt) == pytest.approx(model.jacobian_bound(), rel=1e-14)
    assert model.jacobian_bound() <= 1 + 2 * (1 + eta) * (1 + 3 * eta) * dt, "the paper's is wider"


def test_small_steps_keep_jacobian_near_one_over_long_chain() -> None:
    """1 + O(dt) for each of N = 1 / dt steps gives a bound that does not depend on N."""
    found = []
    for steps in (50, 100, 200):
        torch.manual_seed(0)
        model = LEM(2, 6, dt=1 / steps)
        x = torch.zeros(1, steps, 2)

        def chain(y: Tensor, m: LEM = model, x: Tensor = x) -> Tensor:
            return m(x, (y, torch.zeros(1, 6)))[0][0, -1]

        jacobian = torch.autograd.functional.jacobian(chain, torch.zeros(1, 6))
        assert isinstance(jacobian, Tensor)
        found.append(torch.linalg.matrix_norm(jacobian[:, 0], math.inf).item())
    assert max(found) / min(found) < 1.05 and 0.3 < min(found) < max(found) < 3


def test_open_gates_leave_two_layers_of_an_elman_step() -> None:
    model = LEM(3, 5)
    n = 5
    model.W.data[: 2 * n] = 0
    model.V.data[: 2 * n] = 0
    model.b.data[: 2 * n] = 40.0  # sigmoid(40) is 1 - 4e-18
    x = torch.randn(2, 9, 3)
    outputs, _ = model(x)
    y = torch.zeros(2, n)
    for t in range(9):
        z = torch.tanh(y @ model.W[2 * n :].T + x[:, t] @ model.V[2 * n : 3 * n].T + model.b[2 * n : 3 * n])
        y = torch.tanh(z @ model.W_y.T + x[:, t] @ model.V[3 * n :].T + model.b[3 * n :])
        torch.testing.assert_close(outputs[:, t], y, rtol=1e-13, atol=1e-13)


def test_closed_gates_keep_the_states() -> None:
    model = LEM(3, 5)
    model.b.data[:10] = -800.0  # sigmoid is 0
    before = (torch.randn(2, 5), torch.randn(2, 5))
    _, after = model(torch.randn(2, 9, 3), before)
    assert all(torch.equal(a, b) for a, b in zip(after, before, strict=True))


def test_the_parameter_count_on_psmnist_is_the_published_one() -> None:
    network = Network([LEM(1, 128)], 10, readout="last", input="values")
    assert count_parameters(network.parameters()) == 67_850  # "68k"


def test_it_starts_as_its_published_code_does() -> None:
    """It starts as its published code does with two biases of each map."""
    n = 2048
    model, bound = LEM(1, n), 1 / math.sqrt(n)
    b = model.b.detach()
    assert b.std().item() == pytest.approx(bound * math.sqrt(2 / 3), rel=0.02)  # the sum of two uniform draws
    assert bound < b.abs().max().item() <= 2 * bound
    assert (b.abs() > bound).double().mean().item() == pytest.approx(1 / 4, abs=0.02)
    for weights in (model.W, model.W_y, model.V):
        assert weights.abs().max().item() <= bound
        assert weights.std().item() == pytest.approx(bound / math.sqrt(3), rel=0.02)
