"""Skip LSTM and Skip GRU: the equation, exact copies, when updates come, what they cost."""

import math
from typing import Any, Literal

import pytest
import torch
from torch import Tensor

from stablebench.engines.fused import engine as fused
from stablebench.engines.fused.plan import StepPlan
from stablebench.models import recurrent_model
from stablebench.models import registry as model_registry
from stablebench.models.network import Network
from stablebench.models.recurrent.skip_lstm import SkipRNN

Cell = Literal["lstm", "gru"]
CELLS: list[Cell] = ["lstm", "gru"]


@pytest.fixture(autouse=True)
def _double() -> None:
    torch.set_default_dtype(torch.float64)
    torch.manual_seed(0)


def skipping(cell: Cell, **arguments: Any) -> SkipRNN:
    """Return a model that skips now and then, on its own account and for every sequence at other steps."""
    model = SkipRNN(2, 5, cell=cell, update_bias=-1.0, **arguments)
    model.w_p.data.normal_(std=4.0)
    return model


def by_the_paper(model: SkipRNN, x: Tensor) -> tuple[list[Tensor], list[int]]:
    """Return h after every step of one sequence (time, in), and which steps updated."""
    n = model.hidden
    W, V, b = model.W.detach(), model.V.detach(), model.b.detach()
    h, c, p, outputs, updates = torch.zeros(n), torch.zeros(n), 1.0, [], []
    for x_t in x:
        update = round(p)
        if update and model.cell == "lstm":
            i, f, g, o = (W @ h + V @ x_t + b).split(n)
            c = f.sigmoid() * c + i.sigmoid() * g.tanh()
            h = o.sigmoid() * c.tanh()
        elif update:
            r = (W[:n] @ h + V[:n] @ x_t + b[:n]).sigmoid()
            z = (W[n : 2 * n] @ h + V[n : 2 * n] @ x_t + b[n : 2 * n]).sigmoid()
            h = z * h + (1 - z) * (W[2 * n :] @ (r * h) + V[2 * n :] @ x_t + b[2 * n :]).tanh()
        read = c if model.cell == "lstm" else h
        d = (model.w_p.detach()[0] @ read + model.b_p.detach()[0]).sigmoid().item()
        p = d if update else p + min(d, 1 - p)
        outputs.append(h)
        updates.append(update)
    return outputs, updates


@pytest.mark.parametrize("run", [recurrent_model.run_steps, fused.run], ids=["reference", "fused"])
@pytest.mark.parametrize("cell", CELLS)
def test_it_is_the_equation_sequence_by_sequence(cell: Cell, run: Any) -> None:
    model = skipping(cell)
    x = torch.randn(4, 30, 2)
    assert isinstance(fused.plan_model(model, x), StepPlan)
    found, _ = run(model, x)
    counts = []
    for sequence, mine in zip(x, found, strict=True):
        outputs, updates = by_the_paper(model, sequence)
        torch.testing.assert_close(mine, torch.stack(outputs), rtol=1e-12, atol=1e-13)
        counts.append(sum(updates))
    assert len(set(counts)) > 1 and 1 < min(counts) and max(counts) < 30  # they did skip, each on its own account


@pytest.mark.parametrize("cell", CELLS)
def test_a_model_that_always_updates_is_its_cell(cell: Cell) -> None:
    model = SkipRNN(2, 5, cell=cell, update_bias=50.0)
    x = torch.randn(3, 8, 2)
    found, _ = model(x)
    if cell == "lstm":
        twin = torch.nn.LSTM(2, 5, batch_first=True)
        values = {"weight_hh_l0": model.W, "weight_ih_l0": model.V, "bias_ih_l0": model.b}
        twin.load_state_dict(values | {"bias_hh_l0": torch.zeros(20)})
        torch.testing.assert_close(found, twin(x)[0], rtol=1e-12, atol=1e-13)
    outputs, updates = by_the_paper(model, x[0])
    assert updates == [1] * 8
    torch.testing.assert_close(found[0], torch.stack(outputs), rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("cell", CELLS)
def test_step_that_copies_is_identity_and_so_is_jacobian(cell: Cell, dtype: torch.dtype) -> None:
    """A step that copies is the identity and so is its jacobian."""
    model = SkipRNN(2, 5, cell=cell).to(dtype)
    projected = model.input_projection(torch.randn(1, 1, 2).to(dtype))[:, 0]
    sizes = [5] * (2 if cell == "lstm" else 1)

    def step(joined: Tensor, p: float = 0.3) -> Tensor:
        state = (*joined.split(sizes, dim=1), torch.full((1, 1), p, dtype=dtype))
        return torch.cat(model.step(projected, state, model.recurrent_weights())[:-1], dim=1)

    state = torch.randn(1, sum(sizes)).to(dtype)
    assert torch.equal(step(state), state) and not torch.equal(step(state, 0.6), state)
    jacobian = torch.autograd.functional.jacobian(step, state)
    assert isinstance(jacobian, Tensor)
    assert torch.equal(jacobian[0, :, 0], torch.eye(sum(sizes), dtype=dtype))


@pytest.mark.parametrize("probability", [0.07, 0.12, 0.2, 0.3, 0.45, 0.6, 0.99])
@pytest.mark.parametrize("cell", CELLS)
def test_updates_come_when_probability_has_added_up_to_half(cell: Cell, probability: float) -> None:
    """Updates come when the probability has added up to a half."""
    model = SkipRNN(2, 5, cell=cell, update_bias=math.log(probability / (1 - probability)))
    model.w_p.data.zero_()
    outputs, _ = model(torch.randn(1, 40, 2))
    changed = [0, *((outputs[0, 1:] != outputs[0, :-1]).any(1).nonzero()[:, 0] + 1).tolist()]
    gap = math.ceil(0.5 / probability)
    assert changed == list(range(0, 40, gap))


@pytest.mark.parametrize("cell", CELLS)
def test_the_probability_learns_through_the_rounding(cell: Cell) -> None:
    model = skipping(cell)
    model(torch.randn(4, 20, 2))[0].square().sum().backward()
    for parameter in (model.w_p, model.b_p):
        assert parameter.grad is not None and parameter.grad.abs().max() > 0


@pytest.mark.parametrize("readout", ["last", "every"])
@pytest.mark.parametrize("recompute_every", [None, 7])
@pytest.mark.parametrize("run", [recurrent_model.run_steps, fused.run], ids=["reference", "fused"])
@pytest.mark.parametrize("cell", CELLS)
def test_the_penalty_is_the_cost_of_the_mean_number_of_updates(
    cell: Cell, run: Any, recompute_every: int | None, readout: Literal["last", "every"]
) -> None:
    model, x = skipping(cell, cost=0.01), torch.randn(4, 30, 2)
    network = Network([model], 3, readout=readout, input="values", engine=run, recompute_every=recompute_every)
    output, _ = network(x)
    penalty = network.penalty()
    counts = [sum(by_the_paper(model, sequence)[1]) for sequence in x]
    assert penalty is not None and penalty.item() == pytest.approx(0.01 * sum(counts) / 4, rel=1e-12)
    assert network.penalty() is None  # it was taken
    (output.sum() + penalty).backward()
    with_cost = {name: parameter.grad for name, parameter in model.named_parameters()}
    assert all(gradient is not None and gradient.isfinite().all() for gradient in with_cost.values())
    network.zero_grad()
    network(x)[0].sum().backward()
    network.penalty()
    change = with_cost["b_p"] - model.b_p.grad  # pyright: ignore
    assert change.item() > 0  # an update more costs more
    free = SkipRNN(2, 5, cell=cell)
    free.load_state_dict(model.state_dict())
    torch.testing.assert_close(free(x)[0], run(model, x)[0][..., :5], rtol=1e-12, atol=1e-13)


def test_evaluation_leaves_no_penalty_behind() -> None:
    network = Network([skipping("gru", cost=0.01)], 3, readout="last", input="values")
    network.eval()
    network(torch.randn(2, 5, 2))
    network.train()
    with torch.no_grad():
        network(torch.randn(2, 5, 2))
    assert network.penalty() is None
    assert SkipRNN(2, 3).penalty() is None


def test_skip_gru_is_the_same_class_with_another_cell() -> None:
    entry = model_registry.model_entry("skip_gru")
    assert entry.cls is SkipRNN and entry.resolve({})["cell"] == "gru"


def by_the_code(model: SkipRNN, x: Tensor) -> tuple[Tensor, Tensor]:
    """Return h after every step of sequences (batch, time, in), and p before it, in the published code's form.

    That carries the probability d and what has been added up, q, and decides at the start of a step.
    """
    n, projected, recurrent_weights = model.hidden, model.input_projection(x), model.recurrent_weights()
    W = recurrent_weights[3:]
    h, c = x.new_zeros(len(x), n), x.new_zeros(len(x), n)
    d, q = x.new_ones(len(x), 1), x.new_zeros(len(x), 1)
    outputs, probabilities = [], []
    for t in range(x.shape[1]):
        before = (h, c) if model.cell == "lstm" else (h,)
        cell = model._lstm if model.cell == "lstm" else model._gru
        candidate = cell(projected[:, t], before, *W)
        proposed = torch.sigmoid(candidate[-1] @ model.w_p.T + model.b_p)
        p = q + torch.minimum(d, 1 - q)
        u = StraightThrough.apply(p)
        after = [u * new + (1 - u) * old for new, old in zip(candidate, before, strict=True)]
        d, q = u * proposed + (1 - u) * d, (1 - u) * p
        h, c = after[0], after[-1]
        outputs.append(h)
        probabilities.append(p)
    return torch.stack(outputs, dim=1), torch.stack(probabilities, dim=1)


class StraightThrough(torch.autograd.Function):
    """Rounds, with derivative 1."""

    @staticmethod
    def forward(ctx: Any, p: Tensor) -> Tensor:
        return p.round()

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        return grads[0]


def gradients(model: SkipRNN, outputs: Tensor) -> dict[str, Tensor]:
    model.zero_grad()
    weights = torch.randn(outputs.shape, generator=torch.Generator().manual_seed(5), dtype=outputs.dtype)
    (outputs * weights).sum().backward()
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("cost", [0.0, 0.1])
@pytest.mark.parametrize("cell", CELLS)
def test_codes_straight_through_form_has_its_gradients(cell: Cell, cost: float) -> None:
    """The codes straight through form has its gradients and the papers values."""
    paper, code = skipping(cell, cost=cost), skipping(cell, cost=cost, straight_through="code")
    code.load_state_dict(paper.state_dict())
    x = torch.randn(4, 30, 2)
    ours, theirs = gradients(code, code(x)[0]), gradients(code, by_the_code(code, x)[0])
    for name, gradient in theirs.items():
        torch.testing.assert_close(ours[name], gradient, rtol=1e-9, atol=1e-10)
    torch.testing.assert_close(code(x)[0], paper(x)[0], rtol=1e-12, atol=1e-13)
    by_paper = gradients(paper, paper(x)[0])
    apart = [((ours[k] - by_paper[k]).norm() / by_paper[k].norm()).item() for k in ("W", "V", "b")]
    assert min(apart) > 1e-4


def test_the_codes_form_is_fused_too() -> None:
    model = skipping("lstm", cost=0.1, straight_through="code")
    x = torch.randn(3, 20, 2)
    assert isinstance(fused.plan_model(model, x), StepPlan)
    ours, theirs = gradients(model, fused.run(model, x)[0]), gradients(model, recurrent_model.run_steps(model, x)[0])
    for name, gradient in theirs.items():
        torch.testing.assert_close(ours[name], gradient, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("cell", CELLS)
def test_codes_form_has_one_probability_more(cell: Cell) -> None:
    """The codes form has one probability more and copies the state too."""
    model = skipping(cell, straight_through="code")
    sizes = (5, 5, 1, 1) if cell == "lstm" else (5, 1, 1)
    assert model.state_sizes == sizes
    assert [float(s.sum()) for s in model.initial_state(1)[-2:]] == [1.0, 1.0]
    projected = model.input_projection(torch.randn(1, 1, 2))[:, 0]
    state = (*(torch.randn(1, n) for n in sizes[:-2]), torch.full((1, 1), 0.2), torch.full((1, 1), 0.3))
    after = model.step(projected, state, model.recurrent_weights())
    assert all(torch.equal(a, b) for a, b in zip(after[:-1], state[:-1], strict=True))
    assert after[-1].item() == pytest.approx(0.5)
