"""ShiftRNN: the equation, and what a permutation does to states and gradients."""

import pytest
import torch
from torch import Tensor

from stablebench.errors import UserError
from stablebench.models.blocks.activations import Activation
from stablebench.models.recurrent.rnn import Rnn
from stablebench.models.recurrent.shift_rnn import ShiftRNN


@pytest.fixture(autouse=True)
def _double() -> None:
    torch.set_default_dtype(torch.float64)
    torch.manual_seed(0)


def shift_matrix(n: int) -> Tensor:
    """Return P with P e_i = e_{i+1}, counted around."""
    P = torch.zeros(n, n)
    for i in range(n):
        P[(i + 1) % n, i] = 1
    return P


def jacobian(model: ShiftRNN, x: Tensor) -> Tensor:
    """Return dh_T/dh_0 for inputs (T, in), from a random state."""

    def last(h: Tensor) -> Tensor:
        return model(x[None], (h[None],))[1][0][0]

    found = torch.autograd.functional.jacobian(last, torch.randn(model.hidden))
    assert isinstance(found, Tensor)
    return found


def test_every_unit_takes_its_left_neighbour() -> None:
    model = ShiftRNN(2, 5)
    x = torch.randn(6, 2)
    outputs, _ = model(x[None])
    h = [0.0] * 5
    for t in range(6):
        projected = (model.V @ x[t] + model.b).tolist()
        h = [max(h[(i + 4) % 5] + projected[i], 0.0) for i in range(5)]
        assert outputs[0, t].tolist() == pytest.approx(h, abs=1e-14)


@pytest.mark.parametrize("activation", ["relu", "tanh", "abs", "leaky_relu", "identity"])
def test_it_is_the_elman_network_with_this_matrix(activation: Activation) -> None:
    model, elman = ShiftRNN(3, 6, activation=activation), Rnn(3, 6, activation=activation)
    elman.load_state_dict({"W": shift_matrix(6), "V": model.V, "b": model.b})
    x = torch.randn(4, 9, 3)
    torch.testing.assert_close(model(x)[0], elman(x)[0], rtol=0, atol=1e-14)


def test_the_matrix_has_no_parameter() -> None:
    assert set(ShiftRNN(3, 6).state_dict()) == {"V", "b"}


def test_without_input_the_state_comes_back_after_n_steps() -> None:
    """Without input the state comes back after as many steps as there are units."""
    model = ShiftRNN(2, 7)
    model.b.data.zero_()
    h = torch.rand(3, 7)
    outputs, _ = model(torch.zeros(3, 14, 2), (h,))
    assert torch.equal(outputs[:, 6], h) and torch.equal(outputs[:, 13], h)
    assert not torch.equal(outputs[:, 5], h)


@pytest.mark.parametrize("steps", [1, 4, 25])
def test_the_jacobian_of_relu_is_a_partial_permutation(steps: int) -> None:
    found = jacobian(ShiftRNN(2, 8), torch.randn(steps, 2))
    assert set(found.flatten().tolist()) <= {0.0, 1.0}
    assert found.sum(0).max() <= 1 and found.sum(1).max() <= 1
    if steps == 1:
        assert found.sum() > 0


@pytest.mark.parametrize("activation", ["identity", "abs"])
def test_with_slopes_of_one_all_singular_values_are_one(activation: Activation) -> None:
    values = torch.linalg.svdvals(jacobian(ShiftRNN(2, 8, activation=activation), torch.randn(30, 2)))
    torch.testing.assert_close(values, torch.ones(8), rtol=0, atol=1e-14)


def test_the_state_grows_by_no_more_than_the_drive() -> None:
    model = ShiftRNN(2, 16)
    x = 3 * torch.randn(5, 40, 2)
    sums = model.input_projection(x).norm(dim=2).cumsum(1)
    assert (model(x)[0].norm(dim=2) <= sums + 1e-12).all()


def test_one_unit_alone_is_refused() -> None:
    with pytest.raises(UserError, match="`hidden` must be >= 2"):
        ShiftRNN(2, 1)
