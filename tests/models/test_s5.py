"""S5: the equation in its block, the eigenvalues it starts from, and a stability that training keeps."""

import pytest
import torch
from literal import assert_is, blocked
from torch import Tensor

from stablebench.errors import UserError
from stablebench.models.blocks.linear import moduli
from stablebench.models.recurrent.s5 import S5


@pytest.fixture(autouse=True)
def _double() -> None:
    torch.set_default_dtype(torch.float64)
    torch.manual_seed(0)


@pytest.mark.parametrize("state", [None, 6])
def test_it_is_the_equation_in_its_block(state: int | None) -> None:
    model = S5(2, 4, state=state, blocks=2)

    def layer(v: Tensor) -> Tensor:
        A = -torch.exp(model.log_A_real) + 1j * model.A_imag
        dt = torch.exp(model.log_dt)
        B, C = torch.complex(*model.B), torch.complex(*model.C)
        h, outputs = torch.zeros(model.state, dtype=torch.complex128), []
        for v_t in v:
            h = torch.exp(dt * A) * h + (torch.exp(dt * A) - 1) / A * (B @ v_t.to(B.dtype))
            outputs.append(2 * (C @ h).real + model.D * v_t)
        return torch.stack(outputs)

    assert_is(model, lambda x: blocked(model, x, layer))


def test_its_matrix_starts_as_the_normal_part_of_hippo() -> None:
    model = S5(1, 8, blocks=2)
    root = torch.sqrt(2 * torch.arange(8.0) + 1)
    hippo = torch.tril(torch.outer(root, root), -1) + torch.diag(torch.arange(8.0) + 1)
    normal = -hippo + torch.outer(root, root) / 2
    found = torch.linalg.eigvals(normal)
    expected = torch.complex(-torch.exp(model.log_A_real), model.A_imag)
    for block in expected.chunk(2):
        torch.testing.assert_close(found.real, torch.full((8,), -0.5), rtol=0, atol=1e-12)
        above = found.imag[found.imag > 0].sort().values
        torch.testing.assert_close(block.imag.sort().values, above, rtol=1e-10, atol=0)
        assert (block.real + 0.5).abs().max() < 1e-12


def test_eigenvalues_stay_inside_the_circle_when_pushed_out() -> None:
    model = S5(1, 8, norm="none", mix="none", skip=False)
    optimiser = torch.optim.SGD(model.parameters(), lr=1.0)
    before = moduli(model.recurrent_weights()).mean().item()
    for _ in range(50):
        optimiser.zero_grad()
        (-moduli(model.recurrent_weights()).sum()).backward()
        optimiser.step()
    after = moduli(model.recurrent_weights())
    assert before < after.mean().item() and after.max().item() < 1


def test_what_makes_no_matrix_is_refused() -> None:
    with pytest.raises(UserError, match="`blocks` must divide the number of states, got 3 and 8"):
        S5(1, 8, blocks=3)
    with pytest.raises(UserError, match="`dt_min` must be <= `dt_max`"):
        S5(1, 8, dt_min=1.0)
