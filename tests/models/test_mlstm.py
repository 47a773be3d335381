"""mLSTM: the equation, and a stabiliser that changes neither values nor gradients, whatever the gates."""

from typing import Literal

import pytest
import torch
from literal import assert_is, scrambled
from torch import Tensor

from stablebench.models.recurrent.mlstm import MLSTM

Forget = Literal["sigmoid", "exp"]


@pytest.fixture(autouse=True)
def _double() -> None:
    torch.set_default_dtype(torch.float64)
    torch.manual_seed(0)


def without_stabiliser(model: MLSTM, x: Tensor) -> Tensor:
    """Return h (time, hidden) of the equation as it is, with exponentials of the gates."""
    heads, d_k = model.heads, model.key_size
    d_v = model.hidden // heads
    C, n = [torch.zeros(d_v, d_k)] * heads, [torch.zeros(d_k)] * heads
    outputs = []
    for x_t in x:
        q, k = model.query(x_t).view(heads, d_k), model.key(x_t).view(heads, d_k) / d_k**0.5
        v = model.value(x_t).view(heads, d_v)
        i, f = model.gates(x_t).chunk(2)
        F = torch.exp(f) if model.forget == "exp" else 1 / (1 + torch.exp(-f))
        read = []
        for h in range(heads):
            C[h] = F[h] * C[h] + torch.exp(i[h]) * torch.outer(v[h], k[h])
            n[h] = F[h] * n[h] + torch.exp(i[h]) * k[h]
            read.append(C[h] @ q[h] / torch.clamp((n[h] @ q[h]).abs(), min=1))
        outputs.append(torch.cat(read) / (1 + torch.exp(-model.output_gate(x_t))))
    return torch.stack(outputs)


@pytest.mark.parametrize("bias", [-3.0, 4.0])
@pytest.mark.parametrize("forget", ["sigmoid", "exp"])
@pytest.mark.parametrize("heads", [1, 3])
def test_it_is_the_equation_without_its_stabiliser(heads: int, forget: Forget, bias: float) -> None:
    model = MLSTM(2, 6, heads=heads, key_size=4, forget=forget, forget_bias=0.5, input_bias=bias)
    scrambled(model)
    assert_is(model, lambda x: without_stabiliser(model, x))


@pytest.mark.parametrize("bias", [-500.0, 500.0])
def test_gates_beyond_the_largest_number_stay_finite(bias: float) -> None:
    model = MLSTM(2, 4, input_bias=bias).float()
    x = torch.randn(2, 50, 2, dtype=torch.float32, requires_grad=True)
    outputs, _ = model(x)
    outputs.sum().backward()
    assert outputs.isfinite().all() and x.grad is not None and x.grad.isfinite().all()
    assert (outputs.abs().max() < 1e-6) == (bias < 0)  # nothing is written, or each value in full


def test_forget_gates_start_apart() -> None:
    bias = MLSTM(1, 4, heads=4).gates.bias[4:]
    torch.testing.assert_close(bias, torch.tensor([3.0, 4.0, 5.0, 6.0]))
