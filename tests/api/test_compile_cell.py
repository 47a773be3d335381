"""`sb.compile_cell`: a cell of one's own in one's own training loop, equal to the loop over the cell."""

import copy
import warnings
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import stablebench as sb
from stablebench.models.recurrent.lstm import LSTM

IN, HIDDEN, BATCH, T = 3, 6, 4, 30


class GRULike(nn.Module):
    """(x_t, h) -> (out, h), out being h."""

    def __init__(self) -> None:
        super().__init__()
        self.x, self.h = nn.Linear(IN, 3 * HIDDEN), nn.Linear(HIDDEN, 3 * HIDDEN)

    def forward(self, x: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        x_r, x_z, x_n = self.x(x).chunk(3, -1)
        h_r, h_z, h_n = self.h(h).chunk(3, -1)
        z = torch.sigmoid(x_z + h_z)
        h = (1 - z) * torch.tanh(x_n + torch.sigmoid(x_r + h_r) * h_n) + z * h
        return h, h


class Leaky(nn.Module):
    """(x_t, h) -> h."""

    def __init__(self) -> None:
        super().__init__()
        self.W, self.V = nn.Linear(HIDDEN, HIDDEN, bias=False), nn.Linear(IN, HIDDEN)

    def forward(self, x: Tensor, h: Tensor) -> Tensor:
        return 0.8 * h + 0.2 * torch.tanh(self.W(h) + self.V(x))


class TwoStates(nn.Module):
    """(x_t, (y, z)) -> (out, (y, z)), out being a readout and no state."""

    def __init__(self) -> None:
        super().__init__()
        self.W, self.V = nn.Linear(HIDDEN, HIDDEN), nn.Linear(IN, HIDDEN)
        self.readout = nn.Linear(HIDDEN, 2)

    def forward(self, x: Tensor, state: tuple[Tensor, Tensor]) -> Any:
        y, z = state
        z = z + 0.1 * (torch.tanh(self.W(y) + self.V(x)) - y - z)
        y = y + 0.1 * z
        return self.readout(y), (y, z)


class Sorting(nn.Module):
    """A cell that no engine but the loop knows."""

    def __init__(self) -> None:
        super().__init__()
        self.V = nn.Linear(IN, HIDDEN)

    def forward(self, x: Tensor, h: Tensor) -> Tensor:
        return torch.tanh(self.V(x) + h.sort(dim=1).values)


def loop(cell: nn.Module, x: Tensor, state: Any) -> tuple[Tensor, Any]:
    outputs = []
    for x_t in x.unbind(1):
        result = cell(x_t, state)
        pair = isinstance(result, tuple) and not isinstance(cell, nn.LSTMCell)
        out, state = result if pair else (result[0] if isinstance(result, tuple) else result, result)
        outputs.append(out)
    return torch.stack(outputs, dim=1), state


def leaves_of(state: Any) -> list[Tensor]:
    return [state] if isinstance(state, Tensor) else list(state)


def case(cell: nn.Module, states: int) -> tuple[Tensor, Any]:
    draw = torch.Generator().manual_seed(1)
    x = torch.randn(BATCH, T, IN, generator=draw, dtype=torch.float64, requires_grad=True)
    parts = [torch.randn(BATCH, HIDDEN, generator=draw, dtype=torch.float64).requires_grad_() for _ in range(states)]
    cell.double()
    return x, tuple(parts) if states > 1 else parts[0]


def gradients(run: Any, cell: nn.Module, x: Tensor, h0: Any) -> list[Tensor]:
    outputs, state = run(x, h0)
    total = outputs.square().sum() + sum(part.sin().sum() for part in leaves_of(state))
    leaves = [*cell.parameters(), x, *leaves_of(h0)]
    return [outputs, *leaves_of(state), *torch.autograd.grad(total, leaves)]


CELLS = [(GRULike, 1), (Leaky, 1), (TwoStates, 2), (Sorting, 1)]
TORCHS = [(partial(kind, IN, HIDDEN), 1 + (kind is nn.LSTMCell)) for kind in (nn.GRUCell, nn.LSTMCell, nn.RNNCell)]


@pytest.mark.parametrize(("make", "states"), CELLS + TORCHS)
@pytest.mark.filterwarnings("ignore:compile_cell")
def test_it_equals_the_loop_over_the_cell(make: Any, states: int) -> None:
    cell = make()
    x, h0 = case(cell, states)
    layer = sb.compile_cell(cell)
    expected = gradients(lambda x, h: loop(cell, x, h), cell, x, h0)
    for computed, right in zip(gradients(layer, cell, x, h0), expected, strict=True):
        torch.testing.assert_close(computed, right, rtol=1e-9, atol=1e-10)
    assert layer.engine == ("reference" if make is Sorting else "fused")


def test_a_model_of_stablebench_is_a_layer() -> None:
    model = LSTM(IN, HIDDEN).double()
    x, _ = case(model, 1)
    layer = sb.compile_cell(model)
    outputs, state = layer(x)
    expected, last = model(x)
    assert layer.engine == "fused"
    torch.testing.assert_close(outputs, expected)
    torch.testing.assert_close(state, last)


def test_without_h0_it_begins_from_zeros() -> None:
    cell = nn.GRUCell(IN, HIDDEN)
    x = torch.randn(BATCH, 1, IN)
    outputs, h = sb.compile_cell(cell)(x)
    torch.testing.assert_close(h, cell(x[:, 0]))
    assert outputs.shape == (BATCH, 1, HIDDEN)


def test_it_is_trained_like_any_module() -> None:
    """Its parameters and its state dict are the cell's own, also inside another module and in a copy."""
    cell = GRULike()
    layer = sb.compile_cell(cell)
    network = nn.ModuleDict({"rnn": layer, "head": nn.Linear(HIDDEN, 1)})
    assert list(layer.state_dict()) == list(cell.state_dict())
    assert {id(p) for p in layer.parameters()} == {id(p) for p in cell.parameters()}
    x, y = torch.randn(16, 20, IN), torch.randn(16, 1)

    def losses_of(run: Any, head: nn.Module, parameters: Any) -> list[float]:
        optimiser, losses = torch.optim.Adam(parameters, 0.01), []
        for _ in range(30):
            loss = (head(run(x, torch.zeros(16, HIDDEN))[0][:, -1]) - y).square().mean()
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            losses.append(loss.item())
        return losses

    plain = nn.ModuleList(copy.deepcopy([cell, network["head"]]))
    by_loop = losses_of(lambda x, h: loop(plain[0], x, h), plain[1], plain.parameters())
    losses = losses_of(layer, network["head"], network.parameters())
    assert losses == pytest.approx(by_loop, rel=1e-3) and losses[-1] < losses[0]
    other = nn.ModuleDict({"rnn": sb.compile_cell(GRULike()), "head": nn.Linear(HIDDEN, 1)})
    other.load_state_dict(network.state_dict())
    copied = copy.deepcopy(layer)
    h0 = torch.zeros(16, HIDDEN)
    torch.testing.assert_close(other["rnn"](x, h0)[0], layer(x, h0)[0])
    torch.testing.assert_close(copied(x, h0)[0], layer(x, h0)[0])
    with torch.no_grad():
        next(copied.parameters()).zero_()
    assert not torch.equal(copied(x, h0)[0], layer(x, h0)[0])
    assert not layer.eval().training and not cell.training


def test_a_cell_that_cannot_be_traced_says_why_once() -> None:
    layer = sb.compile_cell(Sorting())
    x, h0 = torch.randn(BATCH, T, IN), torch.zeros(BATCH, HIDDEN)
    with pytest.warns(RuntimeWarning, match=r"Sorting runs as a loop over its steps: .*sort.*test_compile_cell.py"):
        layer(x, h0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        layer(x, h0)
        layer.eval()(x, h0)
    assert layer.engine == "reference" and layer.reason is not None and "sort" in layer.reason
    with pytest.raises(sb.UserError, match="fused cannot run this model"):
        sb.compile_cell(Sorting(), engine="fused")(x, h0)


def test_second_derivatives_are_refused() -> None:
    layer = sb.compile_cell(Leaky())
    x = torch.randn(BATCH, T, IN, requires_grad=True)
    h0 = torch.zeros(BATCH, HIDDEN)
    with pytest.raises(RuntimeError, match="first derivatives only"):
        torch.autograd.grad(layer(x, h0)[0].sum(), x, create_graph=True)
    by_loop = sb.compile_cell(Leaky(), engine="reference")
    (gradient,) = torch.autograd.grad(by_loop(x, h0)[0].sum(), x, create_graph=True)
    assert gradient.requires_grad and by_loop.reason is None


def test_dropout_follows_the_mode() -> None:
    class Dropped(Leaky):
        def forward(self, x: Tensor, h: Tensor) -> Tensor:
            h = super().forward(x, h)
            return nn.functional.dropout(h, 0.5) if self.training else h

    cell = Dropped()
    layer = sb.compile_cell(cell)
    x, h0 = torch.randn(BATCH, T, IN), torch.zeros(BATCH, HIDDEN)
    with pytest.warns(RuntimeWarning, match="draws random numbers"):
        first = layer(x, h0)[0]
    assert not torch.equal(first, layer(x, h0)[0])
    layer.eval()
    torch.testing.assert_close(layer(x, h0)[0], loop(cell, x, h0)[0])
    assert layer.engine == "fused" and layer.reason is None


def test_what_is_wrong_is_said() -> None:
    x, h0 = torch.randn(BATCH, T, IN), torch.zeros(BATCH, HIDDEN)
    with pytest.raises(sb.UserError, match="a layer over time already"):
        sb.compile_cell(nn.LSTM(IN, HIDDEN))
    with pytest.raises(sb.UserError, match="No engine named 'fast'"):
        sb.compile_cell(Leaky(), engine="fast")  # pyright: ignore[reportArgumentType]
    with pytest.raises(sb.UserError, match="Give h0, the state before the first step"):
        sb.compile_cell(lambda x_t, h: h + x_t[:, :1])(x)
    assert torch.equal(sb.compile_cell(cell := Leaky())(x)[0], sb.compile_cell(cell)(x, h0)[0])  # of its weights' width
    for bad_x, bad_h0, message in (
        (x[0], h0, "x: must be .batch, time, in."),
        (x[:, :, :2], h0, "the cell takes 3 features, got 2"),
        (x, h0[:, :2], "h0: its parts must be"),
        (x, (h0, h0), "h0: its parts must be"),
    ):
        layer = sb.compile_cell(Leaky())
        layer(x, h0)
        with pytest.raises(sb.UserError, match=message):
            layer(bad_x, bad_h0)
