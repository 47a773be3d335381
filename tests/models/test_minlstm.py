"""minLSTM: the equation with and without its scaling, convex combinations, gradients that are products of its gates."""

from typing import Literal

import pytest
import torch
from torch import Tensor

from stablebench.models.blocks.activations import positive
from stablebench.models.recurrent.mingru import MinGRU
from stablebench.models.recurrent.minlstm import MinLSTM


@pytest.fixture(autouse=True)
def _double() -> None:
    torch.set_default_dtype(torch.float64)
    torch.manual_seed(0)


def gates(model: MinLSTM, x: Tensor) -> tuple[Tensor, Tensor]:
    """Return f' and i' of all steps as the paper writes them."""
    forget, embed_input, _ = (x @ model.W.T + model.b).chunk(3, dim=-1)
    f, i = 1 / (1 + torch.exp(-forget)), 1 / (1 + torch.exp(-embed_input))
    return (f / (f + i), i / (f + i)) if model.normalise else (f, i)


@pytest.mark.parametrize("candidate", ["identity", "positive"])
@pytest.mark.parametrize("normalise", [True, False])
def test_it_is_the_equation(normalise: bool, candidate: Literal["identity", "positive"]) -> None:
    model = MinLSTM(2, 3, normalise=normalise, candidate=candidate)
    x = 3 * torch.randn(1, 6, 2)
    outputs, _ = model(x)
    (f, i), W_h, b_h = gates(model, x), model.W[6:], model.b[6:]
    h = torch.zeros(3)
    for t in range(6):
        c = W_h @ x[0, t] + b_h
        c = positive(c) if candidate == "positive" else c
        h = f[0, t] * h + i[0, t] * c
        torch.testing.assert_close(outputs[0, t], h, rtol=1e-12, atol=1e-13)


def test_scaled_states_are_convex_combinations_of_candidates() -> None:
    """Scaled states are convex combinations of the candidates and the first state."""
    model = MinLSTM(2, 20)
    x, first = 5 * torch.randn(3, 100, 2), torch.randn(3, 20)
    outputs, _ = model(x, (first,))
    seen = torch.cat([first[:, None], model.input_projection(x)[..., 40:]], dim=1)
    slack = 1e-13  # rounding of 100 sums
    assert (outputs <= seen.cummax(1).values[:, 1:] + slack).all()
    assert (outputs >= seen.cummin(1).values[:, 1:] - slack).all()


@pytest.mark.parametrize("normalise", [True, False])
def test_gradient_of_state_is_product_of_gates_after_it(normalise: bool) -> None:
    """The gradient of a state is the product of the gates after it."""
    model = MinLSTM(2, 4, normalise=normalise)
    x = torch.randn(1, 30, 2)
    jacobian = torch.autograd.functional.jacobian(lambda h: model(x, (h,))[0][:, -1], torch.randn(1, 4))
    assert isinstance(jacobian, Tensor)
    f, _ = gates(model, x)
    torch.testing.assert_close(jacobian[0, :, 0], torch.diag(f[0].prod(0)), rtol=1e-12, atol=0)
    assert (f < 1).all() and (f > 0).all()


def test_closed_gates_leave_the_scaled_state_finite() -> None:
    """Gates that both close leave the scaled state finite in single precision."""
    model = MinLSTM(1, 2).float()
    with torch.no_grad():
        model.W.zero_()
        model.b[:4] = torch.tensor([-200.0, -200.0, -300.0, -200.0])  # f and i underflow
    h = torch.ones(1, 2, dtype=torch.float32, requires_grad=True)
    outputs, _ = model(torch.zeros(1, 5, 1, dtype=torch.float32), (h,))
    outputs.sum().backward()
    assert outputs.isfinite().all() and h.grad is not None and h.grad.isfinite().all()
    assert h.grad[0].tolist() == [5.0, sum(0.5**t for t in range(1, 6))]  # f' = 1 where f >> i, 1/2 where f = i


def test_with_a_constant_forget_gate_the_scaled_cell_is_mingru() -> None:
    lstm, gru = MinLSTM(2, 5), MinGRU(2, 5)
    with torch.no_grad():
        lstm.W[:5], lstm.b[:5] = 0, 0
        lstm.W[5:10], lstm.b[5:10] = 0, torch.linspace(-2, 2, 5)
        gru.W[:5] = 0
        gru.b[:5] = torch.log(2 * torch.sigmoid(lstm.b[5:10]))  # z = i / (f + i), so logit(z) = log(i / f), f = 1/2
        gru.W[5:], gru.b[5:] = lstm.W[10:], lstm.b[10:]
    x = torch.randn(2, 8, 2)
    torch.testing.assert_close(lstm(x)[0], gru(x)[0], rtol=1e-12, atol=1e-13)


def test_the_forget_bias_lengthens_the_memory() -> None:
    short, long = MinLSTM(1, 6), MinLSTM(1, 6, forget_bias=8.0, normalise=False)
    x = torch.randn(2, 50, 1)
    assert gates(short, x)[0].prod(1).max() < 1e-4 < 0.8 < gates(long, x)[0].prod(1).min()
