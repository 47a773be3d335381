"""rnn, lstm and gru are torch's own: values, states and all gradients, in float64."""

import pytest
import torch
from torch import Tensor, nn

from stablebench.models.base import RecurrentModel
from stablebench.models.recurrent.gru import GRU
from stablebench.models.recurrent.lstm import LSTM
from stablebench.models.recurrent.rnn import Rnn

IN, HIDDEN, BATCH, TIME = 3, 5, 4, 9


def pair(name: str) -> tuple[RecurrentModel, nn.RNNBase]:
    """Return our model and torch's with the same weights, float64."""
    torch.manual_seed(0)
    if name == "lstm":
        ours, theirs = LSTM(IN, HIDDEN), nn.LSTM(IN, HIDDEN, batch_first=True)
    elif name == "gru":
        ours, theirs = GRU(IN, HIDDEN), nn.GRU(IN, HIDDEN, batch_first=True)
    else:
        ours, theirs = Rnn(IN, HIDDEN, activation=name), nn.RNN(IN, HIDDEN, nonlinearity=name, batch_first=True)  # pyright: ignore
    with torch.no_grad():
        theirs.get_parameter("weight_hh_l0").copy_(ours.get_parameter("W"))
        theirs.get_parameter("weight_ih_l0").copy_(ours.get_parameter("V"))
        theirs.get_parameter("bias_ih_l0").copy_(ours.get_parameter("b"))
        theirs.get_parameter("bias_hh_l0").zero_()
        if name == "gru":
            theirs.get_parameter("bias_hh_l0")[2 * HIDDEN :] = ours.get_parameter("c_n")
    return ours.double(), theirs.double()


@pytest.mark.parametrize("name", ["tanh", "relu", "lstm", "gru"])
def test_values_states_and_gradients_are_torchs(name: str) -> None:
    ours, theirs = pair(name)
    x = torch.randn(BATCH, TIME, IN, dtype=torch.float64)
    weight = torch.randn(BATCH, TIME, HIDDEN, dtype=torch.float64)
    state = tuple(torch.randn(BATCH, HIDDEN, dtype=torch.float64) for _ in ours.state_sizes)

    def gradients(outputs: Tensor, module: nn.Module, names: list[str]) -> list[Tensor]:
        return list(torch.autograd.grad((outputs * weight).sum(), [module.get_parameter(n) for n in names]))

    our_outputs, our_state = ours(x, state)
    hx = tuple(s[None] for s in state)
    their_outputs, their_state = theirs(x, hx if name == "lstm" else hx[0])
    torch.testing.assert_close(our_outputs, their_outputs, rtol=1e-12, atol=1e-12)
    for mine, other in zip(our_state, their_state if name == "lstm" else (their_state,), strict=True):
        torch.testing.assert_close(mine, other[0], rtol=1e-12, atol=1e-12)
    names = ["weight_hh_l0", "weight_ih_l0", "bias_ih_l0"]
    for mine, other in zip(
        gradients(our_outputs, ours, ["W", "V", "b"]), gradients(their_outputs, theirs, names), strict=True
    ):
        torch.testing.assert_close(mine, other, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize(("cls", "blocks"), [(LSTM, 4), (GRU, 3)])
def test_orthogonal_start_makes_each_recurrent_block_orthogonal(cls: type, blocks: int) -> None:
    for block in cls(IN, HIDDEN, recurrent_init="orthogonal").double().W.chunk(blocks):
        torch.testing.assert_close(block @ block.T, torch.eye(HIDDEN, dtype=torch.float64), rtol=0, atol=1e-6)


def test_identity_start_is_the_unit_matrix_and_the_forget_bias_is_added_once() -> None:
    assert torch.equal(Rnn(IN, HIDDEN, recurrent_init="identity").W, torch.eye(HIDDEN))
    torch.manual_seed(0)
    plain = LSTM(IN, HIDDEN).b
    torch.manual_seed(0)
    shifted = LSTM(IN, HIDDEN, forget_bias=1.0).b - plain
    torch.testing.assert_close(shifted, torch.cat([torch.full((HIDDEN,), float(i == 1)) for i in range(4)]))


def test_the_cell_alone_carries_a_gradient_of_the_forget_gates() -> None:
    ours = pair("lstm")[0]
    drive, W = torch.randn(1, 4 * HIDDEN, dtype=torch.float64), torch.zeros(HIDDEN, 4 * HIDDEN, dtype=torch.float64)
    c = torch.randn(1, HIDDEN, dtype=torch.float64, requires_grad=True)
    _, after = ours.step(drive, (torch.zeros_like(c), c), W)
    (gradient,) = torch.autograd.grad(after.sum(), c)
    assert torch.equal(gradient, torch.sigmoid(drive[:, HIDDEN : 2 * HIDDEN]))


def test_a_gru_state_stays_within_one() -> None:
    gru = GRU(IN, HIDDEN).double()
    outputs, _ = gru(100 * torch.randn(BATCH, 50, IN, dtype=torch.float64))
    assert outputs.abs().max() <= 1
