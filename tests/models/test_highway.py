import math

import pytest
import torch

from stablebench.errors import UserError
from stablebench.models.deep.highway import Highway


@pytest.fixture(autouse=True)
def _float64() -> None:
    torch.manual_seed(0)
    torch.set_default_dtype(torch.float64)


@pytest.mark.parametrize("activation", ["tanh", "relu"])
def test_the_chain_is_the_equation(activation) -> None:
    model = Highway(3, 4, layers=7, gate_bias=-0.5, activation=activation, init="normal")
    phi = {"relu": lambda z: max(z, 0.0), "tanh": math.tanh}[activation]
    W_1, b_1, W_H, b_H, W_T, b_T = (
        p.tolist() for p in (model.W_1[0], model.b_1[0], model.W_H, model.b_H, model.W_T, model.b_T)
    )
    x = torch.randn(5, 3)
    for sample, found in zip(x.tolist(), model(x).tolist(), strict=True):
        h = [phi(b_1[i] + sum(W_1[i][j] * sample[j] for j in range(3))) for i in range(4)]
        for l in range(4):  # noqa: E741
            T = [1 / (1 + math.exp(-b_T[l][i] - sum(W_T[l][i][j] * h[j] for j in range(4)))) for i in range(4)]
            H = [phi(b_H[l][i] + sum(W_H[l][i][j] * h[j] for j in range(4))) for i in range(4)]
            h = [H[i] * T[i] + h[i] * (1 - T[i]) for i in range(4)]
        assert found == pytest.approx(h, abs=1e-12)


def test_closed_gate_makes_layer_identity_with_derivative_one() -> None:
    """A closed gate makes a layer the identity with derivative one."""
    model = Highway(3, 4, layers=50, gate_bias=-800.0)  # exp(-800) is 0 in float64
    x = torch.randn(2, 3, requires_grad=True)
    assert torch.equal(model(x), model.embed_input(x)[0])
    through, first = (torch.autograd.grad(y.sum(), x)[0] for y in (model(x), model.embed_input(x)[0]))
    assert torch.equal(through, first)


def test_an_open_gate_makes_it_the_plain_network() -> None:
    model, x = Highway(3, 4, layers=6, gate_bias=800.0), torch.randn(2, 3)
    (h,) = model.embed_input(x)
    for W, b in zip(model.W_H, model.b_H, strict=True):
        h = torch.tanh(h @ W.T + b)
    torch.testing.assert_close(model(x), h, rtol=1e-14, atol=1e-14)


def test_layers_carry_at_first() -> None:
    model = Highway(3, 64, layers=50)
    assert (model.b_T == -2).all() and not model.b_H.any()
    (h,) = model.embed_input(torch.randn(100, 3))
    gates = torch.sigmoid(h @ model.W_T[0].T + model.b_T[0])
    assert gates.mean() < 0.25
    assert model.W_H.std().item() == pytest.approx(math.sqrt(2 / 64), rel=0.01)


def test_fewer_than_one_highway_layer_is_refused() -> None:
    with pytest.raises(UserError, match="`layers` must be >= 4 .* got 3"):
        Highway(3, 4, layers=3)
