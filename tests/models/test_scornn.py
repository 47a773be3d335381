"""scoRNN: the equation, the paper's own gradient, and the orthogonal matrices that D makes reachable."""

import math

import pytest
import torch
from torch import Tensor

from stablebench.errors import UserError
from stablebench.models.base import count_parameters
from stablebench.models.recurrent.exprnn import ExpRNN
from stablebench.models.recurrent.scornn import ScoRNN


@pytest.fixture(autouse=True)
def _double() -> None:
    torch.set_default_dtype(torch.float64)
    torch.manual_seed(0)


def skew_of(model: ScoRNN) -> Tensor:
    """Return A, read from its entries row by row."""
    n = model.hidden
    A, entries = torch.zeros(n, n), iter(model.A.upper.tolist())
    for i in range(n):
        for j in range(i + 1, n):
            A[i, j] = next(entries)
            A[j, i] = -A[i, j]
    return A


@pytest.mark.parametrize(("hidden", "negative_ones"), [(6, 2), (5, 0), (5, 5)])
def test_the_chain_is_the_equation(hidden: int, negative_ones: int) -> None:
    model = ScoRNN(2, hidden, negative_ones=negative_ones)
    model.A.upper.data.normal_()
    model.b.data.normal_(std=0.3)
    A, eye = skew_of(model), torch.eye(hidden)
    D = torch.diag(torch.tensor([-1.0] * negative_ones + [1.0] * (hidden - negative_ones)))
    W = torch.linalg.inv(eye + A) @ (eye - A) @ D
    x = torch.randn(1, 9, 2)
    outputs, _ = model(x)
    h = [0.0] * hidden
    for t in range(9):
        z = (W @ torch.tensor(h) + model.V @ x[0, t]).tolist()
        h = [math.copysign(1, s) * max(abs(s) + b, 0) for s, b in zip(z, model.b.tolist(), strict=True)]
        assert outputs[0, t].tolist() == pytest.approx(h, abs=1e-12)


def test_the_gradient_is_the_one_that_the_paper_derives() -> None:
    model = ScoRNN(2, 7)
    model.A.upper.data.normal_()
    weight = torch.randn(7, 7)
    W = model.orthogonal()
    (W * weight).pow(2).sum().backward()
    G, W, D = 2 * W.detach() * weight**2, W.detach(), torch.diag(model.D)
    V = torch.linalg.inv(torch.eye(7) + skew_of(model)).T @ G @ (D + W.T)  # theorem 3.2
    expected = (V.T - V)[torch.triu(torch.ones(7, 7), 1).bool()]
    assert model.A.upper.grad is not None
    torch.testing.assert_close(model.A.upper.grad, expected, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("negative_ones", [None, 0, 3])
def test_the_matrix_stays_orthogonal_under_training(negative_ones: int | None, dtype: torch.dtype) -> None:
    torch.set_default_dtype(dtype)
    model = ScoRNN(2, 15, negative_ones=negative_ones)
    optimiser = torch.optim.Adam(model.parameters(), lr=0.05)
    x, target = torch.randn(8, 6, 2), torch.randn(8, 15)
    start = model.orthogonal().detach()
    for _ in range(100):
        optimiser.zero_grad()
        (model(x)[0][:, -1] - target).square().mean().backward()
        optimiser.step()
    W = model.orthogonal().detach()
    assert (W - start).abs().max() > 0.1, "training moved it"
    assert (W.T @ W - torch.eye(15)).abs().max() < (1e-13 if dtype == torch.float64 else 5e-6)  # some roundings
    assert torch.det(W).item() == pytest.approx(-1 if negative_ones in (None, 3) else 1, abs=1e-4)  # (-1)^7, (-1)^3


def test_transform_alone_stays_away_from_minus_one() -> None:
    """The transform alone stays away from minus one and the signs reach it."""
    plain, signed = ScoRNN(2, 8, negative_ones=0), ScoRNN(2, 8, negative_ones=4)
    for model in (plain, signed):
        model.A.upper.data.zero_()
    assert torch.equal(plain.orthogonal(), torch.eye(8))
    assert torch.linalg.eigvals(signed.orthogonal()).real.min().item() == -1.0
    target = torch.linalg.qr(torch.randn(8, 8)).Q
    D = torch.diag(signed.D)
    if torch.det(target) < 0:
        target[:, 0] *= -1
    Z = target @ D  # theorem 3.1: of W D the inverse transform gives A, unless W D has the eigenvalue -1
    A = torch.linalg.solve(torch.eye(8) + Z, torch.eye(8) - Z)
    torch.testing.assert_close(A, -A.T, rtol=0, atol=1e-11)
    signed.A.upper.data = A[torch.triu(torch.ones(8, 8), 1).bool()]
    torch.testing.assert_close(signed.orthogonal(), target, rtol=0, atol=1e-11)


def test_it_starts_as_rotations_by_angles_up_to_a_right_angle() -> None:
    angles = torch.linalg.eigvals(ScoRNN(2, 400, negative_ones=0).orthogonal()).angle().abs()
    assert angles.max() <= math.pi / 2 and angles.max() > 0.95 * math.pi / 2
    assert angles.mean().item() == pytest.approx(math.pi / 4, rel=0.1)


def test_with_the_same_matrix_it_is_exprnn() -> None:
    """In a plane: the Cayley transform of s is the rotation by 2 atan(s), the exponential of t that by t."""
    cayley, exponential = ScoRNN(3, 2, negative_ones=0), ExpRNN(3, 2)
    cayley.A.upper.data.fill_(0.7)
    exponential.W.upper.data.fill_(-2 * math.atan(0.7))
    for name in ("V", "b"):
        getattr(exponential, name).data = getattr(cayley, name).data
    x = torch.randn(2, 10, 3)
    torch.testing.assert_close(cayley(x)[0], exponential(x)[0], rtol=0, atol=1e-13)


def test_parameters_are_in_their_groups() -> None:
    groups = {g.name: count_parameters(g.parameters) for g in ScoRNN(10, 30).parameter_groups()}
    assert groups == {"main": 30 * 10 + 30, "orthogonal": 30 * 29 // 2}


def test_more_signs_than_units_are_refused() -> None:
    with pytest.raises(UserError, match="`negative_ones` must be <= 4, the hidden width"):
        ScoRNN(2, 4, negative_ones=5)
