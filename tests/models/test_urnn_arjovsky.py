"""Arjovsky, Shah & Bengio's uRNN: its factors, its equation, what is unitary and what modReLU's biases do."""

import cmath
import math

import pytest
import torch
from torch import Tensor

from stablebench.models.base import count_parameters
from stablebench.models.blocks.unitary import as_real
from stablebench.models.recurrent.urnn_arjovsky import ArjovskyURNN


@pytest.fixture(autouse=True)
def _double() -> None:
    torch.set_default_dtype(torch.float64)
    torch.manual_seed(0)


def literal_matrix(model: ArjovskyURNN) -> Tensor:
    """Return D_3 R_2 F^-1 D_2 Pi R_1 F D_1, each factor written out entry by entry."""
    n = model.hidden
    F = torch.tensor([[cmath.exp(-2j * math.pi * j * k / n) / n**0.5 for k in range(n)] for j in range(n)])
    D = [torch.diag(torch.tensor([cmath.exp(1j * w) for w in phases])) for phases in model.w.tolist()]
    R = []
    for real, imaginary in model.v.tolist():
        v = torch.tensor([complex(a, b) for a, b in zip(real, imaginary, strict=True)])
        R.append(torch.eye(n) - 2 * torch.outer(v, v.conj()) / (v.abs() ** 2).sum())
    Pi = torch.zeros(n, n, dtype=torch.complex128)
    for i, j in enumerate(model.Pi.tolist()):
        Pi[i, j] = 1
    return D[2] @ R[1] @ torch.linalg.inv(F) @ D[1] @ Pi @ R[0] @ F @ D[0]


@pytest.mark.parametrize("hidden", [4, 7])
def test_the_chain_is_the_equation_in_complex_numbers(hidden: int) -> None:
    model = ArjovskyURNN(2, hidden)
    model.b.data.normal_(std=0.3)
    W = literal_matrix(model)
    torch.testing.assert_close(model.unitary(), W, rtol=0, atol=1e-14)
    x = torch.randn(1, 9, 2)
    outputs, _ = model(x)
    V = torch.complex(model.V[:hidden], model.V[hidden:])
    h = torch.complex(model.h_0[:hidden], model.h_0[hidden:])
    for t in range(9):
        z = W @ h + V @ x[0, t].to(V.dtype)
        h = torch.stack([s / abs(s) * max(abs(s) + b, 0) for s, b in zip(z, model.b, strict=True)])
        torch.testing.assert_close(outputs[0, t], torch.cat([h.real, h.imag]), rtol=0, atol=1e-8)  # 1e-10 in |z|^2


def test_permutation_is_fixed_saved_and_the_seeds_own() -> None:
    """The permutation is fixed and saved and each seed has its own."""
    model = ArjovskyURNN(2, 30)
    assert sorted(model.Pi.tolist()) == list(range(30)) and "Pi" in model.state_dict()
    torch.manual_seed(1)
    assert not torch.equal(model.Pi, ArjovskyURNN(2, 30).Pi)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_the_matrix_stays_unitary_under_training(dtype: torch.dtype) -> None:
    torch.set_default_dtype(dtype)
    model = ArjovskyURNN(2, 15)
    optimiser = torch.optim.RMSprop(model.parameters(), lr=0.01)
    x, target = torch.randn(8, 6, 2), torch.randn(8, 30)
    start = model.unitary().detach()
    for _ in range(100):
        optimiser.zero_grad()
        (model(x)[0][:, -1] - target).square().mean().backward()
        optimiser.step()
    W = model.unitary().detach()
    assert (W - start).abs().max() > 0.1, "training moved it"
    assert (W.mH @ W - torch.eye(15)).abs().max() < (1e-14 if dtype == torch.float64 else 3e-6)  # some roundings


def jacobian(model: ArjovskyURNN, steps: int) -> Tensor:
    x = torch.randn(1, steps, 2)
    found = torch.autograd.functional.jacobian(lambda h: model(x, (h[None],))[1][0][0], torch.randn(2 * model.hidden))
    assert isinstance(found, Tensor)
    return found


def test_it_starts_as_a_linear_network_that_keeps_every_norm() -> None:
    values = torch.linalg.svdvals(jacobian(ArjovskyURNN(2, 8), 30))
    torch.testing.assert_close(values, torch.ones(16), rtol=0, atol=1e-13)


def test_jacobian_does_not_grow_while_biases_are_not_positive() -> None:
    """The jacobian does not grow while the biases are not positive."""
    model = ArjovskyURNN(2, 8)
    model.b.data.uniform_(-0.5, 0)
    values = torch.linalg.svdvals(jacobian(model, 10))
    assert values.max() <= 1 + 1e-13 and values.min() < 0.5
    model.b.data.fill_(0.5)
    assert torch.linalg.svdvals(jacobian(model, 10)).max() > 2, "and it does when they are"


def test_matrices_in_real_form_multiply_like_complex_ones() -> None:
    A, B = torch.randn(2, 3, 3, dtype=torch.complex128)
    torch.testing.assert_close(as_real(A) @ as_real(B), as_real(A @ B))
    z = torch.randn(3, dtype=torch.complex128)
    torch.testing.assert_close(as_real(A) @ torch.cat([z.real, z.imag]), torch.cat([(A @ z).real, (A @ z).imag]))


def test_matrix_has_seven_parameters_unit_and_all_start_in_range() -> None:
    """The matrix has seven parameters a unit and all start in their range."""
    model = ArjovskyURNN(10, 128)
    groups = {g.name: count_parameters(g.parameters) for g in model.parameter_groups()}
    assert groups["orthogonal"] == 7 * 128
    assert model.h_0.abs().max() <= (3 / 256) ** 0.5 and model.h_0.norm().item() == pytest.approx(1, abs=0.1)
    assert model.w.abs().max() <= math.pi and model.w.abs().max() > 3
    assert model.v.abs().max() <= 1 and torch.equal(model.b, torch.zeros(128))
    assert model.V.abs().max() <= (6 / 138) ** 0.5


def test_the_initial_state_is_trained() -> None:
    model = ArjovskyURNN(2, 4)
    outputs, _ = model(torch.zeros(3, 1, 2))
    torch.testing.assert_close(outputs[:, 0], (as_real(model.unitary()) @ model.h_0).expand(3, -1))
    outputs.sum().backward()
    assert model.h_0.grad is not None and model.h_0.grad.abs().max() > 0
