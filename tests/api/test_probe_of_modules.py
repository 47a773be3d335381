"""`sb.probe` of recurrent modules that were written for torch alone."""

import copy
from typing import Any

import numpy
import pytest
import torch
from torch import Tensor, nn

import stablebench as sb
from stablebench.models.recurrent.lstm import LSTM

T, BATCH, IN, HIDDEN = 24, 5, 3, 6


@pytest.fixture
def x() -> Tensor:
    return torch.randn(BATCH, T, IN, generator=torch.Generator().manual_seed(0))


def autograd_norms(module: nn.Module, x: Tensor) -> numpy.ndarray:
    """Norms of the gradient of the sum of the last output in each x_t, the median over samples."""
    x = x.double().requires_grad_()
    outputs, _ = copy.deepcopy(module).double()(x)
    outputs[:, -1].sum().backward()
    assert x.grad is not None
    return x.grad.norm(dim=2).median(0).values.numpy()


def one_to_one(layers: int, **options: Any) -> list[nn.RNNBase]:
    sizes = {"num_layers": layers, "batch_first": True} | options
    return [nn.LSTM(IN, HIDDEN, **sizes), nn.GRU(IN, HIDDEN, **sizes), nn.RNN(IN, HIDDEN, **sizes)]


@pytest.mark.parametrize("module", [*one_to_one(1), *one_to_one(3), *one_to_one(2, bias=False)])
def test_the_gradient_is_that_of_autograd(module: nn.RNNBase, x: Tensor) -> None:
    result = sb.probe(module, x, what="flow")
    assert result.input_gradient_norms == pytest.approx(autograd_norms(module, x), rel=1e-9)


def test_relu_and_projected_layers_are_probed(x: Tensor) -> None:
    relu = nn.RNN(IN, HIDDEN, nonlinearity="relu", batch_first=True)
    projected = nn.LSTM(IN, HIDDEN, num_layers=2, proj_size=4, batch_first=True)
    for module in (relu, projected):
        assert sb.probe(module, x, what="flow").input_gradient_norms == pytest.approx(
            autograd_norms(module, x), rel=1e-9
        )


def test_nn_lstm_is_probed_as_our_lstm(x: Tensor) -> None:
    """With the same weights every number is equal to 1e-10."""
    theirs, ours = nn.LSTM(IN, HIDDEN).double(), LSTM(IN, HIDDEN).double()
    with torch.no_grad():
        V, W, b_ih, b_hh = theirs.parameters()
        ours.W.copy_(W)
        ours.V.copy_(V)
        ours.b.copy_(b_ih + b_hh)
    a, b = sb.probe(theirs, x, what="all"), sb.probe(ours, x, what="all")
    for name in ("log_gradient_norms", "log_singular_values", "lyapunov_exponents", "input_gradient_norms"):
        assert getattr(a, name) == pytest.approx(getattr(b, name), rel=1e-10, abs=1e-10), name
    assert a.verdict == b.verdict and a.growth_rate == pytest.approx(b.growth_rate, rel=1e-10)
    assert a.lag_shares is not None and a.lag_shares.shape == (T,)


class WrappedLSTM(nn.Module):
    """A layer of a user's own, samples first."""

    def __init__(self, layers: int = 1) -> None:
        super().__init__()
        self.inner = nn.LSTM(IN, HIDDEN, num_layers=layers, batch_first=True)

    def forward(self, x: Tensor, h: Any = None) -> Any:
        return self.inner(x, h)


class TwoStates(nn.Module):
    """A cell (x_t, (h, c)) -> (out, (h, c)) whose output is h."""

    def __init__(self) -> None:
        super().__init__()
        self.cell = nn.LSTMCell(IN, HIDDEN)

    def forward(self, x: Tensor, state: Any) -> Any:
        h, c = self.cell(x, state)
        return h, (h, c)


@pytest.mark.parametrize("layers", [1, 2])
def test_a_layer_of_ones_own_is_probed_by_its_call(x: Tensor, layers: int) -> None:
    module = WrappedLSTM(layers)
    theirs, own = sb.probe(module.inner, x, what="flow,jacobian"), sb.probe(module, x, what="flow,jacobian")
    assert own.gradient_norms == pytest.approx(theirs.gradient_norms, rel=1e-9)
    assert own.log_singular_values == pytest.approx(theirs.log_singular_values, rel=1e-8)


def test_a_cell_is_probed_in_each_of_its_forms(x: Tensor) -> None:
    module = TwoStates()
    with_output = sb.probe(module, x, what="jacobian")
    of_torch = sb.probe(module.cell, x, what="jacobian")
    assert with_output.log_singular_values == pytest.approx(of_torch.log_singular_values, rel=1e-8)
    rnn = nn.RNNCell(IN, HIDDEN).double()

    def step(x_t: Tensor, h: Tensor) -> Tensor:
        return torch.tanh(x_t @ rnn.weight_ih.T + rnn.bias_ih + h @ rnn.weight_hh.T + rnn.bias_hh)

    function = sb.probe(step, x, torch.zeros(BATCH, HIDDEN), what=["jacobian"])
    assert function.log_singular_values == pytest.approx(
        sb.probe(rnn, x, what="jacobian").log_singular_values, rel=1e-9
    )


class Joined(nn.Module):
    """A cell that says its width nowhere: in one map of the input and the state, or of the first of two states."""

    def __init__(self, two_states: bool) -> None:
        super().__init__()
        self.both, self.two_states = nn.Linear(IN + HIDDEN, HIDDEN), two_states

    def forward(self, x: Tensor, state: Any) -> Any:
        h, c = state if self.two_states else (state, 0.0)
        h = torch.tanh(self.both(torch.cat([x, h], dim=-1)) + c)
        return (h, 0.5 * c + h) if self.two_states else h


@pytest.mark.parametrize("two_states", [False, True])
def test_a_cell_that_says_no_width_begins_from_zeros_that_fit(x: Tensor, two_states: bool) -> None:
    cell, zeros = Joined(two_states).double(), torch.zeros(BATCH, HIDDEN).double()
    found = sb.probe(cell, x, what="flow,jacobian")
    expected = sb.probe(cell, x, (zeros, zeros) if two_states else zeros, what="flow,jacobian")
    assert found.gradient_norms == pytest.approx(expected.gradient_norms, rel=1e-12)
    assert found.log_singular_values == pytest.approx(expected.log_singular_values, rel=1e-12)
    layer = sb.compile_cell(cell.float(), engine="reference")
    assert layer(x.float())[0].shape == (BATCH, x.shape[1], HIDDEN)


class WithoutState(nn.Module):
    """A module of a layer that takes no state."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.GRU(IN, HIDDEN, batch_first=True)

    def forward(self, x: Tensor) -> Any:
        return self.rnn(x)


def test_a_parametrised_layer_is_probed(x: Tensor) -> None:
    """Alone and inside a module of one's own: the matrix is the orthogonal one."""
    inner = nn.RNN(IN, HIDDEN, batch_first=True)
    nn.utils.parametrizations.orthogonal(inner, "weight_hh_l0")
    module = WrappedLSTM()
    module.inner = inner  # pyright: ignore[reportAttributeAccessIssue]
    alone, inside = sb.probe(inner, x, what="all"), sb.probe(module, x, what="flow,jacobian,lyapunov")
    assert alone.gradient_norms == pytest.approx(inside.gradient_norms, rel=1e-5)
    assert alone.measured.spectra is not None
    assert alone.measured.spectra.recurrent[0].from_orthogonal < 1e-5


def test_a_method_of_a_module_is_probed(x: Tensor) -> None:
    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.W = nn.Parameter(0.5 * torch.eye(IN))

        def step(self, x_t: Tensor, h: Tensor) -> Tensor:
            return h @ self.W + x_t

    model = Model()
    result = sb.probe(model.step, x, torch.zeros(BATCH, IN), what="flow,jacobian")
    assert result.growth_rate == pytest.approx(numpy.log(0.5)) and result.verdict == "VANISHES"
    assert model.W.dtype == torch.float32 and model.W.requires_grad


def test_h0_is_where_the_chain_begins(x: Tensor) -> None:
    module = nn.GRU(IN, HIDDEN, num_layers=2, batch_first=True)
    h0 = torch.randn(2, BATCH, HIDDEN)
    doubled, x2 = copy.deepcopy(module).double(), x.double().requires_grad_()
    doubled(x2, h0.double())[0][:, -1].sum().backward()
    assert x2.grad is not None
    expected = x2.grad.norm(dim=2).median(0).values.numpy()
    assert sb.probe(module, x, h0, what="flow").input_gradient_norms == pytest.approx(expected, rel=1e-9)
    assert sb.probe(WrappedLSTM(2), x, (h0, h0), what="flow").gradient_norms is not None
    with pytest.raises(sb.UserError, match=r"h0: the states of all layers must be \(2, 5, 6\), got \(2, 2, 6\)"):
        sb.probe(module, x, h0[:, :2])


def test_a_bidirectional_layer_is_two_chains(x: Tensor) -> None:
    module = nn.LSTM(IN, HIDDEN, bidirectional=True, batch_first=True)
    with pytest.raises(sb.UserError, match="direction='forward'"):
        sb.probe(module, x)
    one_way = nn.LSTM(IN, HIDDEN, batch_first=True)
    one_way.load_state_dict({name: getattr(module, f"{name}_reverse") for name in one_way.state_dict()})
    backward = sb.probe(module, x, direction="backward", what="flow")
    assert backward.gradient_norms == pytest.approx(sb.probe(one_way, x.flip(1), what="flow").gradient_norms)
    for wrong in ("sideways", "Backward", True):
        with pytest.raises(sb.UserError, match="direction: must be forward or backward, got"):
            sb.probe(module, x, direction=wrong, what="flow")  # pyright: ignore[reportArgumentType]
    with pytest.raises(sb.UserError, match="no chain of states over time"):
        sb.probe(nn.GRU(IN, HIDDEN, num_layers=2, bidirectional=True), x, direction="forward")


@pytest.mark.parametrize("kind", [nn.GRUCell, nn.LSTM])
def test_a_class_is_no_module(kind: type[nn.Module], x: Tensor) -> None:
    with pytest.raises(sb.UserError, match=rf"{kind.__name__}\(...\), not its class"):
        sb.probe(kind, x)
    with pytest.raises(sb.UserError, match=rf"{kind.__name__}\(...\), not its class"):
        sb.compile_cell(kind)


def test_a_loss_of_ones_own(x: Tensor) -> None:
    module = nn.RNN(IN, HIDDEN, batch_first=True)
    result = sb.probe(module, x, loss=lambda outputs: outputs[0, 9].square().sum(), what="flow")
    assert result.gradient_norms is not None and result.gradient_norms.shape == (11,)
    x2 = x.double().requires_grad_()
    copy.deepcopy(module).double()(x2)[0][:, 9].square().sum().backward()
    assert x2.grad is not None
    assert result.input_gradient_norms == pytest.approx(x2.grad.norm(dim=2).median(0).values.numpy()[:10], rel=1e-9)


def test_nothing_of_the_user_is_changed(x: Tensor) -> None:
    module = nn.LSTM(IN, HIDDEN)
    before, random = copy.deepcopy(module.state_dict()), torch.get_rng_state()
    sb.probe(module, x, what="jacobian")
    assert torch.equal(torch.get_rng_state(), random) and torch.get_default_dtype() == torch.float32
    assert module.training and all(p.requires_grad and p.dtype == torch.float32 for p in module.parameters())
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())


def test_what_is_wrong_is_said(x: Tensor) -> None:
    wrong: list[tuple[tuple[Any, ...], dict[str, Any], str]] = [
        ((nn.LSTM(IN, HIDDEN), x[0]), {}, "x: must be a tensor of real numbers, .batch, time, in."),
        ((nn.LSTM(IN, HIDDEN), x[:, :1]), {}, "at least one sample and two steps"),
        ((nn.LSTM(IN + 1, HIDDEN), x), {}, "the module takes 4 features, got 3"),
        ((nn.LSTM(IN, HIDDEN),), {}, "x is missing"),
        ((nn.LSTM(IN, HIDDEN), x), {"what": "jacobain"}, "no measure 'jacobain'. Did you mean jacobian"),
        ((nn.LSTM(IN, HIDDEN), x), {"loss": "task"}, "x comes with no task"),
        ((nn.LSTM(IN, HIDDEN), x), {"samples": 0}, "samples: must be a whole number >= 1"),
        ((nn.LSTM(IN, HIDDEN), x), {"hidden": 3}, "Given too: hidden"),
        ((nn.Linear(IN, HIDDEN), x), {}, "Linear takes no state, so that its states cannot be followed.$"),
        ((WithoutState(), x), {}, "WithoutState takes no state.* The layer `rnn` in it can be probed by itself"),
        ((lambda x_t, h: h @ x_t, x), {}, "neither a cell"),
        ((lambda x_t, h: (h, 3), x, torch.zeros(BATCH, 2)), {}, "neither a cell"),
        ((lambda x_t, h: h.to(torch.complex128), x, torch.zeros(BATCH, 2)), {}, "real tensor"),
    ]
    for arguments, options, message in wrong:
        with pytest.raises(sb.UserError, match=message):
            sb.probe(*arguments, **options)
    module = nn.Module()
    module.forward = lambda x, h=None: (x, x.new_ones(len(x), 2) if h is None else h)
    with pytest.raises(sb.UserError, match="begins from a state of its own"):
        sb.probe(module, x)
