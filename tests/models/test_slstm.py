"""sLSTM: the equation without its stabiliser, gates of any size, heads, bounds."""

from typing import Literal

import pytest
import torch
from torch import Tensor

from stablebench.engines.fused import engine as fused
from stablebench.errors import UserError
from stablebench.models.recurrent.slstm import SLSTM

Forget = Literal["sigmoid", "exp"]


@pytest.fixture(autouse=True)
def _double() -> None:
    torch.set_default_dtype(torch.float64)
    torch.manual_seed(0)


def unstabilised(model: SLSTM, x: Tensor) -> Tensor:
    """Return the outputs of the paper's equations 8 to 13, without m, head by head."""
    size = model.hidden // model.heads
    W = model.W.view(4, model.heads, size, -1)
    R = model.R.view(4, model.heads, size, size)
    b = model.b.view(4, model.heads, size)
    heads = []
    for k in range(model.heads):
        h = c = n = torch.zeros(len(x), size)
        found = []
        for x_t in x.unbind(1):
            i, f, z, o = (x_t @ W[j, k].T + h @ R[j, k].T + b[j, k] for j in range(4))
            F = f.exp() if model.forget == "exp" else torch.sigmoid(f)
            c = F * c + i.exp() * z.tanh()
            n = F * n + i.exp()
            h = torch.sigmoid(o) * c / n
            found.append(h)
        heads.append(torch.stack(found, dim=1))
    return torch.cat(heads, dim=2)


@pytest.mark.parametrize("heads", [1, 3])
@pytest.mark.parametrize("forget", ["sigmoid", "exp"])
def test_stabilised_it_has_values_and_gradients_of_equation(forget: Forget, heads: int) -> None:
    """Stabilised it has the values and gradients of the equation."""
    model = SLSTM(2, 6, forget=forget, heads=heads, forget_bias=0.5)
    x = torch.randn(3, 12, 2)
    weights = torch.randn(3, 12, 6)
    found, _ = model(x)
    expected = unstabilised(model, x)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-13)
    ours = torch.autograd.grad((found * weights).sum(), list(model.parameters()))
    theirs = torch.autograd.grad((expected * weights).sum(), list(model.parameters()))
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-11)


@pytest.mark.parametrize("run", ["reference", "fused"])
@pytest.mark.parametrize("forget", ["sigmoid", "exp"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_gates_of_any_size_overflow_nothing(forget: Forget, dtype: torch.dtype, run: str) -> None:
    model = SLSTM(2, 8, forget=forget).to(dtype)
    with torch.no_grad():
        model.W.mul_(3000)
    x = torch.randn(4, 30, 2).to(dtype)
    outputs, (_, _, n, _) = fused.run(model, x) if run == "fused" else model(x)
    assert outputs.abs().max() <= 1 and n.min() >= 1
    outputs.sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


def test_a_state_carried_on_keeps_its_weight() -> None:
    model = SLSTM(2, 4)
    x = torch.randn(2, 9, 2)
    whole = unstabilised(model, x)
    _, state = model(x[:, :5])
    torch.testing.assert_close(model(x[:, 5:], state)[0], whole[:, 5:], rtol=1e-12, atol=1e-13)


def test_with_equal_gates_it_is_a_running_mean() -> None:
    """With equal input gates and no forgetting it is a running mean."""
    model = SLSTM(1, 1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
        model.W[2] = 1.0  # z = x
        model.b[1] = 800.0  # sigmoid is then exactly 1 in float64
        model.b[3] = 800.0
    x = torch.randn(1, 20, 1)
    expected = x.tanh().cumsum(1) / torch.arange(1, 21)[:, None]
    torch.testing.assert_close(model(x)[0], expected, rtol=1e-13, atol=1e-14)


def test_large_input_gate_overwrites_the_state() -> None:
    """A large input gate overwrites what an exponential gate revises."""
    model = SLSTM(1, 1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
        model.W[0], model.W[2], model.b[1], model.b[3] = 500.0, 1.0, 800.0, 800.0
    x = torch.tensor([0.1, 0.9, 0.2, 0.3])[None, :, None]
    expected = torch.tensor([0.1, 0.9, 0.9, 0.9]).tanh()  # the largest input so far, by weights of exp(500 x)
    torch.testing.assert_close(model(x)[0][0, :, 0], expected, rtol=1e-13, atol=0)


def test_heads_do_not_see_each_other() -> None:
    model = SLSTM(2, 6, heads=2)
    state = tuple(torch.rand(1, 6) for _ in range(4))
    x = torch.randn(1, 5, 2)
    changed = tuple(torch.cat([s[:, :3] + 1, s[:, 3:]], dim=1) for s in state)
    before, after = model(x, state)[0], model(x, changed)[0]
    assert torch.equal(before[..., 3:], after[..., 3:]) and not torch.equal(before[..., :3], after[..., :3])


def test_heads_must_divide_the_width() -> None:
    with pytest.raises(UserError, match="`heads` must divide `hidden`, got 4 and 6"):
        SLSTM(2, 6, heads=4)
