"""The exponential update keeps a matrix orthogonal and goes downhill at the rate that its definition implies."""

import pytest
import scipy.linalg
import torch
from torch import Tensor, nn

from stablebench.errors import UserError
from stablebench.training.updates.exponential import ExponentialUpdate, updated


def normal(*shape: int, seed: int, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(*shape, dtype=dtype, generator=torch.Generator().manual_seed(seed))


def orthogonal(n: int, dtype: torch.dtype = torch.float64, seed: int = 0) -> nn.Parameter:
    return nn.Parameter(torch.linalg.qr(normal(n, n, seed=seed)).Q.to(dtype))


def drift(W: Tensor) -> float:
    W = W.detach().double()
    return (W.T @ W - torch.eye(len(W), dtype=W.dtype)).abs().max().item()


def test_one_update_is_the_posters_formula() -> None:
    W, G, eta = orthogonal(7), normal(7, 7, seed=1), 0.3
    A = G @ W.detach().T - W.detach() @ G.T
    expected = torch.from_numpy(scipy.linalg.expm(-eta * A.numpy())) @ W.detach()
    W.grad = G
    ExponentialUpdate([W], lr=eta).step()
    torch.testing.assert_close(W.detach(), expected, rtol=0, atol=1e-14)


@pytest.mark.parametrize(
    ("dtype", "bound"),  # some roundings of the type, not accumulated; a bfloat16 entry is rounded when stored
    [(torch.float64, 1e-14), (torch.float32, 2e-6), (torch.bfloat16, 0.02)],
    ids=["float64", "float32", "bfloat16"],
)
@pytest.mark.parametrize("size_of_update", [0.01, 1.0, 100.0])
def test_a_matrix_stays_orthogonal(dtype: torch.dtype, bound: float, size_of_update: float) -> None:
    W, rng = orthogonal(32, dtype), torch.Generator().manual_seed(1)
    optimiser = ExponentialUpdate([W], lr=size_of_update / 64)  # ||A|| is about 64 for random gradients
    start = W.detach().clone()
    for _ in range(300):
        W.grad = torch.randn(32, 32, generator=rng).to(dtype)
        optimiser.step()
    assert drift(W) < bound
    assert (W - start).abs().max() > 1e-3


def test_the_loss_falls_by_half_the_squared_norm_of_A() -> None:
    W, M = orthogonal(6), normal(6, 6, seed=1)

    def loss(W: Tensor) -> Tensor:
        return (W @ M).pow(3).sum() + W.exp().sum()

    (G,) = torch.autograd.grad(loss(W), W)
    A = G @ W.detach().T - W.detach() @ G.T
    eta = 1e-5 / A.norm().item()
    central = (loss(updated(W, G, eta)) - loss(updated(W, G, -eta))) / (2 * eta)
    assert central.item() == pytest.approx(-A.square().sum().item() / 2, rel=1e-6)


def test_it_solves_the_procrustes_problem() -> None:
    W, X, Y = orthogonal(5, seed=2), normal(5, 20, seed=3) / 4, normal(5, 20, seed=4) / 4
    sign = torch.det(W.detach()).sign()
    U, S, Vh = torch.linalg.svd(Y @ X.T)  # of all W with this determinant, the nearest is U diag(1 .. 1, s) V^T
    last = torch.ones(5, dtype=torch.float64)
    last[-1] = sign * torch.det(U @ Vh).sign()
    best = U @ torch.diag(last) @ Vh
    optimiser = ExponentialUpdate([W], lr=0.1)
    for _ in range(1500):
        optimiser.zero_grad()
        (W @ X - Y).square().sum().backward()
        optimiser.step()
    assert (W - best).abs().max() < 1e-6
    assert S.min() > 1e-3  # the minimum is unique


@pytest.mark.parametrize(
    ("matrix", "message"),
    [
        (torch.zeros(2, 3), r"needs square matrices, got one of \(2, 3\)"),
        (torch.zeros(3), r"needs square matrices, got one of \(3,\)"),
        (torch.full((3, 3), 0.5), "needs an orthogonal matrix to start from"),
        (torch.full((3, 3), float("nan")), "needs an orthogonal matrix to start from"),
    ],
)
def test_only_orthogonal_matrices_are_taken(matrix: Tensor, message: str) -> None:
    with pytest.raises(UserError, match=message):
        ExponentialUpdate([nn.Parameter(matrix)], lr=0.1)
