"""IndRNN: the equation, its derivative's bound, the clamp, the stacks."""

from typing import Literal

import pytest
import torch
from torch import Tensor

from stablebench.errors import UserError
from stablebench.models.network import Network
from stablebench.models.recurrent.indrnn import IndRNN


@pytest.fixture(autouse=True)
def _double() -> None:
    torch.set_default_dtype(torch.float64)
    torch.manual_seed(0)


def test_it_is_the_equation_unit_by_unit() -> None:
    model = IndRNN(2, 3, horizon=6)
    x = torch.randn(1, 6, 2)
    model.b.data.normal_()
    W, u, b = model.W.tolist(), model.u.tolist(), model.b.tolist()
    found, given = model(x)[0][0].tolist(), x[0].tolist()
    for unit in range(3):
        h = 0.0
        for t in range(6):
            h = max(0.0, W[unit][0] * given[t][0] + W[unit][1] * given[t][1] + u[unit] * h + b[unit])
            assert found[t][unit] == pytest.approx(h, abs=1e-13)


def test_with_a_diagonal_matrix_the_relu_rnn_is_the_same() -> None:
    from stablebench.models.recurrent.rnn import Rnn

    ours, theirs = IndRNN(2, 4, horizon=9), Rnn(2, 4, activation="relu")
    ours.b.data.normal_()
    theirs.W.data, theirs.V.data, theirs.b.data = ours.u.data.diag(), ours.W.data, ours.b.data
    x = torch.randn(3, 9, 2)
    torch.testing.assert_close(ours(x)[0], theirs(x)[0], rtol=1e-13, atol=1e-13)


def jacobian(model: IndRNN, x: Tensor, h: Tensor) -> Tensor:
    found = torch.autograd.functional.jacobian(lambda h: model(x, (h[None],))[1][0][0], h)
    assert isinstance(found, Tensor)
    return found


@pytest.mark.parametrize("gamma", [1.0, 2.0, 5.0])
def test_over_horizon_derivative_is_diagonal_and_at_most_gamma(gamma: float) -> None:
    """Over the horizon the derivative is diagonal and at most gamma."""
    model = IndRNN(2, 16, horizon=40, gamma=gamma)
    model.u.data.fill_(model.bound)  # the largest that is allowed
    found = jacobian(model, torch.randn(1, 40, 2), 10 * torch.rand(16))  # so that many units stay above 0
    diagonal = found.diag()
    assert torch.equal(found, diagonal.diag())
    assert (diagonal >= 0).all() and diagonal.max() <= gamma * (1 + 1e-13)
    assert diagonal.max() > gamma * (1 - 1e-13)  # some unit was never cut off: the bound is reached


def test_an_active_unit_has_the_power_of_its_weight() -> None:
    model = IndRNN(1, 5, horizon=12)
    model.W.data.fill_(1.0)
    found = jacobian(model, torch.ones(1, 12, 1), torch.ones(5))  # positive all along
    torch.testing.assert_close(found.diag(), model.u.detach() ** 12, rtol=1e-13, atol=0)


def test_updates_cannot_take_the_weights_beyond_their_bound() -> None:
    model = IndRNN(2, 8, horizon=20)
    optimiser = torch.optim.SGD(model.parameters(), lr=10.0)
    for _ in range(3):
        optimiser.zero_grad()
        model(torch.rand(2, 20, 2))[0].sum().neg().backward()
        optimiser.step()
        assert model.u.detach().abs().max() > 2 ** (1 / 20)
        model.after_update()
        assert model.u.detach().abs().max() <= 2 ** (1 / 20)


def test_long_memory_starts_in_the_layers_asked_for() -> None:
    low, high = 2 ** (-1 / 50), 2 ** (1 / 50)
    for layer, long in ((0, False), (1, False), (2, True)):
        u = IndRNN(2, 400, horizon=50, layer=layer, long_from=2).u.detach()
        assert u.max() <= high and u.min() >= (low if long else 0.0)
        assert u.min() < (low + 0.1 * (high - low) if long else 0.1)


@pytest.mark.parametrize(("stack", "width"), [("plain", 4), ("residual", 4), ("dense", 7)])
def test_a_stack_adds_or_appends_each_layers_input(stack: Literal["plain", "residual", "dense"], width: int) -> None:
    bottom = IndRNN(3, 4, horizon=5, stack=stack)
    assert bottom.out_features == width
    top = IndRNN(width, 4, horizon=5, stack=stack)
    network = Network([bottom, top], 2, readout="every", input="values")
    x = torch.randn(2, 5, 3)
    below = bottom.layer_output(bottom.forward(x)[1][0], x[:, -1])
    assert below.shape == (2, width)
    first = torch.relu(x[:, 0] @ bottom.W.T)
    first = torch.cat([x[:, 0], first], 1) if stack == "dense" else first  # 3 != 4: nothing to add in the first layer
    second = torch.relu(first @ top.W.T)
    if stack != "plain":
        second = second + first if stack == "residual" else torch.cat([first, second], 1)
    torch.testing.assert_close(network(x)[0][:, 0], network.head(second), rtol=1e-13, atol=1e-13)


def test_gamma_below_one_is_refused() -> None:
    with pytest.raises(UserError, match="`gamma` must be >= 1"):
        IndRNN(2, 3, horizon=5, gamma=0.5)
