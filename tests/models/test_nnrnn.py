import math

import numpy
import pytest
import scipy.linalg
import torch

from stablebench.models.recurrent.exprnn import ExpRNN
from stablebench.models.recurrent.nnrnn import NnRNN


@pytest.fixture(autouse=True)
def _float64():
    torch.manual_seed(0)
    torch.set_default_dtype(torch.float64)
    torch.set_num_threads(1)  # small matrices: on a busy machine threads wait for each other a hundred times longer
    yield
    torch.set_default_dtype(torch.float32)


def perturbed(hidden: int, **arguments) -> NnRNN:
    """A model away from its start in all parameters, with moduli in [0.5, 1.5]."""
    model = NnRNN(3, hidden, **arguments)
    model.T.data.normal_(std=0.3)
    model.P.upper.data.normal_()
    model.b.data.normal_(std=0.5)
    if isinstance(model.gamma, torch.nn.Parameter):
        model.gamma.data.uniform_(0.5, 1.5)
    return model


def eigenvalue_moduli(model: NnRNN) -> torch.Tensor:
    return torch.linalg.eigvals(model.recurrent_weights()[0].detach()).abs().sort().values


def expected_moduli(model: NnRNN) -> torch.Tensor:
    return model.gamma.detach().repeat_interleave(2)[: model.hidden].sort().values


@pytest.mark.parametrize("hidden", [2, 3, 8, 9])
@pytest.mark.parametrize("gamma", ["learned", "fixed"])
def test_the_moduli_of_the_eigenvalues_are_gamma_whatever_t_is(hidden, gamma):
    model = perturbed(hidden, gamma=gamma)
    assert torch.allclose(eigenvalue_moduli(model), expected_moduli(model), rtol=0, atol=1e-12)


def test_with_the_authors_mask_the_moduli_are_not_gamma():
    model = perturbed(8, gamma="fixed", mask="authors")
    assert (eigenvalue_moduli(model) - 1).abs().max() > 0.05
    model.T.data.zero_()
    assert (eigenvalue_moduli(model) - 1).abs().max() < 1e-12


@pytest.mark.parametrize("hidden", [2, 7, 16])
@pytest.mark.parametrize("init", ["henaff", "cayley"])
def test_the_start_is_orthogonal(hidden, init):
    model = NnRNN(3, hidden, init=init)
    W = model.recurrent_weights()[0]
    assert (W.T @ W - torch.eye(hidden)).abs().max() < 1e-12
    assert not model.T.any() and torch.equal(model.gamma, torch.ones((hidden + 1) // 2))


@pytest.mark.parametrize("mask", ["blocks", "authors"])
@pytest.mark.parametrize("hidden", [4, 5])
def test_one_step_is_the_equation(mask, hidden):
    model = perturbed(hidden, mask=mask)
    theta_T = [[0.0] * hidden for _ in range(hidden)]
    entries = iter(model.T.tolist())
    for i in range(hidden):
        for j in range(i):
            if mask == "authors" or i // 2 > j // 2:
                theta_T[i][j] = next(entries)
    assert next(entries, None) is None
    for k, (g, t) in enumerate(zip(model.gamma.tolist(), model.theta.tolist(), strict=False)):
        i, j = 2 * k, 2 * k + 1
        theta_T[i][i] += g * math.cos(t)
        theta_T[i][j] += -g * math.sin(t)
        theta_T[j][i] += g * math.sin(t)
        theta_T[j][j] += g * math.cos(t)
    if hidden % 2:
        theta_T[-1][-1] = model.gamma[-1].item()
    P = torch.from_numpy(scipy.linalg.expm(model.P.skew().detach().numpy()))
    W = (P @ torch.tensor(theta_T) @ P.T).tolist()
    x, h0 = torch.randn(1, 1, 3), torch.randn(1, hidden)
    _, (after,) = model(x, (h0,))
    U, u, h = model.U.tolist(), x[0, 0].tolist(), h0[0].tolist()
    z = [sum(W[i][j] * h[j] for j in range(hidden)) + sum(U[i][j] * u[j] for j in range(3)) for i in range(hidden)]
    expected = [math.copysign(1, s) * max(abs(s) + b, 0) for s, b in zip(z, model.b.tolist(), strict=True)]
    assert after[0].tolist() == pytest.approx(expected, abs=1e-12)


def test_t_makes_the_matrix_non_normal():
    W = perturbed(8, gamma="fixed").recurrent_weights()[0]
    assert (W.T @ W - W @ W.T).abs().max() > 0.1
    assert torch.linalg.matrix_norm(W, 2) > 1.1


def test_penalty_is_delta_times_squared_distance_of_gamma_from_1():
    """The penalty is delta times the squared distance of gamma from 1."""
    model = NnRNN(3, 5, delta=0.5)
    model.gamma.data = torch.tensor([1.0, 3.0, 0.0])
    penalty = model.penalty()
    assert penalty is not None and penalty.item() == pytest.approx(0.5 * 5)
    assert NnRNN(3, 5, gamma="fixed").penalty() is None
    assert NnRNN(3, 5, delta=0.0).penalty() is None


@pytest.mark.parametrize(
    ("gamma", "mask", "expected"),
    [
        ("learned", "blocks", {"main": 3 * 7 + 7 + 3 + 4, "orthogonal": 21, "lower": 18}),
        ("fixed", "authors", {"main": 3 * 7 + 7 + 3, "orthogonal": 21, "lower": 21}),
    ],
)
def test_parameters_are_in_their_groups(gamma, mask, expected):
    groups = NnRNN(3, 7, gamma=gamma, mask=mask).parameter_groups()
    assert {g.name: sum(p.numel() for p in g.parameters) for g in groups} == expected


def test_every_parameter_gets_a_gradient():
    model = perturbed(6)
    model(torch.randn(4, 5, 3))[0].square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().max() > 0 for p in model.parameters())


def test_with_t_zero_and_gamma_one_it_spans_exprnns_matrices():
    W = ExpRNN(3, 6).recurrent_weights()[0].T.detach().numpy()
    form, Z = scipy.linalg.schur(W, output="real")[:2]  # of an orthogonal matrix: rotations in 2 x 2 blocks
    if numpy.linalg.det(Z) < 0:  # the exponential reaches rotations alone: turn one pair the other way round
        swap = scipy.linalg.block_diag([[0, 1], [1, 0]], numpy.eye(4))
        form, Z = swap @ form @ swap, Z @ swap
    model = NnRNN(3, 6)
    A = numpy.real(numpy.asarray(scipy.linalg.logm(Z)))
    rows, columns = numpy.triu_indices(6, 1)
    model.P.upper.data = torch.from_numpy(A[rows, columns].copy())
    if not numpy.allclose(model.P().detach().numpy(), Z):
        model.P.upper.data.neg_()
    model.theta.data = torch.from_numpy(numpy.arctan2(form[1::2, ::2].diagonal(), form[::2, ::2].diagonal()).copy())
    numpy.testing.assert_allclose(model.recurrent_weights()[0].T.detach().numpy(), W, rtol=0, atol=1e-10)
