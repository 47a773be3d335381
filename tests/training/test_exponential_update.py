"""The exponential update keeps a matrix orthogonal and goes downhill at the rate that its definition implies."""

import pytest
import torch
from torch import Tensor, nn

from stablebench.errors import UserError
from stablebench.training.exponential_update import ExponentialUpdate


def orthogonal(n: int, dtype: torch.dtype = torch.float64, seed: int = 0) -> nn.Parameter:
    rng = torch.Generator().manual_seed(seed)
    return nn.Parameter(torch.linalg.qr(torch.randn(n, n, dtype=torch.float64, generator=rng)).Q.to(dtype))


def drift(W: Tensor) -> float:
    return (W.T @ W - torch.eye(len(W), dtype=W.dtype)).abs().max().item()


@pytest.mark.parametrize(("dtype", "bound"), [(torch.float64, 1e-13), (torch.float32, 1e-5)])
def test_a_matrix_stays_orthogonal_through_large_updates(dtype: torch.dtype, bound: float) -> None:
    W, rng = orthogonal(32, dtype), torch.Generator().manual_seed(1)
    optimiser = ExponentialUpdate([W], lr=0.3)
    for _ in range(1000):
        W.grad = torch.randn(32, 32, generator=rng, dtype=dtype)
        optimiser.step()
    assert drift(W.detach()) < bound


def test_the_loss_falls_by_half_the_squared_norm_of_A() -> None:
    W, M, eta = orthogonal(6), torch.randn(6, 6, dtype=torch.float64), 1e-6
    loss = (W * M).sum()
    loss.backward()
    assert W.grad is not None
    A = W.grad @ W.detach().T - W.detach() @ W.grad.T
    ExponentialUpdate([W], lr=eta).step()
    assert ((W * M).sum() - loss).item() / eta == pytest.approx(-A.square().sum().item() / 2, rel=1e-4)


def test_it_finds_the_nearest_rotation() -> None:
    W, target = orthogonal(5, seed=2), orthogonal(5, seed=3).detach()
    target = target if torch.det(target) * torch.det(W.detach()) > 0 else target[[1, 0, 2, 3, 4]]
    optimiser = ExponentialUpdate([W], lr=0.2)
    for _ in range(2000):
        optimiser.zero_grad()
        (W - target).square().sum().backward()
        optimiser.step()
    assert (W - target).abs().max() < 1e-6


def test_only_square_matrices_are_taken() -> None:
    with pytest.raises(UserError, match=r"needs square matrices, got one of \(2, 3\)"):
        ExponentialUpdate([nn.Parameter(torch.zeros(2, 3))], lr=0.1)
