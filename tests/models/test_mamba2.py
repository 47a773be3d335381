"""Mamba-2: the equation, one decay a head, and a memory that holds what it was given where nothing is forgotten."""

import pytest
import torch
from literal import assert_is, scrambled
from torch import Tensor

from stablebench.models.recurrent.mamba2 import Mamba2


@pytest.fixture(autouse=True)
def _double() -> None:
    torch.set_default_dtype(torch.float64)
    torch.manual_seed(0)


def silu(x: Tensor) -> Tensor:
    return x / (1 + torch.exp(-x))


@pytest.mark.parametrize("heads", [1, 3])
def test_it_is_the_equation(heads: int) -> None:
    model = Mamba2(2, 6, heads=heads, key_size=4)
    scrambled(model)

    def literal(x: Tensor) -> Tensor:
        H, outputs = [torch.zeros(6 // heads, 4)] * heads, []
        for x_t in x:
            u, B, C = (silu(part(x_t)) for part in (model.values, model.B, model.C))
            step = torch.log(1 + torch.exp(model.decay.step_size(x_t)))
            y = []
            for h, u_h in enumerate(u.chunk(heads)):
                H[h] = torch.exp(-torch.exp(model.decay.A_log[h]) * step[h]) * H[h] + step[h] * torch.outer(u_h, B)
                y.append(H[h] @ C + model.D[h] * u_h)
            gated = torch.cat(y) * silu(model.gate(x_t))
            outputs.append(model.out.weight @ (gated / torch.sqrt(gated.square().mean() + 1e-5) * model.norm.weight))
        return torch.stack(outputs)

    assert_is(model, literal)


def test_decays_are_between_zero_and_one_and_start_slow() -> None:
    model = Mamba2(1, 1000, heads=1000, key_size=1)
    a, _, _ = model.input_projection(torch.zeros(1, 1, 1))
    assert 0.0001 < -a.log().max() and -a.log().min() <= 1.6 + 1e-9  # A in (1, 16), steps in (0.001, 0.1)
    a, _, _ = model.input_projection(100 * torch.randn(1, 50, 1))
    assert (a >= 0).all() and (a <= 1).all()


def test_the_jacobian_is_the_product_of_decays() -> None:
    model = Mamba2(2, 4, heads=2, key_size=3)
    x = torch.randn(1, 9, 2)
    jacobian = torch.autograd.functional.jacobian(lambda H: model(x, (H,))[1][0], torch.randn(1, 12))
    assert isinstance(jacobian, Tensor)
    product = model.input_projection(x)[0][0].prod(0).repeat(3)
    torch.testing.assert_close(jacobian[0, :, 0], torch.diag(product), rtol=1e-12, atol=0)
