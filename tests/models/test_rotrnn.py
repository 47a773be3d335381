"""RotRNN: the equation in its block, singular values that are the decays, and inputs whose size is kept."""

import math

import pytest
import torch
from literal import assert_is, blocked
from torch import Tensor

from stablebench.errors import UserError
from stablebench.models.recurrent.rotrnn import RotRNN


@pytest.fixture(autouse=True)
def _double() -> None:
    torch.set_default_dtype(torch.float64)
    torch.manual_seed(0)


def matrix_of_head(model: RotRNN, head: int) -> Tensor:
    """Return gamma P R(theta) P^T, in the order of P's columns: first the first states of all pairs."""
    size = model.M.shape[1]
    R = torch.zeros(size, size)
    for pair, theta in enumerate(model.theta[head]):
        a, b = pair, size // 2 + pair
        R = R.index_put((torch.tensor([a, a, b, b]), torch.tensor([a, b, a, b])), torch.stack(
            [torch.cos(theta), -torch.sin(theta), torch.sin(theta), torch.cos(theta)]
        ))  # fmt: skip
    P = torch.linalg.matrix_exp(model.M[head] - model.M[head].T)
    return torch.exp(-torch.exp(model.gamma_log[head])) * P @ R @ P.T


@pytest.mark.parametrize("heads", [1, 2])
def test_it_is_the_equation_in_its_block(heads: int) -> None:
    model = RotRNN(2, 4, heads=heads)

    def layer(v: Tensor) -> Tensor:
        size = 4 // heads
        states, outputs = [torch.zeros(size)] * heads, []
        for v_t in v:
            for i in range(heads):
                gamma = torch.exp(-torch.exp(model.gamma_log[i]))
                xi = torch.sqrt((1 - gamma**2) / torch.trace(model.B[i].T @ model.B[i]))
                states[i] = matrix_of_head(model, i) @ states[i] + xi * model.B[i] @ v_t
            outputs.append(model.C @ torch.cat(states) + model.D * v_t)
        return torch.stack(outputs)

    assert_is(model, lambda x: blocked(model, x, layer))


def test_singular_values_over_many_steps_are_powers_of_decays() -> None:
    model = RotRNN(2, 4, state=12, heads=2)
    x = torch.randn(1, 30, 2)
    jacobian = torch.autograd.functional.jacobian(lambda g: model(x, (g,))[1][0], torch.randn(1, 12))
    assert isinstance(jacobian, Tensor)
    expected = (model.decays() ** 30).repeat_interleave(6).sort(descending=True).values
    torch.testing.assert_close(torch.linalg.svdvals(jacobian[0, :, 0]), expected, rtol=1e-10, atol=0)


def test_inputs_are_scaled_so_that_white_noise_keeps_its_size() -> None:
    model = RotRNN(1, 6, state=12, heads=2, gamma_min=0.5, gamma_max=0.9)
    g = torch.zeros(4000, 12)
    with torch.no_grad():
        for _ in range(150):
            (g,) = model.step(model.read(torch.randn(4000, 6)), (g,), model.recurrent_weights())
    size = sum(half.square().unflatten(1, (2, -1)).sum(2) for half in g.chunk(2, dim=1))
    assert isinstance(size, Tensor)
    torch.testing.assert_close(size.mean(0), torch.ones(2), rtol=0.06, atol=0)


def test_decays_start_between_their_bounds() -> None:
    gammas = RotRNN(1, 2, state=1000, heads=500, gamma_min=0.8, gamma_max=0.99).decays()
    assert 0.8 <= gammas.min() < 0.82 and 0.985 < gammas.max() <= 0.99
    middle = math.exp(-math.exp((math.log(-math.log(0.8)) + math.log(-math.log(0.99))) / 2))
    assert gammas.median().item() == pytest.approx(middle, abs=0.01)


def test_what_is_no_decay_is_refused() -> None:
    with pytest.raises(UserError, match="gamma_min < gamma_max < 1"):
        RotRNN(1, 4, gamma_max=1.0)
    with pytest.raises(UserError, match="`heads` must divide half the number of states, which is even; got 3 and 4"):
        RotRNN(1, 4, heads=3)
