"""iRNN: the equation, the Jacobian -I at the equilibrium, its bound after K iterations."""

import math

import pytest
import torch
from torch import Tensor

from stablebench.models.recurrent.incremental_rnn import IncrementalRNN
from stablebench.models.recurrent.rnn import Rnn


@pytest.fixture(autouse=True)
def _double() -> None:
    torch.set_default_dtype(torch.float64)
    torch.manual_seed(0)


@pytest.mark.parametrize("iterations", [1, 3])
def test_it_is_the_equation_unit_by_unit(iterations: int) -> None:
    model = IncrementalRNN(2, 4, iterations=iterations, alpha=0.7, sigma=2.0)
    model.b.data.normal_()
    model.eta.data = torch.rand(iterations)
    U, W, b = model.U.tolist(), model.W.tolist(), model.b.tolist()
    x = torch.randn(1, 6, 2)
    outputs, _ = model(x)
    h = [0.0] * 4
    for t in range(6):
        u = x[0, t].tolist()
        g = [0.0] * 4
        for eta in model.eta.tolist():
            both = [g[j] + h[j] for j in range(4)]
            z = [
                sum(U[i][j] * both[j] for j in range(4)) + sum(W[i][j] * u[j] for j in range(2)) + b[i]
                for i in range(4)
            ]
            g = [g[i] + eta * (math.tanh(z[i]) - 0.7 * both[i]) for i in range(4)]
        h = g
        assert outputs[0, t].tolist() == pytest.approx(h, abs=1e-13)


def jacobian_of_one_step(model: IncrementalRNN, h: Tensor, x: Tensor) -> Tensor:
    jacobian = torch.autograd.functional.jacobian(lambda h: model(x[None, None], (h[None],))[0][0, 0], h)
    assert isinstance(jacobian, Tensor)
    return jacobian


@pytest.mark.parametrize(("alpha", "eta"), [(1.0, 1.0), (1.0, 0.5), (2.0, 0.4)])
def test_at_the_equilibrium_the_jacobian_is_minus_the_identity(alpha: float, eta: float) -> None:
    model = IncrementalRNN(3, 8, iterations=100, alpha=alpha, eta=eta)
    J = jacobian_of_one_step(model, torch.randn(8), torch.randn(3))
    assert model.distance() < 1e-8  # so much the iteration may leave
    torch.testing.assert_close(J, -torch.eye(8), rtol=0, atol=1e-8)


def test_what_the_iteration_finds_is_an_equilibrium() -> None:
    model = IncrementalRNN(3, 8, iterations=100)
    h, x = torch.randn(1, 8), torch.randn(1, 1, 3)
    s = model(x, (h,))[0][:, 0] + h
    torch.testing.assert_close(torch.tanh(s @ model.U.T + model.input_projection(x)[:, 0]), s, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("iterations", [1, 2, 5])
@pytest.mark.parametrize("eta", [0.5, 1.0, 1.2])
def test_after_k_iterations_jacobian_is_as_near_as_bound_says(iterations: int, eta: float) -> None:
    """After k iterations the jacobian is as near as the bound says."""
    model = IncrementalRNN(3, 8, iterations=iterations, eta=eta)
    norm = torch.linalg.matrix_norm(model.U.detach(), 2).item()
    q = (abs(1 - eta) + eta * norm) ** iterations
    assert model.distance() == pytest.approx(q, rel=1e-12)
    for scale in (0.0, 0.3, 2.0):
        J = jacobian_of_one_step(model, scale * torch.randn(8), scale * torch.randn(3))
        assert torch.linalg.matrix_norm(J + torch.eye(8), 2) <= q * (1 + 1e-12)


@pytest.mark.parametrize("steps", [20, 60])
def test_singular_values_over_the_chain_lie_between_the_bounds(steps: int) -> None:
    model = IncrementalRNN(2, 8)
    q = model.distance()
    x = torch.randn(1, steps, 2)
    jacobian = torch.autograd.functional.jacobian(lambda h: model(x, (h,))[1][0][0], torch.randn(1, 8))
    assert isinstance(jacobian, Tensor) and q < 0.1
    values = torch.linalg.svdvals(jacobian[:, 0])
    assert (1 - q) ** steps <= values.min() and values.max() <= (1 + q) ** steps


def test_more_iterations_bring_gradient_nearer_to_constant_size() -> None:
    """More iterations bring the gradient nearer to constant size."""
    changes = []
    for iterations in (1, 3, 10):
        torch.manual_seed(0)
        model = IncrementalRNN(2, 8, iterations=iterations)
        x = torch.randn(1, 50, 2)
        first = torch.zeros(1, 8, requires_grad=True)
        (gradient,) = torch.autograd.grad(model(x, (first,))[1][0].sum(), first)
        changes.append(abs(math.log(gradient.norm().item() / math.sqrt(8))))
    assert changes[0] > changes[1] > changes[2] and changes[2] < 0.01


def test_without_a_leak_one_whole_step_is_an_elman_network() -> None:
    model = IncrementalRNN(2, 5, iterations=1, alpha=1e-300)
    other = Rnn(2, 5)
    other.W.data, other.V.data, other.b.data = model.U.data, model.W.data, model.b.data
    x = torch.randn(3, 20, 2)
    torch.testing.assert_close(model(x)[0], other(x)[0], rtol=1e-13, atol=1e-13)
