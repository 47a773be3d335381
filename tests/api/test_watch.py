"""`sb.watch` changes no number of a training loop, and what it measures is what autograd has."""

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from matplotlib.figure import Figure
from torch import Tensor, nn

import stablebench as sb
from stablebench.models.recurrent.bn_lstm import BNLSTM
from stablebench.models.recurrent.deltanet import DeltaNet
from stablebench.models.recurrent.lstm import LSTM

IN, HIDDEN, BATCH, T = 2, 5, 4, 12


class Readout(nn.Module):
    """A user's network: recurrent layers, dropout, a readout of the outputs or of the last state."""

    def __init__(self, rnn: nn.Module, of_state: bool = False, layers_first: bool = False) -> None:
        super().__init__()
        self.rnn, self.of_state = rnn, of_state
        self.drop, self.head = nn.Dropout(0.2), nn.Linear(HIDDEN, 1)
        self.square = nn.Linear(HIDDEN, HIDDEN)
        self.time_first = isinstance(rnn, nn.RNNBase) and not rnn.batch_first

    def forward(self, x: Tensor) -> Tensor:
        outputs, state = self.rnn(x.transpose(0, 1) if self.time_first else x)
        if self.of_state:
            leaves = state if isinstance(state, tuple) else (state,)
            h = leaves[0][-1] if leaves[0].dim() == 3 else leaves[0]
            h = h + (leaves[-1].mean(0) if leaves[-1].dim() == 3 else leaves[-1]) + h.sin() + outputs.square().sum()
        else:
            h = outputs.mean(0 if self.time_first else 1)
        return self.head(self.square(self.drop(h)))


def examples() -> Iterator[tuple[Tensor, Tensor]]:
    draw = torch.Generator().manual_seed(3)
    while True:
        yield torch.randn(BATCH, T, IN, generator=draw), torch.randn(BATCH, 1, generator=draw)


def train(model: nn.Module, steps: int, watched: Any) -> tuple[list[float], Any]:
    torch.manual_seed(7)
    optimiser, losses = torch.optim.Adam(model.parameters(), 0.01), []
    with watched as w:
        for (x, y), _ in zip(examples(), range(steps), strict=False):
            loss = (model(x) - y).square().mean()
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            losses.append(loss.item())
    return losses, w


@contextmanager
def unwatched() -> Iterator[None]:
    yield


KINDS = [
    lambda: nn.LSTM(IN, HIDDEN, num_layers=2, batch_first=True),
    lambda: nn.GRU(IN, HIDDEN, num_layers=2),
    lambda: LSTM(IN, HIDDEN),
    lambda: sb.compile_cell(nn.GRUCell(IN, HIDDEN)),
    lambda: sb.compile_cell(nn.LSTMCell(IN, HIDDEN), engine="reference"),
    lambda: sb.compile_cell(DeltaNet(IN, HIDDEN, key_size=1)),
]


@pytest.mark.parametrize("of_state", [False, True])
@pytest.mark.parametrize("make", KINDS)
def test_losses_are_equal_bit_for_bit(make: Any, of_state: bool) -> None:
    model = Readout(make(), of_state)
    other = copy.deepcopy(model)
    plain, _ = train(model, 7, unwatched())
    watched, w = train(other, 7, sb.watch(other, every=3))
    assert watched == plain
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), other.parameters(), strict=True))
    assert [record.step for record in w.records] == [0, 3, 6] and not w.skipped


@pytest.mark.parametrize("of_state", [False, True])
@pytest.mark.parametrize("make", KINDS)
def test_norms_are_those_of_autograd(make: Any, of_state: bool) -> None:
    model = Readout(make(), of_state).double()
    x, y = next(examples())
    x, y = x.double().requires_grad_(), y.double()
    with sb.watch(model, every=1, samples=BATCH) as w:
        (model(x) - y).square().mean().backward()
    (record,) = w.records
    gradients = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    assert record.numbers["gradient.head.weight"] == pytest.approx(gradients["head.weight"].norm().item())
    whole = torch.stack([g.norm() for g in gradients.values()]).norm().item()
    assert record.numbers["gradient.whole"] == pytest.approx(whole)
    of_rnn = torch.stack([g.norm() for name, g in gradients.items() if name.startswith("rnn.")]).norm().item()
    assert record.numbers["gradient.rnn"] == pytest.approx(of_rnn)
    assert x.grad is not None
    (flow,) = record.flows.values()
    assert flow.log_input_norms is not None
    torch.testing.assert_close(flow.log_input_norms.exp(), x.grad.norm(dim=2), rtol=1e-8, atol=1e-12)
    assert flow.log_norms.shape == (BATCH, T + 1)


def test_square_matrices_are_held_against_orthogonal_ones() -> None:
    model = Readout(nn.RNN(IN, HIDDEN, batch_first=True))
    with torch.no_grad():
        nn.init.orthogonal_(model.square.weight)
        model.get_parameter("rnn.weight_hh_l0").copy_(2 * torch.eye(HIDDEN))
    _, w = train(model, 1, sb.watch(model, every=5))
    numbers = w.records[0].numbers
    assert numbers["orthogonality.square.weight"] < 1e-5 and numbers["isometry.square.weight"] < 1e-5
    assert numbers["orthogonality.rnn.weight_hh_l0"] == pytest.approx(3)
    assert numbers["isometry.rnn.weight_hh_l0"] == pytest.approx(0.6931472)
    assert isinstance(w.plot(), Figure) and "1 records" in repr(w)


def test_what_cannot_be_followed_is_said() -> None:
    both = nn.LSTM(IN, HIDDEN, batch_first=True, bidirectional=True)
    head = nn.Linear(2 * HIDDEN, 1)
    with sb.watch(both, every=1) as w:
        head(both(torch.randn(BATCH, T, IN))[0][:, -1]).sum().backward()
    assert "bidirectional" in w.skipped["LSTM"] and w.records[0].numbers["gradient.whole"] > 0
    assert not both._forward_hooks and not both._forward_pre_hooks
    for model, every in ((nn.LSTM(1, 1), 0), (lambda x: x, 1)):
        with pytest.raises(sb.UserError), sb.watch(model, every=every):  # pyright: ignore[reportArgumentType]
            pass


def test_only_passes_that_train_are_counted() -> None:
    model = Readout(nn.GRU(IN, HIDDEN, batch_first=True))
    x, _ = next(examples())
    with sb.watch(model, every=2) as w:
        for _ in range(4):
            model(x).sum().backward()
            with torch.no_grad():
                model(x)
            model.eval()(x)
            model.train()
            copy.deepcopy(model)(x).sum().backward()
    assert [record.step for record in w.records] == [0, 2]


def loop(cell: nn.Module, x: Tensor) -> Tensor:
    """Return the last state of a loop over the steps, (batch, hidden)."""
    state = None
    for x_t in x.unbind(1):
        state = cell(x_t, state)
    return state[0] if isinstance(state, tuple) else state  # pyright: ignore[reportReturnType]


@pytest.mark.parametrize("make", [nn.RNNCell, nn.LSTMCell, nn.GRUCell])
def test_a_cell_in_a_loop_has_one_pass_a_derivation(make: Any) -> None:
    cell, (x, _) = make(IN, HIDDEN), next(examples())
    embedded = (x.requires_grad_() * 1,)  # inputs with a graph of their own begin no pass less
    with sb.watch(cell, every=2) as w:
        for _ in range(5):
            cell.zero_grad()
            loop(cell, embedded[0]).sum().backward(retain_graph=True)
    assert [record.step for record in w.records] == [0, 2, 4]
    whole = torch.stack([p.grad.norm() for p in cell.parameters() if p.grad is not None]).norm().item()
    assert all(record.numbers["gradient.whole"] == pytest.approx(whole) for record in w.records)


def test_a_detached_state_begins_a_pass() -> None:
    cell, (x, _) = nn.GRUCell(IN, HIDDEN), next(examples())
    with sb.watch(cell, every=1) as w:
        h = torch.zeros(BATCH, HIDDEN)
        for chunk in x.split(4, dim=1):
            for x_t in chunk.unbind(1):
                h = cell(x_t, h)
            h.sum().backward()
            h = h.detach()
    assert [record.step for record in w.records] == [0, 1, 2]


@pytest.mark.parametrize("steps", [3, T])
def test_a_layer_that_is_called_step_by_step_is_not_followed(steps: int) -> None:
    layer, (x, _) = nn.GRU(IN, HIDDEN, batch_first=True), next(examples())
    with sb.watch(layer, every=1) as w:
        for _ in range(2):
            h = torch.zeros(1, BATCH, HIDDEN)
            for x_t in x[:, :steps].split(1, dim=1):
                _, h = layer(x_t, h)
            h.sum().backward()
    assert len(w.records) == 2 and [len(record.flows) for record in w.records] == ([3, 3] if steps == 3 else [0, 0])
    assert ("step by step" in w.skipped.get("GRU", "")) == (steps == T)


def whole(model: nn.Module) -> float:
    return torch.stack([p.grad.norm() for p in model.parameters() if p.grad is not None]).norm().item()


@pytest.mark.parametrize("every, steps", [(1, [1, 3, 5]), (2, [1, 3, 5]), (3, [1, 3]), (4, [1, 5]), (100, [1])])
def test_a_measurement_waits_for_a_pass_with_a_gradient(every: int, steps: list[int]) -> None:
    """Two forward calls before a derivation, or one that only validates: the second of them is measured."""
    model = Readout(nn.GRU(IN, HIDDEN, batch_first=True))
    other, runs = copy.deepcopy(model), []
    for trained, context in ((model, unwatched()), (other, sb.watch(other, every=every))):
        torch.manual_seed(2)
        draws, losses, norms = examples(), [], []
        optimiser = torch.optim.Adam(trained.parameters(), 0.01)
        with context as watched:
            for number in range(3):
                (x, y), (z, _) = next(draws), next(draws)
                optimiser.zero_grad()
                first = trained(x)
                loss = (first.detach() if number == 1 else first) + trained(z) - y
                loss.square().mean().backward()
                norms.append(whole(trained))
                optimiser.step()
                losses.append(loss.sum().item())
        runs.append((losses, norms, watched))
    assert runs[0][:2] == runs[1][:2]
    w = runs[1][2]
    assert [record.step for record in w.records] == steps and not w.skipped
    for record in w.records:
        assert record.numbers["gradient.whole"] == pytest.approx(runs[0][1][record.step // 2], rel=1e-5)
        assert record.flows and record.numbers["norm.head.weight"] > 0


def test_parameters_are_measured_as_they_were_in_the_pass() -> None:
    model = Readout(nn.GRU(IN, HIDDEN, batch_first=True))
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    _, w = train(model, 1, sb.watch(model))
    for name, value in before.items():
        assert w.records[0].numbers[f"norm.{name}"] == value.double().norm().item()


class DroppedCell(nn.Module):
    """A cell whose state has something of training alone."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.cell, self.kind, self.hidden_size = nn.GRUCell(IN, HIDDEN), kind, HIDDEN
        self.drop, self.norm = nn.Dropout(0.5), nn.BatchNorm1d(HIDDEN)

    def forward(self, x: Tensor, h: Tensor) -> Tensor:
        h = self.cell(x, h)
        if self.kind == "norm":
            return self.norm(h)
        return self.drop(h) if self.kind == "module" else nn.functional.dropout(h, 0.5, self.training)


class Noisy(DroppedCell):
    """One without a module of dropout."""

    def __init__(self) -> None:
        super().__init__("function")
        del self.drop


DROPPED = [
    (lambda: nn.GRU(IN, HIDDEN, num_layers=2, dropout=0.3, batch_first=True), "it has dropout, whose draws"),
    (lambda: nn.LSTM(IN, HIDDEN, num_layers=3, dropout=0.01), "it has dropout, whose draws"),
    (lambda: sb.compile_cell(DroppedCell("module"), engine="reference"), "it has dropout, whose draws"),
    (lambda: sb.compile_cell(Noisy(), engine="reference"), "it draws random numbers"),
    (lambda: sb.compile_cell(DroppedCell("norm"), engine="reference"), "its copy does not repeat"),
    (lambda: BNLSTM(IN, HIDDEN, horizon=T), "its copy does not repeat"),
]


@pytest.mark.parametrize("make, reason", DROPPED)
def test_a_layer_that_is_another_in_training_is_not_followed(make: Any, reason: str) -> None:
    torch.manual_seed(0)
    model = Readout(make())
    other = copy.deepcopy(model)
    plain, _ = train(model, 4, unwatched())
    watched, w = train(other, 4, sb.watch(other, every=1))
    assert watched == plain
    assert len(w.records) == 4 and not any(record.flows for record in w.records)
    assert list(w.skipped) == ["rnn"] and reason in w.skipped["rnn"]


def check_inputs(model: nn.Module, call: Any) -> None:
    """Hold the norms of the gradient in the inputs of the one layer against autograd's."""
    x, y = next(examples())
    x, y = x.double().requires_grad_(), y.double()
    with sb.watch(model, every=1, samples=BATCH) as w:
        (call(x) - y).square().mean().backward()
    assert not w.skipped and x.grad is not None
    (flow,) = w.records[0].flows.values()
    assert flow.log_input_norms is not None
    torch.testing.assert_close(flow.log_input_norms.exp(), x.grad.norm(dim=2), rtol=1e-8, atol=1e-12)


@pytest.mark.parametrize("make, _", DROPPED)
def test_in_evaluation_mode_it_is_followed(make: Any, _: str) -> None:
    torch.manual_seed(0)
    model = Readout(make()).double()
    model.rnn.eval()
    check_inputs(model, lambda x: model(x))


def test_a_dropout_of_torch_with_one_layer_drops_nothing() -> None:
    with pytest.warns(UserWarning, match="non-zero dropout expects num_layers greater than 1"):
        layer = nn.GRU(IN, HIDDEN, dropout=0.5, batch_first=True)
    model = Readout(layer).double()
    check_inputs(model, lambda x: model(x))
