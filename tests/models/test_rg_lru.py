"""RG-LRU: the equation, block-diagonal gates, and decays that lie between 0 and 1."""

import pytest
import torch
from literal import assert_is, scrambled
from torch import Tensor

from stablebench.errors import UserError
from stablebench.models.recurrent.rg_lru import RGLRU


@pytest.fixture(autouse=True)
def _double() -> None:
    torch.set_default_dtype(torch.float64)
    torch.manual_seed(0)


@pytest.mark.parametrize("heads", [1, 3])
def test_it_is_the_equation(heads: int) -> None:
    model = RGLRU(2, 6, heads=heads, c=5.0)
    scrambled(model)
    W_a, W_x = (torch.block_diag(*W) for W in model.W)

    def literal(x: Tensor) -> Tensor:
        h, outputs = torch.zeros(6), []
        for x_t in x:
            u = model.encoder.weight @ x_t + model.encoder.bias
            r = 1 / (1 + torch.exp(-(W_a @ u + model.b[0])))
            i = 1 / (1 + torch.exp(-(W_x @ u + model.b[1])))
            a = (1 / (1 + torch.exp(-model.Lambda))) ** (5 * r)
            h = a * h + (1 - a**2 + 1e-12) ** 0.5 * i * u
            outputs.append(h)
        return torch.stack(outputs)

    assert_is(model, literal)


def test_decays_start_where_they_are_asked_for() -> None:
    model = RGLRU(1, 20_000, heads=2_000, c=8.0, a_min=0.6, a_max=0.9)  # one head would have 800 million weights
    fastest = torch.exp(model.recurrent_weights())  # r = 1
    assert 0.6 <= fastest.min() and fastest.max() <= 0.9
    assert fastest.mean().item() == pytest.approx(0.75, abs=5 * 0.3 / (12 * 20_000) ** 0.5)


def test_white_noise_through_an_open_gate_keeps_its_variance() -> None:
    model = RGLRU(1, 3, a_min=0.5, a_max=0.9)
    h, a = torch.zeros(4000, 3), torch.exp(model.recurrent_weights())
    wide = torch.full((4000, 3), 50.0)  # both gates are 1
    with torch.no_grad():
        for _ in range(200):
            (h,) = model.step((torch.randn(4000, 3), wide, wide), (h,), model.recurrent_weights())
    assert (a < 0.91).all()
    torch.testing.assert_close(h.var(0), torch.ones(3), rtol=0.12, atol=0)


def test_its_gradient_is_finite_where_nothing_is_forgotten() -> None:
    model = RGLRU(1, 2)
    with torch.no_grad():
        model.Lambda.fill_(800.0)  # a rounds to 1
    x = torch.randn(1, 5, 1, requires_grad=True)
    model(x)[0].sum().backward()
    assert x.grad is not None and x.grad.isfinite().all()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


@pytest.mark.parametrize("arguments", [{"heads": 4}, {"a_min": 0.9, "a_max": 0.5}, {"a_max": 1.0}])
def test_arguments_that_cannot_be_are_refused(arguments: dict[str, float]) -> None:
    with pytest.raises(UserError, match="must (divide|be 0 < a_min)"):
        RGLRU(1, 6, **arguments)  # pyright: ignore[reportArgumentType]
