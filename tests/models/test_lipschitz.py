"""Lipschitz RNN and its gated form: the equation, the spectrum, the contraction, the order of the solvers."""

import math
from typing import Literal

import pytest
import torch
from torch import Tensor

from stablebench.models.base import count_parameters
from stablebench.models.network import Network
from stablebench.models.recurrent.antisymmetric import Antisymmetric
from stablebench.models.recurrent.lipschitz import Lipschitz

Solver = Literal["euler", "rk2"]


@pytest.fixture(autouse=True)
def _double() -> None:
    torch.set_default_dtype(torch.float64)
    torch.manual_seed(0)


def between(M: Tensor, beta: float, gamma: float) -> Tensor:
    """Return the paper's matrix, entry by entry."""
    n, M = len(M), M.detach()
    return torch.tensor(
        [
            [
                (1 - beta) * float(M[i, j] + M[j, i]) + beta * float(M[i, j] - M[j, i]) - gamma * (i == j)
                for j in range(n)
            ]
            for i in range(n)
        ]
    )


@pytest.mark.parametrize("solver", ["euler", "rk2"])
@pytest.mark.parametrize("gated", [False, True])
def test_it_is_the_equation(gated: bool, solver: Solver) -> None:
    model = Lipschitz(
        2, 5, epsilon=0.2, beta=0.7, gamma=0.3, beta_w=0.4, gamma_w=0.1, sigma=3.0, solver=solver, gated=gated
    )
    model.b.data.normal_()
    A, W = between(model.M_A, 0.7, 0.3), between(model.M_W, 0.4, 0.1)
    U, b = model.U.detach(), model.b.detach()
    x = torch.randn(1, 8, 2)
    outputs, _ = model(x)

    def f(h: Tensor, u: Tensor) -> Tensor:
        field = A @ h + torch.tanh(W @ h + U[:5] @ u + b[:5])
        return field / (1 + torch.exp(-(W @ h + U[5:] @ u + b[5:]))) if gated else field

    h = torch.zeros(5)
    for t in range(8):
        u = x[0, t]
        h = h + 0.2 * f(h if solver == "euler" else h + 0.1 * f(h, u), u)
        torch.testing.assert_close(outputs[0, t], h, rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize("beta", [0.0, 0.5, 0.75, 1.0])
@pytest.mark.parametrize("gated", [False, True])
def test_symmetric_part_bounds_spectrum_after_training_steps(beta: float, gated: bool) -> None:
    """The symmetric part bounds the spectrum after training steps."""
    gamma = 0.2
    model = Lipschitz(3, 16, beta=beta, gamma=gamma, gated=gated)
    optimiser = torch.optim.Adam(model.parameters(), lr=0.05)
    for _ in range(5):
        for matrix, M in zip(model.A_and_W(), (model.M_A, model.M_W), strict=True):
            real = torch.linalg.eigvals(matrix.detach()).real
            symmetric = (1 - beta) * torch.linalg.eigvalsh(M.detach() + M.detach().T) - gamma
            assert symmetric.min() - 1e-12 <= real.min() and real.max() <= symmetric.max() + 1e-12
            if beta == 1:
                assert (real + gamma).abs().max() < 1e-12
        optimiser.zero_grad()
        model(torch.randn(4, 20, 3))[0].square().sum().backward()
        optimiser.step()


def contracting(**others: object) -> Lipschitz:
    """A model under the condition of theorem 1: A_sym is negative definite, its eigenvalues beyond ||W||."""
    model = Lipschitz(2, 12, beta=0.8, gamma=2.0, gamma_w=0.0, sigma=1.0, **others)  # pyright: ignore
    model.b.data.normal_()
    A, W = model.A_and_W()
    assert torch.linalg.eigvalsh((A + A.T) / 2).max() < -torch.linalg.matrix_norm(W, 2)
    return model


@pytest.mark.parametrize("solver", ["euler", "rk2"])
def test_trajectories_come_together_at_theorem_1s_rate(solver: Solver) -> None:
    """Two trajectories of one input come together at the rate of theorem 1."""
    model = contracting(epsilon=0.01, solver=solver)
    A, W = (matrix.detach() for matrix in model.A_and_W())
    rate = -(torch.linalg.eigvalsh((A + A.T) / 2).max() + torch.linalg.matrix_norm(W, 2)).item()
    x = torch.randn(1, 400, 2)
    one, two = (model(x, (3 * torch.randn(1, 12),))[0][0] for _ in range(2))
    distance = (one - two).norm(dim=1)
    later = torch.arange(len(distance)) * 0.01
    # the ODE contracts at least as exp(-rate t); a step of size 0.01 changes the rate by at most ||A + W||^2 / 2 * 0.01
    slack = (torch.linalg.matrix_norm(A, 2) + torch.linalg.matrix_norm(W, 2)).square() / 2 * 0.01
    assert rate > 2 * slack
    assert (distance <= distance[0] * torch.exp(-(rate - slack) * later) * (1 + 1e-12)).all()


def test_without_the_condition_trajectories_may_part() -> None:
    model = Lipschitz(2, 12, beta=0.5, gamma=0.0, sigma=6.0, epsilon=0.05)
    x = torch.randn(1, 100, 2)
    one, two = (model(x, (0.1 * torch.randn(1, 12),))[0][0] for _ in range(2))
    assert (one - two).norm(dim=1)[-1] > 10 * (one - two).norm(dim=1)[0]


@pytest.mark.parametrize("sigma", [1.0, 6.0])
def test_jacobian_of_chain_has_bound_that_claim_states(sigma: float) -> None:
    """The jacobian of the chain has the bound that the claim states."""
    model = Lipschitz(2, 8, epsilon=0.05, sigma=sigma)
    A, W = (matrix.detach() for matrix in model.A_and_W())
    x = torch.randn(1, 30, 2)
    jacobian = torch.autograd.functional.jacobian(lambda h: model(x, (h,))[1][0][0], torch.zeros(1, 8))
    assert isinstance(jacobian, Tensor)
    step = torch.linalg.matrix_norm(torch.eye(8) + 0.05 * A, 2) + 0.05 * torch.linalg.matrix_norm(W, 2)
    assert torch.linalg.matrix_norm(jacobian[:, 0], 2) <= step**30


@pytest.mark.parametrize(("solver", "order"), [("euler", 1), ("rk2", 2)])
def test_the_solvers_converge_with_their_order(solver: Solver, order: int) -> None:
    """A constant input for one unit of time, in ever smaller steps."""
    errors = []
    for steps in (20, 40, 4000):
        torch.manual_seed(1)
        model = Lipschitz(2, 6, epsilon=1 / steps, beta=0.7, sigma=3.0, solver=solver)
        errors.append(model(torch.ones(1, steps, 2))[0][0, -1])
    coarse, fine = ((h - errors[2]).norm().item() for h in errors[:2])
    assert math.log2(coarse / fine) == pytest.approx(order, abs=0.1)


def test_without_its_linear_part_it_is_antisymmetric_rnn() -> None:
    """With no linear part and no symmetry it is the antisymmetric rnn."""
    model = Lipschitz(2, 6, beta=0.0, gamma=0.0, beta_w=1.0, gamma_w=0.3, epsilon=0.2)
    other = Antisymmetric(2, 6, gamma=0.3, epsilon=0.2)
    model.M_A.data.zero_()
    rows, columns = torch.triu_indices(6, 6, offset=1)
    other.W.data = (model.M_W - model.M_W.T).detach()[rows, columns]
    other.V.data, other.b.data = model.U.data, model.b.data
    x = torch.randn(3, 20, 2)
    torch.testing.assert_close(model(x)[0], other(x)[0], rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize(("gated", "published"), [(False, 34_314), (True, 34_570)])
def test_parameter_counts_on_psmnist(gated: bool, published: int) -> None:
    network = Network([Lipschitz(1, 128, gated=gated)], 10, readout="last", input="values")
    assert count_parameters(network.parameters()) == published  # 34k in the paper, ungated
