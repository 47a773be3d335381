"""FastRNN: the equation, the bounds on the Jacobian, eyeRNN as its case of a fixed step, factored matrices."""

import math

import pytest
import torch
from torch import Tensor

from stablebench.errors import UserError
from stablebench.models.base import count_parameters
from stablebench.models.blocks.activations import Activation
from stablebench.models.network import Network
from stablebench.models.recurrent.fastrnn import FastRNN
from stablebench.models.recurrent.roarnn import RoaRNN

PHI = {"tanh": math.tanh, "relu": lambda z: max(z, 0.0)}


@pytest.fixture(autouse=True)
def _double() -> None:
    torch.set_default_dtype(torch.float64)
    torch.manual_seed(0)


def logit(p: float) -> float:
    return math.log(p / (1 - p))


@pytest.mark.parametrize("activation", ["tanh", "relu"])
@pytest.mark.parametrize(("rank_w", "rank_u"), [(None, None), (1, 2), (None, 4)])
def test_it_is_the_equation(activation: Activation, rank_w: int | None, rank_u: int | None) -> None:
    model = FastRNN(3, 5, activation=activation, alpha_start=-0.5, beta_start=0.7, rank_w=rank_w, rank_u=rank_u)
    for parameter in model.parameters():
        parameter.data += 0.5 * torch.randn(parameter.shape)
    W, U = model.W().detach(), model.U().detach()
    assert torch.linalg.matrix_rank(U) == (rank_u or 5) and torch.linalg.matrix_rank(W) == (rank_w or 3)
    alpha, beta = (1 / (1 + math.exp(-v)) for v in model.mixing.tolist())
    x = torch.randn(1, 7, 3)
    outputs, _ = model(x)
    h = torch.zeros(5)
    for t in range(7):
        z = (W @ x[0, t] + U @ h + model.b.detach()).tolist()
        h = alpha * torch.tensor([PHI[activation](v) for v in z]) + beta * h
        torch.testing.assert_close(outputs[0, t], h, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("activation", ["tanh", "relu"])
def test_with_a_fixed_step_it_is_eyernn(activation: Activation) -> None:
    horizon, rho = 40, 1.5
    eye = RoaRNN(3, 6, horizon=horizon, rho=rho, activation=activation, orthogonal="identity")  # pyright: ignore
    alpha = rho / horizon
    fast = FastRNN(3, 6, activation=activation, alpha_start=logit(alpha), beta_start=logit(1 - alpha))
    fast.W.factors[0].data, fast.U.factors[0].data, fast.b.data = eye.V.data, eye.W.data, eye.b.data
    x = torch.randn(2, horizon, 3)
    torch.testing.assert_close(fast(x)[0], eye(x)[0], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("scale", [0.5, 3.0])
def test_singular_values_of_the_jacobian_lie_between_the_bounds(scale: float) -> None:
    model = FastRNN(2, 8)
    model.U.factors[0].data = scale * torch.randn(8, 8)
    alpha, beta = torch.sigmoid(model.mixing.detach()).tolist()
    s = torch.linalg.matrix_norm(model.U().detach(), 2).item()
    assert alpha * s < beta
    x = torch.randn(1, 40, 2)
    jacobian = torch.autograd.functional.jacobian(lambda h: model(x, (h,))[1][0][0], torch.zeros(1, 8))
    assert isinstance(jacobian, Tensor)
    values = torch.linalg.svdvals(jacobian[:, 0])
    assert (beta - alpha * s) ** 40 <= values.min() and values.max() <= (beta + alpha * s) ** 40


def test_condition_number_does_not_grow_for_small_steps() -> None:
    """(1 - alpha + alpha s)^T / (1 - alpha - alpha s)^T tends to exp(2 s) for alpha = 1 / T."""
    found = {}
    for T in (50, 100, 200, 400):
        torch.manual_seed(0)
        model = FastRNN(2, 6, alpha_start=logit(1 / T), beta_start=logit(1 - 1 / T))
        s = torch.linalg.matrix_norm(model.U().detach(), 2).item()
        x = 0.1 * torch.randn(1, T, 2)
        jacobian = torch.autograd.functional.jacobian(lambda h, m=model, x=x: m(x, (h,))[1][0][0], torch.zeros(1, 6))
        assert isinstance(jacobian, Tensor)
        found[T] = torch.linalg.cond(jacobian[:, 0]).item()
        assert found[T] <= ((1 - 1 / T + s / T) / (1 - 1 / T - s / T)) ** T
    assert found[400] < 1.1 * found[50]


def test_the_step_starts_where_the_authors_let_it_start() -> None:
    alpha, beta = torch.sigmoid(FastRNN(2, 4).mixing.detach()).tolist()
    assert alpha == pytest.approx(0.0474, abs=1e-4) and beta == pytest.approx(0.9526, abs=1e-4)


@pytest.mark.parametrize(("rank_w", "rank_u", "count"), [(None, None, 7_283), (8, 20, 4_075)])
def test_parameter_counts_on_har_2(rank_w: int | None, rank_u: int | None, count: int) -> None:
    network = Network([FastRNN(9, 80, rank_w=rank_w, rank_u=rank_u)], 1, readout="last", input="values")
    assert count_parameters(network.parameters()) == count  # "7k" for whole matrices in the coRNN paper


def test_a_rank_above_the_width_is_refused() -> None:
    with pytest.raises(UserError, match="`rank_w` must be <= 3 for a matrix of 5 x 3, got 4"):
        FastRNN(3, 5, rank_w=4)
