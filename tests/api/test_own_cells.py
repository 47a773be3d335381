"""Cells of one's own whose output, width or start is easily mistaken, against the loop over the cell."""

import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

import stablebench as sb
from stablebench.models.own_cell import own_cell
from stablebench.models.recurrent.lstm import LSTM

IN, HIDDEN, BATCH, T = 2, 4, 3, 9


class Cell(nn.Module):
    """`read` makes what it returns of the next state; much of what an output may be made with is off at first."""

    def __init__(self, read: Callable[["Cell", Tensor, Tensor], Any]) -> None:
        super().__init__()
        self.read = read
        self.V, self.W = nn.Linear(IN, HIDDEN), nn.Linear(HIDDEN, HIDDEN)
        self.skip, self.gain = nn.Linear(IN, HIDDEN), nn.Parameter(torch.zeros(HIDDEN))
        self.one, self.dropout = nn.Linear(HIDDEN, 1), nn.Dropout(0.9)
        for part in self.skip.parameters():
            nn.init.zeros_(part)
        nn.init.constant_(self.one.bias, -9.0)

    def forward(self, x: Tensor, h: Tensor) -> Any:
        return self.read(self, x, torch.relu(self.V(x) + self.W(h)))


READ: dict[str, Callable[[Cell, Tensor, Tensor], Any]] = {
    "dropout": lambda cell, x, h: (cell.dropout(h), h),
    "skip of zeros": lambda cell, x, h: (h + cell.skip(x), h),
    "gain of zeros": lambda cell, x, h: (h * (1 + cell.gain), h),
    "largest": lambda cell, x, h: (h.max(1, keepdim=True).values, h),
    "clamped": lambda cell, x, h: (h.clamp(-3, 3), h),
    "readout of zero": lambda cell, x, h: (torch.relu(cell.one(h)), h),
    "detached output": lambda cell, x, h: (h.detach(), h),
    "detached state": lambda cell, x, h: (h, h.detach()),
    "part of a map": lambda cell, x, h: ((h + cell.skip(x))[:, 1:3], h),
    "copy": lambda cell, x, h: (h.clone(), h),
    "state": lambda cell, x, h: (h, h),
    "half": lambda cell, x, h: (h[:, 1:3], h),
    "half by chunk": lambda cell, x, h: (h.chunk(2, 1)[1], h),
}
OF_THE_STATE = {"state": slice(None), "half": slice(1, 3), "half by chunk": slice(2, 4)}


def loop(cell: Callable[..., Any], x: Tensor, state: Any) -> tuple[Tensor, Any]:
    outputs = []
    for x_t in x.unbind(1):
        out, state = cell(x_t, state)
        outputs.append(out)
    return torch.stack(outputs, dim=1), state


def numbers(run: Callable[..., Any], cell: nn.Module, x: Tensor, h0: Any) -> list[Tensor]:
    """Return outputs, last states and gradients, of the same random numbers."""
    torch.manual_seed(3)
    outputs, state = run(x, h0)
    weights = torch.arange(outputs.numel(), dtype=x.dtype).sin().reshape(outputs.shape)
    total = (outputs * weights).sum() + sum(0.1 * leaf.sum() for leaf in pytree.tree_leaves(state))
    parameters = list(cell.parameters())
    gradients = torch.autograd.grad(total, parameters, allow_unused=True)
    zeros = [torch.zeros_like(p) if g is None else g for p, g in zip(parameters, gradients, strict=True)]
    return [outputs.detach(), *(leaf.detach() for leaf in pytree.tree_leaves(state)), *zeros]


@pytest.mark.parametrize("evaluated_first", [False, True])
@pytest.mark.parametrize("name", READ)
@pytest.mark.filterwarnings("ignore:compile_cell")
def test_an_output_is_a_state_only_where_it_is_that_tensor(name: str, evaluated_first: bool) -> None:
    cell = Cell(READ[name]).double()
    x, h0 = 3 * torch.randn(BATCH, T, IN, dtype=torch.float64), torch.zeros(BATCH, HIDDEN, dtype=torch.float64)
    layer = sb.compile_cell(cell)
    if evaluated_first:
        layer.eval()
        torch.testing.assert_close(layer(x, h0)[0], loop(cell, x, h0)[0])
        layer.train()
    expected = numbers(lambda x, h: loop(cell, x, h), cell, x, h0)
    for computed, right in zip(numbers(layer, cell, x, h0), expected, strict=True):
        torch.testing.assert_close(computed, right, rtol=1e-9, atol=1e-12)
    found = own_cell(cell, x, h0, to_run=True)
    assert found._part == OF_THE_STATE.get(name, slice(None))
    assert len(found.state_sizes) == (1 if name in OF_THE_STATE else 2) and found.own_states == 1


@pytest.mark.filterwarnings("ignore:compile_cell")
def test_spikes_are_not_their_count() -> None:
    class Spiking(nn.Module):
        """No spike, and no count of them, at the first steps."""

        def __init__(self) -> None:
            super().__init__()
            self.V = nn.Linear(IN, HIDDEN)

        def forward(self, x: Tensor, state: Any) -> Any:
            potential, count = state
            potential = 0.9 * potential + self.V(x).abs()
            spikes = (potential > 2).to(potential)
            return spikes, (potential - spikes, count + spikes)

    cell, x, zeros = Spiking(), torch.rand(BATCH, 30, IN), torch.zeros(BATCH, HIDDEN)
    expected, (_, count) = loop(cell, x, (zeros, zeros))
    assert count.max() > 2 and not expected[:, :2].any()
    torch.testing.assert_close(sb.compile_cell(cell)(x, (zeros, zeros))[0], expected)


def test_an_output_that_is_no_state_later_is_refused() -> None:
    class Counted(Cell):
        late = False

        def forward(self, x: Tensor, h: Tensor) -> Any:
            out, h = super().forward(x, h)
            return (0.5 * out if self.late else out), h

    cell, x, h0 = Counted(READ["state"]), torch.randn(BATCH, T, IN), torch.zeros(BATCH, HIDDEN)
    layer = sb.compile_cell(cell, engine="reference")
    layer(x, h0)
    cell.late = True
    with pytest.raises(sb.UserError, match="output of this cell was its state at first"):
        layer(x, h0)


@pytest.mark.parametrize("name", ["copy", "largest", "readout of zero", "clamped"])
def test_a_probe_reads_the_first_state_where_the_output_is_none(name: str) -> None:
    """As documented; a part of it that happens to equal the output is not read in its place."""
    cell = Cell(READ[name]).double()
    x, h0 = 3 * torch.randn(BATCH, T, IN, dtype=torch.float64), torch.zeros(BATCH, HIDDEN, dtype=torch.float64)
    x2, first = x.clone().requires_grad_(), torch.relu(cell.V(x[:, 0]) + cell.W(h0)).detach().requires_grad_()
    state = first
    for x_t in x2[:, 1:].unbind(1):
        state = cell(x_t, state)[1]
    (gradient,) = torch.autograd.grad(state.sum(), first)
    result = sb.probe(cell, x, h0, what="flow,jacobian")
    assert result.gradient_norms is not None and result.log_singular_values is not None
    assert result.gradient_norms[1] == pytest.approx(gradient.norm(dim=1).median().item(), rel=1e-9)
    assert result.log_singular_values.shape == (1, HIDDEN)


class Leaky(nn.Module):
    """One unit, or as many as it is given: h may be of any width."""

    def __init__(self, hidden_size: int | None = None) -> None:
        super().__init__()
        self.net = nn.Linear(5, 1)
        if hidden_size is not None:
            self.hidden_size = hidden_size

    def forward(self, x: Tensor, h: Tensor) -> Tensor:
        return 0.9 * h + self.net(x)


class IndRNN(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.V, self.u = nn.Linear(5, width), nn.Parameter(torch.rand(width))

    def forward(self, x: Tensor, h: Tensor) -> Tensor:
        return torch.tanh(self.V(x) + self.u * h)


class Counter(nn.Module):
    def __init__(self, hidden_size: int | None = None) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(5, 16), nn.ReLU(), nn.Linear(16, 1))
        if hidden_size is not None:
            self.hidden_size = hidden_size

    def forward(self, x: Tensor, h: Tensor) -> Tensor:
        return h + torch.sigmoid(self.net(x))


class Delay(nn.Module):
    """The last inputs; four of them are read."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.out = nn.Linear(5, 1), nn.Linear(4, 9)

    def forward(self, x: Tensor, h: Tensor) -> Any:
        h = torch.cat([self.first(x), h[:, :-1]], dim=1)
        return self.out(h[:, :4]), h


class Mean(nn.Module):
    """A running mean of the input, and a readout of another width."""

    def __init__(self) -> None:
        super().__init__()
        self.rate, self.out = nn.Parameter(torch.tensor(0.0)), nn.Linear(5, 9)

    def forward(self, x: Tensor, h: Tensor) -> Any:
        h = h + torch.sigmoid(self.rate) * (x - h)
        return self.out(h), h


@pytest.mark.parametrize("make", [Leaky, lambda: IndRNN(1), Counter, Delay, lambda: Counter(16), lambda: Leaky(5)])
def test_a_width_that_is_not_the_only_one_is_refused(make: Callable[[], nn.Module]) -> None:
    cell, x = make(), torch.randn(BATCH, T, 5)
    for run in (sb.compile_cell(cell, engine="reference"), lambda x: sb.probe(cell, x)):
        with pytest.raises(sb.UserError, match="width of its state cannot be told: .* fit. Give h0"):
            run(x)
    hint = not hasattr(cell, "hidden_size")
    with pytest.raises(sb.UserError, match="hidden_size" if hint else "the state before the first step.$"):
        sb.probe(cell, x)
    h0 = torch.zeros(BATCH, 4)
    assert sb.compile_cell(cell, engine="reference")(x, h0)[0].shape[:2] == (BATCH, T)


@pytest.mark.parametrize(
    ("make", "width"), [(lambda: IndRNN(4), 4), (Mean, 5), (lambda: Leaky(1), 1), (lambda: Counter(1), 1)]
)
def test_a_width_that_is_the_only_one_is_found(make: Callable[[], nn.Module], width: int) -> None:
    cell, x = make().double(), torch.randn(BATCH, T, 5, dtype=torch.float64)
    h0 = torch.zeros(BATCH, width, dtype=torch.float64)
    found, expected = (sb.probe(cell, x, start, what="flow,jacobian") for start in (None, h0))
    assert found.log_singular_values is not None and found.log_singular_values.shape == (1, width)
    assert found.gradient_norms == pytest.approx(expected.gradient_norms, rel=1e-12)
    layer = sb.compile_cell(cell, engine="reference")
    assert torch.equal(layer(x)[0], layer(x, h0)[0])
    if width == 1 and isinstance(cell, Leaky):
        assert found.gradient_norms == pytest.approx([0.9**lag for lag in range(T, -1, -1)], rel=1e-9)


class Pair(nn.Module):
    """Two states that it unpacks, and returns side by side."""

    def __init__(self) -> None:
        super().__init__()
        self.both = nn.Linear(IN + HIDDEN, 4 * HIDDEN)

    def forward(self, x: Tensor, state: Any) -> Any:
        h, c = state
        i, f, g, o = self.both(torch.cat([x, h], dim=-1)).chunk(4, -1)
        c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
        return torch.sigmoid(o) * torch.tanh(c), c


@pytest.mark.parametrize("batch", [1, 2, 3, 7])
def test_states_are_not_the_samples(batch: int) -> None:
    """A tensor of two rows can be unpacked as two states are."""
    cell, x = Pair().double(), torch.randn(batch, T, IN, dtype=torch.float64)
    state = (torch.zeros(batch, HIDDEN).double(),) * 2
    outputs = []
    for x_t in x.unbind(1):
        state = cell(x_t, state)
        outputs.append(state[0])
    found, last = sb.compile_cell(cell)(x)
    torch.testing.assert_close(found, torch.stack(outputs, dim=1))
    torch.testing.assert_close(last, state)
    result = sb.probe(cell, x, what="jacobian")
    assert result.log_singular_values is not None and result.log_singular_values.shape == (1, 2 * HIDDEN)


@pytest.mark.parametrize("batch", [1, 2, 3])
@pytest.mark.filterwarnings("ignore:compile_cell")
def test_layers_of_a_state_are_not_the_samples(batch: int) -> None:
    """A state (layers, batch, size) of two layers, for two samples."""

    class Deep(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.cells = nn.ModuleList([nn.GRUCell(IN, HIDDEN), nn.GRUCell(HIDDEN, HIDDEN)])

        def forward(self, x: Tensor, state: Tensor) -> Any:
            below = self.cells[0](x, state[0])
            above = self.cells[1](below, state[1])
            return above, torch.stack([below, above])

    cell = Deep()
    layer = sb.compile_cell(cell)
    for samples in (batch, 5):
        x, h0 = torch.randn(samples, T, IN), torch.randn(2, samples, HIDDEN)
        torch.testing.assert_close(layer(x, h0), loop(cell, x, h0))


class Learned(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.V, self.W, self.h0 = nn.Linear(IN, HIDDEN), nn.Linear(HIDDEN, HIDDEN), nn.Parameter(torch.ones(HIDDEN))

    def forward(self, x: Tensor, h: Tensor | None = None) -> Any:
        h = torch.tanh(self.V(x) + self.W(self.h0.expand(len(x), -1) if h is None else h))
        return h, h


@pytest.mark.parametrize("engine", ["auto", "reference"])
def test_a_learned_start_is_found_after_a_call_with_h0(engine: Any) -> None:
    cell, x = Learned(), torch.randn(BATCH, T, IN)
    layer = sb.compile_cell(cell, engine=engine)
    layer(x, torch.zeros(BATCH, HIDDEN))
    expected = numbers(lambda x, h: loop(cell, x, h), cell, x, None)
    for computed, right in zip(numbers(layer, cell, x, None), expected, strict=True):
        torch.testing.assert_close(computed, right, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("make", [Learned, lambda: nn.GRUCell(IN, HIDDEN), lambda: LSTM(IN, HIDDEN)])
def test_a_first_call_in_inference_mode_is_not_remembered(make: Callable[[], nn.Module]) -> None:
    cell, x = make(), torch.randn(BATCH, T, IN)
    layer = sb.compile_cell(cell)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with torch.inference_mode():
            first = layer(x)[0]
            layer(torch.randn(BATCH, T, IN))
        again = layer(x)[0]
    assert layer.engine == "fused" and layer.reason is None and again.requires_grad
    torch.testing.assert_close(first, again)


def test_a_forward_that_is_replaced_later_is_run() -> None:
    cell, x, h0 = Learned(), torch.randn(BATCH, T, IN), torch.ones(BATCH, HIDDEN)
    layer = sb.compile_cell(cell)
    replacements: list[Callable[..., Any]] = [
        lambda x, h: (h + cell.V(x), 0.5 * h),
        lambda x, h: ((h + cell.V(x))[:, :1], 2 * h),
    ]
    for forward in replacements:
        cell.forward = forward
        torch.testing.assert_close(layer(x, h0), loop(cell, x, h0))
        assert layer.engine == "fused"
    model = LSTM(IN, HIDDEN)
    layer = sb.compile_cell(model)
    layer(x)
    project = model.input_projection
    model.input_projection = lambda x: 2 * project(x)
    torch.testing.assert_close(layer(x)[0], sb.compile_cell(model, engine="reference")(x)[0])
