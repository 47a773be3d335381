"""NRU: the equation, the additive memory, the lengths of what is written."""

from typing import Literal

import pytest
import torch

from stablebench.errors import UserError
from stablebench.models.base import count_parameters
from stablebench.models.recurrent.nru import NRU


@pytest.fixture(autouse=True)
def _double() -> None:
    torch.set_default_dtype(torch.float64)
    torch.manual_seed(0)


@pytest.mark.parametrize("rectified", [True, False])
@pytest.mark.parametrize("combine", ["sum", "mean"])
def test_it_is_the_equation_head_by_head(rectified: bool, combine: Literal["sum", "mean"]) -> None:
    model = NRU(2, 5, memory=8, heads=2, rectified=rectified, combine=combine)
    W_h, W_x, W_m = model.to_hidden.weight.detach().split([5, 2, 8], dim=1)
    A, B, P, Q, R, S = model.to_heads.weight.detach().split([2, 2, 4, 4, 4, 4])
    a, b, p_0, q_0, r_0, s_0 = model.to_heads.bias.detach().split([2, 2, 4, 4, 4, 4])

    def f(number: float) -> float:
        return max(number, 0.0) if rectified else number

    x = torch.randn(1, 5, 2)
    outputs, state = model(x)
    h, m = torch.zeros(5), torch.zeros(8)
    for t in range(5):
        h = (W_h @ h + W_x @ x[0, t] + W_m @ m + model.to_hidden.bias.detach()).clamp(min=0)
        both = torch.cat([h, m])
        after = m.clone()
        for weights, bias, left, left_0, right, right_0, sign in (
            (A, a, P, p_0, Q, q_0, 1),
            (B, b, R, r_0, S, s_0, -1),
        ):
            strength = (weights @ both + bias).tolist()
            p, q = (left @ both + left_0).tolist(), (right @ both + right_0).tolist()
            flat = [f(p_i * q_j) for p_i in p for q_j in q]
            for head in range(2):
                vector = flat[8 * head : 8 * head + 8]
                length = sum(abs(v) ** 5 for v in vector) ** 0.2 or 1.0
                for j in range(8):
                    share = 0.5 if combine == "mean" else 1.0
                    after[j] += sign * share * f(strength[head]) * vector[j] / length
        m = after
        torch.testing.assert_close(outputs[0, t], h, rtol=1e-12, atol=1e-13)
    torch.testing.assert_close(state[1][0], m, rtol=1e-12, atol=1e-13)


def test_silent_heads_leave_memory_and_gradient_as_they_are() -> None:
    """Silent heads leave the memory and its gradient as they are."""
    model = NRU(2, 5)
    with torch.no_grad():
        model.to_heads.weight[:8] = 0
        model.to_heads.bias[:8] = -1  # alpha = beta = relu(-1)
    m = torch.randn(1, 64, requires_grad=True)
    _, (_, after) = model(torch.randn(1, 100, 2), (torch.zeros(1, 5), m))
    assert torch.equal(after, m)
    (gradient,) = torch.autograd.grad(after.sum(), m)
    assert torch.equal(gradient, torch.ones(1, 64))


def test_a_write_is_as_long_as_its_strength() -> None:
    model = NRU(2, 5, heads=1, memory=64)
    with torch.no_grad():
        model.to_heads.weight[:2] = 0
        model.to_heads.bias[:2] = torch.tensor([0.7, -1.0])  # one head writes with strength 0.7, none erases
    _, (_, after) = model(torch.randn(6, 1, 2))
    written = torch.linalg.vector_norm(after, 5, dim=1)
    assert ((written - 0.7).abs() < 1e-13).all() and after.min() >= 0


def test_hidden_states_are_not_bounded_by_an_activation() -> None:
    outputs, _ = NRU(2, 5)(1000 * torch.randn(2, 5, 2))
    assert outputs.max() > 100 and outputs.min() == 0


def test_published_model_has_published_number_of_parameters() -> None:
    """The published model has the published number of parameters."""
    model = NRU(1, 212, memory=256, heads=4)
    readout = 10 * (212 + 1)
    assert count_parameters(model.parameters()) + readout == pytest.approx(165_000, rel=0.01)  # roaRNN, figure 5


def test_heads_and_memory_must_make_a_square() -> None:
    with pytest.raises(UserError, match=r"must be a square .* got 4 \* 60; take 4 \* 64"):
        NRU(2, 5, memory=60)
