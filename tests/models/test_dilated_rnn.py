"""Dilated RNN: the equation, the fold against the queue, what reaches what."""

from typing import Literal

import pytest
import torch
import torch_oracle
from torch import Tensor

from stablebench.engines import choose
from stablebench.engines.fused import engine as fused
from stablebench.models import recurrent_model
from stablebench.models.base import DilatedCell, RecurrentModel, State
from stablebench.models.network import Network
from stablebench.models.recurrent.dilated_rnn import DilatedRNN
from stablebench.models.recurrent.gru import GRU
from stablebench.models.recurrent.lstm import LSTM
from stablebench.models.recurrent.rnn import Rnn

Cell = Literal["rnn", "lstm", "gru"]
CELLS: list[Cell] = ["rnn", "lstm", "gru"]


@pytest.fixture(autouse=True)
def _double() -> None:
    torch.set_default_dtype(torch.float64)
    torch.manual_seed(0)


@pytest.mark.parametrize("d", [1, 2, 3, 5])
@pytest.mark.parametrize("cell", CELLS)
def test_a_state_comes_from_the_one_d_steps_before(cell: Cell, d: int) -> None:
    model, x = DilatedRNN(2, 4, cell=cell, start=d), torch.randn(3, 11, 2)
    found, _ = model(x)
    for phase in range(d):  # steps d apart are a plain chain
        torch.testing.assert_close(found[:, phase::d], model.cell(x[:, phase::d])[0], rtol=1e-13, atol=1e-14)


def test_it_is_the_equation_of_the_rnn() -> None:
    model, x = DilatedRNN(2, 4, start=3), torch.randn(1, 10, 2)
    found, cell = model(x)[0], model.cell
    assert isinstance(cell, Rnn)
    h = [torch.zeros(4)] * 3  # h_{-2}, h_{-1}, h_0
    for t in range(10):
        h.append(torch.tanh(cell.W @ h[-3] + cell.V @ x[0, t] + cell.b))
        torch.testing.assert_close(found[0, t], h[-1], rtol=1e-13, atol=1e-14)


@pytest.mark.parametrize("cell", CELLS)
def test_without_dilation_it_is_the_cell(cell: Cell) -> None:
    model, x = DilatedRNN(2, 4, cell=cell), torch.randn(3, 7, 2)
    assert isinstance(model.cell, {"rnn": Rnn, "lstm": LSTM, "gru": GRU}[cell])
    assert model.state_sizes == model.cell.state_sizes
    (found, after), (expected, end) = model(x), model.cell(x)
    assert torch.equal(found, expected) and all(torch.equal(a, b) for a, b in zip(after, end, strict=True))


def everything(
    run: object, model: RecurrentModel, x: Tensor, state: State, outputs: Literal["every", "last"]
) -> list[Tensor]:
    """Return outputs, last states, and the gradients of inputs, first states and parameters."""
    x, state = x.clone().requires_grad_(), tuple(s.clone().requires_grad_() for s in state)
    model.zero_grad()
    y, after = run(model, x, state, outputs)  # pyright: ignore[reportCallIssue]
    weights = torch.randn(y.shape, generator=torch.Generator().manual_seed(3))
    loss = (y * weights).sum() + sum(((k + 1) * s).square().sum() for k, s in enumerate(after))
    torch.as_tensor(loss).backward()
    found = [y, *after, x.grad, *(s.grad for s in state), *(p.grad for p in model.parameters())]
    return [torch.zeros(()) if t is None else t.detach().clone() for t in found]


@pytest.mark.parametrize("backend", torch_oracle.BACKENDS)
@pytest.mark.parametrize("outputs", ["every", "last"])
@pytest.mark.parametrize(("d", "steps"), [(1, 5), (2, 8), (2, 7), (4, 12), (4, 14), (4, 15), (5, 3), (5, 5), (3, 1)])
@pytest.mark.parametrize("cell", CELLS)
def test_folded_it_has_the_values_and_gradients_of_the_queue(
    cell: Cell, d: int, steps: int, outputs: Literal["every", "last"], backend: str
) -> None:
    def run(*args: object) -> object:
        return torch_oracle.run(*args, backend=backend)

    model, x = DilatedRNN(2, 4, cell=cell, start=d), torch.randn(3, steps, 2)
    state = tuple(torch.randn(3, size) for size in model.state_sizes)
    expected = everything(recurrent_model.run_steps, model, x, state, outputs)
    for found, value in zip(everything(run, model, x, state, outputs), expected, strict=True):
        torch.testing.assert_close(found, value, rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("pieces", [[5, 5, 3], [1, 2, 10], [4, 8, 1]])
@pytest.mark.parametrize("cell", CELLS)
def test_folded_runs_can_be_carried_on_at_any_step(cell: Cell, pieces: list[int]) -> None:
    model, x = DilatedRNN(2, 4, cell=cell, start=4), torch.randn(3, 13, 2)
    whole, end = recurrent_model.run_steps(model, x)
    state, found = None, []
    for piece in x.split(pieces, dim=1):
        output, state = fused.run(model, piece, state)
        found.append(output)
    torch.testing.assert_close(torch.cat(found, dim=1), whole, rtol=1e-12, atol=1e-13)
    assert state is not None
    for mine, other in zip(state, end, strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("recompute_every", [None, 5])
@pytest.mark.parametrize("readout", ["last", "every"])
def test_a_stack_of_dilations_trains_alike_under_both_engines(
    readout: Literal["last", "every"], recompute_every: int | None
) -> None:
    gradients = []
    for engine in (recurrent_model.run_steps, fused.run):
        torch.manual_seed(1)
        layers: list[RecurrentModel] = [DilatedRNN(2 if i == 0 else 4, 4, layer=i, cell="gru") for i in range(4)]
        assert [layer.dilation for layer in layers if isinstance(layer, DilatedRNN)] == [1, 2, 4, 8]
        network = Network(layers, 3, readout=readout, input="values", engine=engine, recompute_every=recompute_every)
        network(torch.randn(3, 13, 2))[0].square().sum().backward()
        gradients.append([p.grad for p in network.parameters()])
    for mine, other in zip(*gradients, strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-11, atol=1e-12)


def test_the_fused_engine_is_chosen_for_what_its_cell_allows() -> None:
    class Unplannable(Rnn):
        def step(self, projected: Tensor, state: State, recurrent_weights: Tensor) -> State:
            return (torch.softmax(projected + state[0] @ recurrent_weights, dim=1),)

    class Dilated(DilatedRNN):
        def dilated_cell(self) -> DilatedCell:
            return DilatedCell(self.cell, 3)

    model = Dilated(2, 4, start=3)
    network = Network([model], 2, readout="last", input="values")
    assert choose("auto", network, torch.device("cpu")).name == "fused"
    model.cell = Unplannable(2, 4)
    chosen = choose("auto", network, torch.device("cpu"))
    assert chosen.name == "reference" and "softmax" in (chosen.note or "")
    x = torch.randn(3, 8, 2)
    torch.testing.assert_close(fused.run(model, x)[0], recurrent_model.run_steps(model, x)[0], rtol=1e-13, atol=1e-14)


def test_within_layer_only_steps_of_same_phase_reach_each_other() -> None:
    """Within a layer only steps of the same phase reach each other."""
    model, x = DilatedRNN(2, 4, start=3), torch.randn(1, 12, 2, requires_grad=True)
    (gradient,) = torch.autograd.grad(model(x)[0][0, -1].sum(), x)
    reached = gradient[0].abs().sum(1) > 0
    assert reached.tolist() == [t % 3 == 11 % 3 for t in range(12)]


@pytest.mark.parametrize(("base", "layers"), [(2, 4), (3, 3)])
def test_every_input_reaches_the_last_output_of_a_stack(base: int, layers: int) -> None:
    stack: list[RecurrentModel] = [DilatedRNN(2 if i == 0 else 4, 4, layer=i, base=base) for i in range(layers)]
    network = Network(stack, 1, readout="last", input="values")
    x = torch.randn(1, 2 * base**layers + 1, 2, requires_grad=True)
    (gradient,) = torch.autograd.grad(network(x)[0].sum(), x)
    assert (gradient[0].abs().sum(1) > 0).all()
