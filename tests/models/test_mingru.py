"""minGRU: the equation, convex combinations, and gradients that are products of its gates."""

from typing import Literal

import pytest
import torch
from torch import Tensor

from stablebench.models.blocks.activations import positive
from stablebench.models.recurrent.mingru import MinGRU
from stablebench.models.recurrent.roarnn import RoaRNN

Candidate = Literal["identity", "positive"]


@pytest.fixture(autouse=True)
def _double() -> None:
    torch.set_default_dtype(torch.float64)
    torch.manual_seed(0)


def g_of_the_paper(v: Tensor) -> Tensor:
    return torch.where(v >= 0, v + 0.5, v.sigmoid())


@pytest.mark.parametrize("candidate", ["identity", "positive"])
def test_it_is_the_equation(candidate: Candidate) -> None:
    model = MinGRU(2, 3, candidate=candidate)
    (W_z, W_h), (b_z, b_h) = model.W.chunk(2), model.b.chunk(2)
    x = 3 * torch.randn(1, 6, 2)
    outputs, _ = model(x)
    h = torch.zeros(3)
    for t in range(6):
        z = 1 / (1 + torch.exp(-(W_z @ x[0, t] + b_z)))
        c = W_h @ x[0, t] + b_h
        c = g_of_the_paper(c) if candidate == "positive" else c
        h = (1 - z) * h + z * c
        torch.testing.assert_close(outputs[0, t], h, rtol=1e-13, atol=1e-13)


def test_positive_function_is_the_papers_made_smooth() -> None:
    """The positive function is that of the paper and smooth where it is not."""
    v = torch.cat([torch.linspace(-40, 40, 997), torch.zeros(1)])
    torch.testing.assert_close(positive(v), g_of_the_paper(v), rtol=1e-14, atol=0)
    assert (positive(v) > 0).all()
    v = torch.linspace(-4, 4, 100, requires_grad=True)  # without 0, where the slopes 1/4 and 1 meet
    assert torch.autograd.gradcheck(positive, (v,))
    zero = torch.zeros(1, requires_grad=True)
    positive(zero).backward()
    assert zero.grad is not None and zero.grad.item() == 0.25


@pytest.mark.parametrize("candidate", ["identity", "positive"])
def test_states_are_convex_combinations_of_candidates(candidate: Candidate) -> None:
    """States are convex combinations of the candidates and the first state."""
    model = MinGRU(2, 20, candidate=candidate)
    x, first = 5 * torch.randn(3, 100, 2), torch.randn(3, 20)
    outputs, _ = model(x, (first,))
    c = model.input_projection(x).chunk(2, dim=-1)[1]
    c = positive(c) if candidate == "positive" else c
    seen = torch.cat([first[:, None], c], dim=1)
    slack = 1e-13  # rounding of 100 sums
    assert (outputs <= seen.cummax(1).values[:, 1:] + slack).all()
    assert (outputs >= seen.cummin(1).values[:, 1:] - slack).all()


def test_gradient_of_state_is_product_of_gates_after_it() -> None:
    """The gradient of a state is the product of the gates after it."""
    model = MinGRU(2, 4)
    x = torch.randn(1, 30, 2)
    jacobian = torch.autograd.functional.jacobian(lambda h: model(x, (h,))[0][:, -1], torch.randn(1, 4))
    assert isinstance(jacobian, Tensor)
    kept = 1 - torch.sigmoid(model.input_projection(x).chunk(2, dim=-1)[0])
    torch.testing.assert_close(jacobian[0, :, 0], torch.diag(kept[0].prod(0)), rtol=1e-12, atol=0)
    assert (kept < 1).all() and (kept > 0).all()


def test_constant_gate_makes_a_leaky_integrator() -> None:
    """A gate that is always the same makes a leaky integrator of the input."""
    leaky = RoaRNN(2, 5, horizon=10, rho=3.0, orthogonal="identity")  # W = 0: (1 - alpha) h + alpha relu(V x + b)
    leaky.W.data.zero_()
    model = MinGRU(2, 5)
    with torch.no_grad():
        model.W[:5], model.b[:5] = 0, torch.logit(torch.tensor(leaky.alpha))
        model.W[5:], model.b[5:] = leaky.V.abs(), leaky.b.abs()
        leaky.V.abs_()
        leaky.b.abs_()
    x = torch.rand(2, 8, 2)  # positive, so that relu is the identity
    torch.testing.assert_close(model(x)[0], leaky(x)[0], rtol=1e-12, atol=1e-13)


def test_the_update_bias_sets_the_length_of_the_memory() -> None:
    model = MinGRU(1, 6, update_bias=-5.0)
    model.W.data.zero_()
    z = torch.sigmoid(model.input_projection(torch.zeros(1, 1, 1))[..., :6])
    assert (z < torch.sigmoid(torch.tensor(-4.0))).all() and (z > torch.sigmoid(torch.tensor(-6.0))).all()
