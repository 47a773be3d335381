"""rnn, lstm and gru are torch's own: values, states and all gradients, in float64."""

import pytest
import torch
from torch import Tensor, nn

from stablebench.models.base import RecurrentModel
from stablebench.models.recurrent.gru import GRU
from stablebench.models.recurrent.lstm import LSTM
from stablebench.models.recurrent.rnn import Rnn

IN, HIDDEN, BATCH, TIME = 3, 5, 4, 9


@pytest.fixture(autouse=True)
def _double() -> None:
    torch.set_default_dtype(torch.float64)
    torch.manual_seed(0)


def pair(name: str) -> tuple[RecurrentModel, nn.RNNBase]:
    """Return torch's model and ours with its weights; b is the sum of torch's biases unless a reset gate parts them."""
    if name == "lstm":
        ours, theirs = LSTM(IN, HIDDEN), nn.LSTM(IN, HIDDEN, batch_first=True)
    elif name == "gru":
        ours, theirs = GRU(IN, HIDDEN), nn.GRU(IN, HIDDEN, batch_first=True)
    else:
        ours, theirs = Rnn(IN, HIDDEN, activation=name), nn.RNN(IN, HIDDEN, nonlinearity=name, batch_first=True)  # pyright: ignore
    bias, recurrent_bias = theirs.get_parameter("bias_ih_l0"), theirs.get_parameter("bias_hh_l0").detach().clone()
    with torch.no_grad():
        ours.get_parameter("W").copy_(theirs.get_parameter("weight_hh_l0"))
        ours.get_parameter("V").copy_(theirs.get_parameter("weight_ih_l0"))
        if name == "gru":
            ours.get_parameter("c_n").copy_(recurrent_bias[2 * HIDDEN :])
            recurrent_bias[2 * HIDDEN :] = 0
        ours.get_parameter("b").copy_(bias + recurrent_bias)
    return ours, theirs


@pytest.mark.parametrize("name", ["tanh", "relu", "lstm", "gru"])
def test_values_states_and_gradients_are_torchs(name: str) -> None:
    ours, theirs = pair(name)
    x = torch.randn(BATCH, TIME, IN, requires_grad=True)
    start = tuple(torch.randn(BATCH, HIDDEN, requires_grad=True) for _ in ours.state_sizes)
    weight, state_weight = torch.randn(BATCH, TIME, HIDDEN), torch.randn(BATCH, HIDDEN)

    our_outputs, our_state = ours(x, start)
    hx = tuple(s[None] for s in start)
    their_outputs, after = theirs(x, hx if name == "lstm" else hx[0])
    their_state = tuple(s[0] for s in after) if name == "lstm" else (after[0],)

    def gradients(outputs: Tensor, state: tuple[Tensor, ...], parameters: list[Tensor]) -> tuple[Tensor, ...]:
        loss = (outputs * weight).sum() + sum((s.pow(2) * state_weight).sum() for s in state)
        return torch.autograd.grad(loss, [*parameters, x, *start])

    mine = gradients(our_outputs, our_state, [ours.get_parameter(n) for n in ("W", "V", "b")])
    names = ["weight_hh_l0", "weight_ih_l0", "bias_ih_l0"]
    other = gradients(their_outputs, their_state, [theirs.get_parameter(n) for n in names])
    torch.testing.assert_close((our_outputs, our_state), (their_outputs, their_state), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(mine, other, rtol=1e-12, atol=1e-12)


def test_the_bias_inside_the_reset_gate_gets_torchs_gradient() -> None:
    ours, theirs = pair("gru")
    x = torch.randn(BATCH, TIME, IN)
    (mine,) = torch.autograd.grad(ours(x)[0].square().sum(), [ours.get_parameter("c_n")])
    (other,) = torch.autograd.grad(theirs(x)[0].square().sum(), [theirs.get_parameter("bias_hh_l0")])
    torch.testing.assert_close(mine, other[2 * HIDDEN :], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", ["tanh", "lstm", "gru"])
def test_weights_start_uniform_as_torchs(name: str) -> None:
    torch.manual_seed(1)
    hidden = 400
    model = {"tanh": Rnn, "lstm": LSTM, "gru": GRU}[name](IN, hidden)
    bound, parameters = hidden**-0.5, dict(model.named_parameters())
    for single in ("W", "V", "c_n"):
        if single in parameters:
            assert 0.98 * bound < parameters[single].abs().max() <= bound
            assert parameters[single].std().item() == pytest.approx(bound / 3**0.5, rel=0.1)
    both = parameters["b"][: 2 * hidden]  # with gru the third block is torch's input bias alone
    assert bound < both.abs().max() <= 2 * bound
    assert both.std().item() == pytest.approx(bound * (2 / 3) ** 0.5, rel=0.15)
    if name == "gru":
        assert parameters["b"][2 * hidden :].abs().max() <= bound


@pytest.mark.parametrize(("cls", "blocks"), [(LSTM, 4), (GRU, 3), (Rnn, 1)])
def test_orthogonal_start_makes_each_recurrent_block_orthogonal(cls: type, blocks: int) -> None:
    parts = cls(IN, HIDDEN, recurrent_init="orthogonal").W.chunk(blocks)
    for block in parts:
        torch.testing.assert_close(block @ block.T, torch.eye(HIDDEN), rtol=0, atol=1e-14)
    assert blocks == 1 or (parts[0] - parts[1]).abs().max() > 0.1


@pytest.mark.parametrize("cls", [LSTM, GRU, Rnn])
def test_the_recurrent_start_changes_nothing_else(cls: type) -> None:
    kinds = ["default", "orthogonal"]
    built = []
    for kind in kinds:
        torch.manual_seed(1)
        built.append({k: v for k, v in cls(IN, HIDDEN, recurrent_init=kind).state_dict().items() if k != "W"})
    assert all(torch.equal(v, built[1][k]) for k, v in built[0].items())


def test_the_forget_bias_is_added_once() -> None:
    torch.manual_seed(0)
    plain = LSTM(IN, HIDDEN).b
    torch.manual_seed(0)
    shifted = LSTM(IN, HIDDEN, forget_bias=1.0).b - plain
    torch.testing.assert_close(shifted, torch.cat([torch.full((HIDDEN,), float(i == 1)) for i in range(4)]))


def test_the_cell_alone_carries_a_gradient_of_the_forget_gates() -> None:
    ours = LSTM(IN, HIDDEN)
    projected, W = torch.randn(1, 4 * HIDDEN), torch.zeros(HIDDEN, 4 * HIDDEN)
    c = torch.randn(1, HIDDEN, requires_grad=True)
    _, after = ours.step(projected, (torch.zeros_like(c), c), W)
    (gradient,) = torch.autograd.grad(after.sum(), c)
    assert torch.equal(gradient, torch.sigmoid(projected[:, HIDDEN : 2 * HIDDEN]))


def test_gru_state_stays_within_larger_of_one_and_start() -> None:
    """A gru state stays within the larger of one and its start."""
    gru = GRU(IN, HIDDEN)
    h = 3 * torch.randn(BATCH, HIDDEN)
    for projected in gru.input_projection(100 * torch.randn(BATCH, 50, IN)).unbind(1):
        before = h
        (h,) = gru.step(projected, (h,), gru.recurrent_weights())
        assert (h.abs() <= before.abs().clamp(min=1)).all()
    assert h.abs().max() > 0.5
