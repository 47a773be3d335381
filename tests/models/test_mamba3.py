"""Mamba-3: the equation with complex states, and eigenvalues that the input may turn to -1."""

import math

import pytest
import torch
from literal import assert_is, scrambled
from torch import Tensor

from stablebench.errors import UserError
from stablebench.models.recurrent.mamba3 import Mamba3


@pytest.fixture(autouse=True)
def _double() -> None:
    torch.set_default_dtype(torch.float64)
    torch.manual_seed(0)


def silu(x: Tensor) -> Tensor:
    return x / (1 + torch.exp(-x))


def softplus(x: Tensor) -> Tensor:
    return torch.log(1 + torch.exp(x))


def paired(columns: Tensor) -> Tensor:
    """Return columns j and N / 2 + j as complex numbers."""
    return torch.complex(*columns.chunk(2, dim=-1))


@pytest.mark.parametrize("heads", [1, 3])
def test_it_is_the_equation_in_complex_numbers(heads: int) -> None:
    model = Mamba3(2, 6, heads=heads, key_size=4)
    scrambled(model)
    with torch.no_grad():
        model.angles.bias.add_(30 * torch.randn(2))  # turns that are seen

    def normed(x: Tensor, norm: torch.nn.RMSNorm) -> Tensor:
        return x / torch.sqrt(x.square().mean() + 1e-5) * norm.weight

    def literal(x: Tensor) -> Tensor:
        H = [torch.zeros(6 // heads, 2, dtype=torch.complex128)] * heads
        before = [torch.zeros(6 // heads, 2, dtype=torch.complex128)] * heads
        outputs = []
        for x_t in x:
            u, y = model.values(x_t).chunk(heads), []
            for h in range(heads):
                dt = softplus(model.step_size(x_t)[h])
                alpha = torch.exp(-dt * softplus(model.rate(x_t)[h]))
                share = 1 / (1 + torch.exp(-model.trapezoid(x_t)[h]))
                B = paired(normed(model.B(x_t), model.B_norm) + model.B_bias[h])
                C = normed(model.C(x_t), model.C_norm) + model.C_bias[h]
                turn = torch.exp(1j * dt * model.angles(x_t))
                now = u[h][:, None] * B
                H[h] = alpha * turn * H[h] + (1 - share) * dt * alpha * turn * before[h] + share * dt * now
                before[h] = now
                y.append(torch.cat([H[h].real, H[h].imag], dim=-1) @ C + model.D[h] * u[h])
            outputs.append(model.out.weight @ (torch.cat(y) * silu(model.gate(x_t))))
        return torch.stack(outputs)

    assert_is(model, literal)


@pytest.mark.parametrize("angle", [0.0, 1.0, math.pi])
def test_a_step_rotates_and_shrinks(angle: float) -> None:
    model = Mamba3(1, 3, key_size=2)
    with torch.no_grad():
        model.rate.bias.fill_(-60.0)  # alpha is 1
        model.rate.weight.zero_()
        model.angles.weight.zero_()
        model.angles.bias.fill_(angle / softplus(model.step_size.bias).item())
    x = torch.zeros(1, 1, 1)
    jacobian = torch.autograd.functional.jacobian(lambda s: model(x, (s,))[1][0], torch.randn(1, model.state_sizes[0]))
    assert isinstance(jacobian, Tensor)
    found = torch.linalg.eigvals(jacobian[0, :6, 0, :6])  # of the matrices, without the inputs that are carried along
    torch.testing.assert_close(found.real, torch.full((6,), math.cos(angle)), rtol=0, atol=1e-7)
    torch.testing.assert_close(found.imag.abs(), torch.full((6,), math.sin(angle)), rtol=0, atol=1e-7)


def test_columns_without_a_partner_are_refused() -> None:
    with pytest.raises(UserError, match="`key_size` must be even"):
        Mamba3(1, 4, key_size=3)
