"""Orthogonal matrices as exponentials of skew-symmetric ones."""

import math

import pytest
import scipy.linalg
import scipy.stats
import torch

from stablebench.models.blocks.skew_exponential import BlockInit, SkewExponential, block_angles, skew_exponential


@pytest.fixture(autouse=True)
def _float64():
    torch.manual_seed(0)
    torch.set_default_dtype(torch.float64)
    torch.set_num_threads(1)  # small matrices: on a busy machine threads wait for each other a hundred times longer
    yield
    torch.set_default_dtype(torch.float32)


def givens(n: int, a: int, b: int, theta: float) -> torch.Tensor:
    """R_ab(theta) of DizzyRNN, section 4.1."""
    R = torch.eye(n)
    R[a, a] = R[b, b] = math.cos(theta)
    R[a, b], R[b, a] = math.sin(theta), -math.sin(theta)
    return R


def skew(n: int, norm: float) -> torch.Tensor:
    A = torch.randn(n, n, dtype=torch.float64, generator=torch.Generator().manual_seed(n))
    return (A - A.T) * norm / torch.linalg.matrix_norm(A - A.T, 2)


def test_the_skew_exponential_is_the_matrix_exponential():
    exponential = SkewExponential(9, torch.zeros(4))
    exponential.upper.data.normal_()
    A = exponential.skew().detach()
    assert torch.equal(A, -A.T)
    assert exponential.upper.numel() == 36
    W = exponential().detach()
    assert torch.allclose(W, torch.from_numpy(scipy.linalg.expm(A.numpy())), rtol=0, atol=1e-13)
    assert (W.T @ W - torch.eye(9)).abs().max() < 1e-13


@pytest.mark.parametrize("norm", [0.0, 1e-3, 0.8, 0.9, 3.0, 50.0])
@pytest.mark.parametrize("n", [2, 7, 40])
def test_the_exponential_and_its_gradient_are_torchs(n: int, norm: float) -> None:
    A = (skew(n, norm) if norm else torch.zeros(n, n, dtype=torch.float64)).requires_grad_()
    G = torch.randn(n, n, dtype=torch.float64, generator=torch.Generator().manual_seed(9))
    found, expected = skew_exponential(A), torch.matrix_exp(A)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-13 * (1 + norm))
    gradients = [torch.autograd.grad((Q * G).sum(), A)[0] for Q in (found, expected)]
    torch.testing.assert_close(*gradients, rtol=0, atol=1e-11 * (1 + norm))


@pytest.mark.parametrize("norm", [0.5, 3.0, 20.0])
def test_exponential_in_float32_is_orthogonal(norm: float) -> None:
    """The exponential in float32 is orthogonal and as exact as torchs."""
    A = skew(64, norm)
    exact, ours, theirs = torch.matrix_exp(A), skew_exponential(A.float()), torch.matrix_exp(A.float())
    assert (ours @ ours.T - torch.eye(64, dtype=torch.float32)).abs().max() < 1e-5 * (1 + norm)
    assert (ours - exact).abs().max() <= 2 * (theirs - exact).abs().max() + 1e-6


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_the_exponential_of_what_is_not_finite_is_not_finite(value: float) -> None:
    A = skew(3, 1.0)
    A[0, 1], A[1, 0] = value, -value
    assert skew_exponential(A).isnan().any()


@pytest.mark.parametrize("n", [2, 5, 8])
def test_the_skew_exponential_starts_as_rotations_of_pairs(n):
    angles = torch.linspace(-3, 3, n // 2)
    expected = torch.block_diag(*(givens(2, 0, 1, t) for t in angles.tolist()), torch.eye(n % 2))[:n, :n]
    assert torch.allclose(SkewExponential(n, angles)(), expected, rtol=0, atol=1e-13)


@pytest.mark.parametrize(
    ("init", "to_uniform"),
    [("henaff", lambda s: (s + math.pi) / (2 * math.pi)), ("cayley", lambda s: 2 * torch.atan(s) / (math.pi / 2))],
)
def test_block_angles_follow_their_distribution(init: BlockInit, to_uniform):
    draws = to_uniform(block_angles(init, 20_000))
    assert scipy.stats.kstest(draws.numpy(), "uniform").pvalue > 1e-3  # the seed is fixed: no flaky failures
