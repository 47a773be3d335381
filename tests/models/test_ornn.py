"""oRNN: the product of reflections, that it is orthogonal and stays so, and which matrices it reaches."""

import math

import pytest
import torch
from torch import Tensor

from stablebench.errors import UserError
from stablebench.models.base import count_parameters
from stablebench.models.recurrent.ornn import ORNN
from stablebench.models.recurrent.rnn import Rnn


@pytest.fixture(autouse=True)
def _double() -> None:
    torch.set_default_dtype(torch.float64)
    torch.manual_seed(0)


def vectors(model: ORNN) -> list[Tensor]:
    """Return u_n, u_{n-1}, ..., of lengths n, n - 1, ..."""
    n, m = model.hidden, model.trained
    entries = model.u.detach().tolist()
    columns: list[list[float]] = [[] for _ in range(m)]
    for row in range(n):
        for column in range(min(row + 1, m)):
            columns[column].append(entries.pop(0))
    assert not entries
    return [torch.tensor(column) for column in columns]


def reflection(n: int, u: Tensor) -> Tensor:
    """Return H_k(u) of R^n: it reflects the last k coordinates at the plane orthogonal to u."""
    H, k = torch.eye(n), len(u)
    H[n - k :, n - k :] -= 2 * torch.outer(u, u) / (u @ u)
    return H


@pytest.mark.parametrize("reflections", [1, 3, 6])
def test_the_chain_is_the_equation_with_the_literal_product(reflections: int) -> None:
    model = ORNN(2, 6, reflections=reflections)
    model.b.data.normal_()
    W = torch.eye(6)
    for u in vectors(model):
        W = W @ reflection(6, u)
    if reflections == 6:
        W = W @ torch.diag(model.last_sign)
    torch.testing.assert_close(model.orthogonal(), W, rtol=0, atol=1e-14)
    x = torch.randn(1, 9, 2)
    outputs, _ = model(x)
    h = torch.zeros(6)
    for t in range(9):
        z = W @ h + model.V @ x[0, t] + model.b
        h = torch.maximum(z, z / 10)
        torch.testing.assert_close(outputs[0, t], h, rtol=0, atol=1e-13)


def test_last_signs_are_drawn_at_full_capacity_alone() -> None:
    """Signs of the last coordinate are drawn at full capacity alone."""
    found = set()
    for seed in range(8):
        torch.manual_seed(seed)
        model = ORNN(2, 4)
        found.add(model.last_sign[-1].item())
        assert torch.det(model.orthogonal()).item() == pytest.approx(-model.last_sign[-1].item())  # three reflections
        assert torch.equal(ORNN(2, 4, reflections=3).last_sign, torch.ones(4))
    assert found == {1.0, -1.0}


@pytest.mark.parametrize("reflections", [1, 5, 16])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_the_matrix_stays_orthogonal_under_training(reflections: int, dtype: torch.dtype) -> None:
    torch.set_default_dtype(dtype)
    model = ORNN(2, 16, reflections=reflections)
    optimiser = torch.optim.Adam(model.parameters(), lr=0.05)
    x, target = torch.randn(8, 6, 2), torch.randn(8, 16)
    start = model.orthogonal().detach()
    for _ in range(100):
        optimiser.zero_grad()
        (model(x)[0][:, -1] - target).square().mean().backward()
        optimiser.step()
    W = model.orthogonal().detach()
    assert (W - start).abs().max() > 0.1, "training moved it"
    bound = 1e-13 if dtype == torch.float64 else 5e-5  # some hundred roundings
    assert (W.T @ W - torch.eye(16)).abs().max() < bound


def test_at_full_capacity_it_reaches_every_orthogonal_matrix() -> None:
    """At full capacity it reaches every orthogonal matrix of its determinant."""
    n = 7
    model = ORNN(2, n)
    target = torch.linalg.qr(torch.randn(n, n)).Q
    if torch.det(target) * torch.det(model.orthogonal()) < 0:
        target[:, 0] *= -1
    rest, found = target.clone(), torch.zeros(n, n - 1)
    for k in range(n - 1):  # the later reflections leave e_k alone, so this one takes it to the k-th column
        e = torch.zeros(n)
        e[k] = 1
        found[:, k] = rest[:, k] - e
        found[:k, k] = 0
        rest = reflection(n, found[k:, k]) @ rest
    rows, columns = torch.tril_indices(n, n - 1)
    model.u.data = found[rows, columns]
    torch.testing.assert_close(model.orthogonal(), target, rtol=0, atol=1e-12)


def test_few_reflections_turn_a_few_directions() -> None:
    values = torch.linalg.svdvals(ORNN(2, 12, reflections=3).orthogonal() - torch.eye(12))
    assert (values > 1e-6).sum() == 3 and values[3:].max() < 1e-13


def test_it_is_elman_network_with_this_matrix_and_steeper_leak() -> None:
    """It is the elman network with this matrix and a steeper leak."""
    model, elman = ORNN(2, 5), Rnn(2, 5, activation="leaky_relu")  # slope 0.01
    x = 10 + torch.rand(3, 4, 2)
    model.V.data.abs_()  # with one step from 0 no unit is below 0, and the slopes do not matter
    elman.load_state_dict({"W": model.orthogonal(), "V": model.V, "b": model.b})
    torch.testing.assert_close(model(x[:, :1])[0], elman(x[:, :1])[0], rtol=0, atol=1e-13)
    assert (model(-x[:, :1])[0] / elman(-x[:, :1])[0]).mean().item() == pytest.approx(10)


@pytest.mark.parametrize("steps", [1, 6])
def test_singular_values_lie_between_powers_of_a_tenth_and_one(steps: int) -> None:
    model, x = ORNN(2, 8), 3 * torch.randn(1, steps, 2)
    jacobian = torch.autograd.functional.jacobian(lambda h: model(x, (h[None],))[1][0][0], torch.randn(8))
    assert isinstance(jacobian, Tensor)
    values = torch.linalg.svdvals(jacobian)
    assert 0.1**steps - 1e-13 <= values.min() and values.max() <= 1 + 1e-13
    assert values.min() < 0.3


def test_parameters_are_counted_as_in_paper_and_start_in_range() -> None:
    """Parameters are counted as in the paper and start in their range."""
    model = ORNN(10, 64)
    groups = {g.name: count_parameters(g.parameters) for g in model.parameter_groups()}
    assert groups == {"main": 64 * 10 + 64, "orthogonal": 64 * 65 // 2 - 1}  # u_1 is a sign
    assert [u.norm().item() for u in vectors(model)] == pytest.approx([1.0] * 63)
    assert count_parameters([ORNN(10, 64, reflections=16).u]) == sum(range(49, 65))
    assert model.V.abs().max() <= math.sqrt(6 / 74) and model.V.abs().max() > 0.9 * math.sqrt(6 / 74)
    assert torch.equal(model.b, torch.zeros(64))


def test_more_reflections_than_units_are_refused() -> None:
    with pytest.raises(UserError, match="`reflections` must be <= 4, the hidden width"):
        ORNN(2, 4, reflections=5)
