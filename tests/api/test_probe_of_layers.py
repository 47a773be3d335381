"""What looks like a layer or cell of torch, or like a chain of states, and is none: probed, compiled and watched."""

import copy
from collections.abc import Callable
from typing import Any

import numpy
import pytest
import torch
from torch import Tensor, nn

import stablebench as sb
from stablebench.models.adapted_cell import adapted
from stablebench.models.recurrent.lstm import LSTM

T, BATCH, IN, HIDDEN = 12, 3, 2, 4


@pytest.fixture
def x() -> Tensor:
    return torch.randn(BATCH, T, IN, generator=torch.Generator().manual_seed(0))


def over_time(cell: Callable[..., Any], x: Tensor) -> Tensor:
    """Return the states (batch, time, hidden) of a cell (x_t, h) -> h by its own call."""
    h, states = x.new_zeros(len(x), HIDDEN), []
    for x_t in x.unbind(1):
        h = cell(x_t, h)
        states.append(h)
    return torch.stack(states, dim=1)


def autograd_norms(run: Callable[[Tensor], Tensor], x: Tensor) -> numpy.ndarray:
    """Norms of the gradient of the sum of the last output in each x_t, the median over samples."""
    x = x.double().requires_grad_()
    run(x)[:, -1].sum().backward()
    assert x.grad is not None
    return x.grad.norm(dim=2).median(0).values.numpy()


class Around(nn.Module):
    """A layer around a GRU."""

    def __init__(self, batch_first: bool = True, width: int = IN, **options: Any) -> None:
        super().__init__()
        self.gru = nn.GRU(width, HIDDEN, batch_first=batch_first, **options)
        self.batch_first = batch_first

    def forward(self, x: Tensor, h: Any = None) -> Any:
        return self.gru(x, h)


class Centred(Around):
    def forward(self, x: Tensor, h: Any = None) -> Any:
        return self.gru(x - x.mean(1 if self.batch_first else 0, keepdim=True), h)


class Convolved(Around):
    def __init__(self) -> None:
        super().__init__(width=5)
        self.conv = nn.Conv1d(IN, 5, 3)

    def forward(self, x: Tensor, h: Any = None) -> Any:
        return self.gru(self.conv(nn.functional.pad(x.mT, (2, 0))).mT, h)


class Placed(Around):
    def __init__(self) -> None:
        super().__init__()
        self.place = nn.Parameter(torch.cat([torch.zeros(5, IN), torch.randn(T - 5, IN)]))

    def forward(self, x: Tensor, h: Any = None) -> Any:
        return self.gru(x + self.place[: x.shape[1]], h)


class Attending(Around):
    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(HIDDEN, 1, batch_first=True)

    def forward(self, x: Tensor, h: Any = None) -> Any:
        outputs, h = self.gru(x, h)
        return outputs + self.attention(outputs, outputs, outputs)[0], h


class OtherState(Around):
    """What it returns as its last state is the mean of all."""

    def forward(self, x: Tensor, h: Any = None) -> Any:
        outputs, h = self.gru(x, h)
        return outputs, outputs.mean(1)[None]


@pytest.mark.parametrize(
    ("make", "where"),
    [
        (Centred, "at step 1,"),
        (lambda: Centred(batch_first=False), "at step 1,"),
        (Convolved, "at step 2,"),
        (Placed, "at step 6,"),
        (Attending, "at step 1,"),
        (lambda: Around(bidirectional=True), "at step 1,"),
        (OtherState, "in the last state,"),
    ],
)
def test_a_layer_that_is_no_chain_is_refused(make: Callable[[], nn.Module], where: str, x: Tensor) -> None:
    with pytest.raises(sb.UserError, match=f"no chain of states over time.*first {where}.*The layer `gru` in it"):
        sb.probe(make(), x)


@pytest.mark.parametrize("batch_first", [True, False])
@pytest.mark.parametrize("steps", [T, 300])
def test_a_layer_that_is_a_chain_is_probed(batch_first: bool, steps: int) -> None:
    """Also with dropout, which evaluation mode turns off, and with many steps."""
    x = torch.randn(BATCH, steps, IN, generator=torch.Generator().manual_seed(0))
    module = Around(batch_first, num_layers=2, dropout=0.5)
    of_its_own = copy.deepcopy(module).double().eval()
    of_its_own.gru.batch_first = True
    expected = autograd_norms(lambda x: of_its_own(x)[0], x)
    result = sb.probe(module, x, what="flow")
    assert result.input_gradient_norms == pytest.approx(expected, rel=1e-8)


def test_a_chaotic_layer_is_a_chain() -> None:
    """Rounding that grows is no difference."""
    x = torch.randn(BATCH, 200, IN, generator=torch.Generator().manual_seed(0))

    class Chaotic(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.W = nn.Parameter(torch.randn(64, 64, generator=torch.Generator().manual_seed(1)))

        def forward(self, x: Tensor, h: Any = None) -> Any:
            h, states = x.new_zeros(len(x), 64) if h is None else h, []
            W = self.W if x.shape[1] == 1 else torch.cat([self.W[:, :1], self.W[:, 1:]], dim=1) * (1 + 1e-15)
            for x_t in x.unbind(1):
                h = torch.tanh(h @ W + x_t.sum(1, keepdim=True))
                states.append(h)
            return torch.stack(states, 1), h

    growth = sb.probe(Chaotic(), x, what="jacobian").log_singular_values
    assert growth is not None and growth.max() > 100


def hook(module: nn.Module, inputs: Any, output: Any) -> Any:
    return (2 * output[0], output[1]) if isinstance(output, tuple) else output * 2


def no_input(module: nn.Module, inputs: Any) -> Any:
    return (inputs[0] * 0.5, *inputs[1:])


def with_own_forward(module: Any) -> Any:
    def forward(self: Any, x: Tensor, h: Any = None) -> Any:
        return type(self).forward(self, 3 * x, h)

    module.forward = forward.__get__(module)
    return module


class OwnCall(nn.GRUCell):
    def __call__(self, x: Tensor, h: Tensor | None = None) -> Tensor:
        return super().__call__(x, h) * 0.5


class OwnForward(nn.GRUCell):
    def forward(self, x: Tensor, h: Tensor | None = None) -> Tensor:
        return super().forward(x, h) * 0.5


class OwnLayer(nn.GRU):
    def __call__(self, x: Tensor, h: Tensor | None = None) -> Any:
        return super().__call__(0.5 * x, h)


def hooked(module: nn.Module) -> nn.Module:
    module.register_forward_hook(hook)
    return module


def hooked_before(module: nn.Module) -> nn.Module:
    module.register_forward_pre_hook(no_input)
    return module


def weight_normed(module: nn.Module) -> nn.Module:
    """The matrix is computed at each call, by a hook of torch's."""
    with pytest.warns(FutureWarning):
        name = "weight_hh" if isinstance(module, nn.RNNCellBase) else "weight_hh_l0"
        module = nn.utils.weight_norm(module, name)
    with torch.no_grad():
        getattr(module, f"{name}_g").mul_(2)
    return module


CELLS: list[Callable[[], nn.Module]] = [
    lambda: hooked(nn.GRUCell(IN, HIDDEN)),
    lambda: hooked_before(nn.RNNCell(IN, HIDDEN)),
    lambda: with_own_forward(nn.GRUCell(IN, HIDDEN)),
    lambda: weight_normed(nn.GRUCell(IN, HIDDEN)),
    lambda: OwnCall(IN, HIDDEN),
    lambda: OwnForward(IN, HIDDEN),
]
LAYERS: list[Callable[[], nn.Module]] = [
    lambda: hooked_before(nn.GRU(IN, HIDDEN, num_layers=2, batch_first=True)),
    lambda: hooked_before(nn.LSTM(IN, HIDDEN, batch_first=True)),
    lambda: with_own_forward(nn.RNN(IN, HIDDEN, batch_first=True)),
    lambda: weight_normed(nn.LSTM(IN, HIDDEN, batch_first=True)),
    lambda: OwnLayer(IN, HIDDEN, batch_first=True),
]


@pytest.mark.parametrize("make", CELLS)
def test_a_cell_of_torch_with_a_call_of_its_own_is_run_by_it(make: Callable[[], Any], x: Tensor) -> None:
    cell = make()
    cell(x[:, 0])  # weights that are computed at a call
    result = sb.probe(cell, x, what="flow")
    compiled = sb.compile_cell(cell, engine="reference")
    outputs = compiled(x)[0]
    assert torch.allclose(outputs, over_time(cell, x))
    gradients = torch.autograd.grad(outputs.square().sum(), list(cell.parameters()))
    expected = torch.autograd.grad(over_time(cell, x).square().sum(), list(cell.parameters()))
    assert all(torch.allclose(a, b, rtol=1e-4, atol=1e-6) for a, b in zip(gradients, expected, strict=True))
    wide = cell.double()
    assert result.input_gradient_norms == pytest.approx(autograd_norms(lambda x: over_time(wide, x), x), rel=1e-9)


def test_hooks_after_the_first_call_are_run_by_a_compiled_cell(x: Tensor) -> None:
    cell = nn.GRUCell(IN, HIDDEN)
    compiled = sb.compile_cell(cell)
    assert torch.allclose(compiled(x)[0], over_time(cell, x), atol=1e-6)
    handle = cell.register_forward_hook(hook)
    with pytest.warns(RuntimeWarning, match="hooks"):
        assert torch.allclose(compiled(x)[0], over_time(cell, x), atol=1e-6)
    handle.remove()
    assert torch.allclose(compiled(x)[0], over_time(cell, x), atol=1e-6)


@pytest.mark.parametrize("make", LAYERS)
def test_a_layer_of_torch_with_a_call_of_its_own_is_run_by_it(make: Callable[[], Any], x: Tensor) -> None:
    layer = make()
    layer(x)
    result = sb.probe(layer, x, what="flow")
    wide = layer.double()
    assert result.input_gradient_norms == pytest.approx(autograd_norms(lambda x: wide(x)[0], x), rel=1e-9)


def test_a_parametrised_cell_is_still_one_of_torch(x: Tensor) -> None:
    cell = nn.GRUCell(IN, HIDDEN)
    nn.utils.parametrizations.weight_norm(cell, "weight_hh")
    with torch.no_grad():
        cell.parametrizations.weight_hh.original0.mul_(2)  # pyright: ignore
    compiled = sb.compile_cell(cell)
    assert torch.allclose(compiled(x)[0], over_time(cell, x), atol=1e-6) and compiled.engine == "fused"


def test_what_cannot_be_run_by_its_own_call_is_refused(x: Tensor) -> None:
    other = nn.GRU(IN, HIDDEN, batch_first=True)
    elsewhere: Any = nn.GRU(IN, HIDDEN, batch_first=True)
    elsewhere.forward = lambda x, h=None: other(x * 0, h)
    with pytest.raises(
        sb.UserError, match="^The `forward` that was set on this GRU cannot be run .* parameters of another module"
    ):
        sb.probe(elsewhere, x)
    backward = nn.GRUCell(IN, HIDDEN)
    backward.register_full_backward_hook(lambda module, inputs, outputs: tuple(2 * g for g in inputs))
    inside = Around()
    inside.gru.register_full_backward_pre_hook(lambda module, outputs: None)
    for module, name in ((backward, "GRUCell"), (inside, "GRU")):
        with pytest.raises(sb.UserError, match=f"^{name} has backward hooks"):
            sb.probe(module, x)
    both = nn.GRU(IN, HIDDEN, batch_first=True, bidirectional=True)
    both.register_forward_hook(hook)
    with pytest.raises(sb.UserError, match="This GRU has hooks, and is run by its own call"):
        sb.probe(both, x, direction="forward")
    with pytest.raises(sb.UserError, match="no chain of states over time"):
        sb.probe(both, x)
    for layer in (nn.GRU(IN, HIDDEN, 2, batch_first=True), nn.LSTM(IN, HIDDEN, batch_first=True)):
        with pytest.raises(sb.UserError, match="has hooks, and what it returns as outputs is none of its states"):
            sb.probe(hooked(layer), x)
    with pytest.raises(sb.UserError, match="LSTM has hooks, which its steps do not run"):
        sb.probe(hooked(LSTM(IN, HIDDEN)), x)


def test_a_watched_layer_with_hooks_is_skipped(x: Tensor) -> None:
    plain, after, before = (nn.GRU(IN, HIDDEN, batch_first=True) for _ in range(3))
    for module, skipped in ((plain, False), (hooked(after), True), (hooked_before(before), True)):
        with sb.watch(module, every=1) as outer, sb.watch(module, every=1) as inner:
            module(x)[0][:, -1].sum().backward()
        for watched in (outer, inner):
            assert ("GRU" in watched.skipped) == skipped, watched.skipped
            assert bool(watched.records[0].flows) != skipped


class Own2Layers(nn.GRU):
    def forward(self, x: Tensor, h: Any = None) -> Any:
        return super().forward(2 * x, h)


def test_a_watched_layer_with_a_forward_of_its_own_is_run_by_it(x: Tensor) -> None:
    """Of two layers, with a loss in the last state: ||dL/dh_0|| is that of autograd."""
    module = Own2Layers(IN, HIDDEN, num_layers=2, batch_first=True)
    with sb.watch(module, every=1, samples=BATCH) as watched:
        module(x)[1].sum().backward()
    (flow,) = watched.records[0].flows.values()
    h0 = torch.zeros(2, BATCH, HIDDEN, requires_grad=True)
    module(x, h0)[1].sum().backward()
    assert h0.grad is not None
    expected = h0.grad.square().sum((0, 2)).sqrt().numpy()
    assert flow.log_norms[:, 0].exp().numpy() == pytest.approx(expected, rel=1e-3)


class Counting(nn.Module):
    """A GRU cell times a factor that falls with its calls, which are counted in a buffer or in a plain attribute."""

    def __init__(self, in_a_buffer: bool, most: int, used: bool) -> None:
        super().__init__()
        self.cell, self.most, self.used, self.hidden_size = nn.GRUCell(IN, HIDDEN), most, used, HIDDEN
        if in_a_buffer:
            self.register_buffer("t", torch.zeros(()))
        else:
            self.t: Any = 0

    def forward(self, x: Tensor, h: Tensor) -> Tensor:
        self.t = self.t + 1
        factor = 1 / (1 + min(int(self.t), self.most))
        return self.cell(x, h) * (factor if self.used else 1)


class CountingLayer(Counting):
    def forward(self, x: Tensor, h: Any = None) -> Any:
        h, states = x.new_zeros(len(x), HIDDEN) if h is None else h, []
        for x_t in x.unbind(1):
            h = super().forward(x_t, h)
            states.append(h)
        return torch.stack(states, 1), h


@pytest.mark.parametrize("in_a_buffer", [True, False])
@pytest.mark.parametrize("most", [1000, 3])
@pytest.mark.parametrize("kind", [Counting, CountingLayer])
def test_a_cell_that_counts_its_calls_is_refused(kind: type[Counting], in_a_buffer: bool, most: int, x: Tensor) -> None:
    module = kind(in_a_buffer, most, used=True)
    with pytest.raises(sb.UserError, match="counts its calls"):
        sb.probe(module, x)
    assert int(module.t) == 0


def counting_cell(in_features: int, hidden: int) -> nn.Module:
    assert (in_features, hidden) == (IN, HIDDEN)
    return Counting(True, 1000, used=True)


def test_a_model_that_counts_its_calls_is_refused() -> None:
    """With a task, whose network is probed."""
    with pytest.raises(sb.UserError, match="This model gives something else .* it counts its calls"):
        sb.probe(counting_cell, task="adding", T=T, hidden=HIDDEN)


def test_a_recurrent_model_that_counts_its_calls_is_refused(x: Tensor) -> None:
    class Counts(LSTM):
        calls = 0

        def step(self, projected: Any, state: Any, recurrent_weights: Any) -> Any:
            self.calls += 1
            return tuple(part / self.calls for part in super().step(projected, state, recurrent_weights))

    with pytest.raises(sb.UserError, match="This model gives something else .* it counts its calls"):
        sb.probe(Counts(IN, HIDDEN), x)


def test_a_cell_with_hooks_is_trained_by_its_own_call(x: Tensor) -> None:
    cell = nn.GRUCell(IN, HIDDEN)
    without = over_time(cell, x)
    hooked(cell)

    def with_hook(in_features: int, hidden: int) -> nn.Module:
        return cell

    outputs, _ = adapted(with_hook, "mine.py:with_hook")(IN, HIDDEN)(x)
    assert torch.allclose(outputs, over_time(cell, x), atol=1e-6) and not torch.allclose(outputs, without, atol=1e-2)


def test_a_lazy_module_is_refused(x: Tensor) -> None:
    class Lazy(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.both = nn.LazyLinear(HIDDEN)

        def forward(self, x: Tensor, h: Tensor) -> Tensor:
            return torch.tanh(self.both(torch.cat([x, h], dim=1)))

    with pytest.raises(sb.UserError, match="Lazy cannot be copied"):
        sb.probe(Lazy(), x, torch.zeros(BATCH, HIDDEN))


@pytest.mark.parametrize("kind", [Counting, CountingLayer])
def test_a_count_that_is_not_read_does_no_harm(kind: type[Counting], x: Tensor) -> None:
    module = kind(True, 3, used=False)
    result = sb.probe(module, x, what="flow")
    wide = copy.deepcopy(module.cell).double()
    assert result.input_gradient_norms == pytest.approx(autograd_norms(lambda x: over_time(wide, x), x), rel=1e-9)
    assert int(module.t) == 0


def test_a_compiled_cell_counts_as_its_loop_does(x: Tensor) -> None:
    module = Counting(True, 1000, used=True)
    expected = over_time(copy.deepcopy(module), x)
    with pytest.warns(RuntimeWarning, match="runs as a loop"):
        assert torch.allclose(sb.compile_cell(module)(x)[0], expected)
    assert int(module.t) == T


def test_the_generators_are_left_as_they_were(x: Tensor) -> None:
    """Also by a cell that draws noise in evaluation mode."""

    class Noisy(nn.GRUCell):
        def forward(self, x: Tensor, h: Tensor | None = None) -> Tensor:
            return super().forward(x, h) + 0.1 * torch.randn(len(x), HIDDEN, dtype=x.dtype)

    module = Noisy(IN, HIDDEN)
    before = torch.get_rng_state()
    sb.probe(module, x)
    assert torch.equal(torch.get_rng_state(), before)
