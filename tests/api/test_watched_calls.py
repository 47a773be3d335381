"""`sb.watch` takes a layer's call as the layer does, and follows what is unfrozen or put in later."""

from contextlib import nullcontext
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import stablebench as sb
from stablebench.models.recurrent.lstm import LSTM

IN, HIDDEN, BATCH, T = 2, 5, 4, 12


def inputs() -> Tensor:
    return torch.randn(BATCH, T, IN, generator=torch.Generator().manual_seed(3))


def whole(model: nn.Module) -> float:
    return torch.stack([p.grad.norm() for p in model.parameters() if p.grad is not None]).norm().item()


def test_what_is_unfrozen_later_is_measured() -> None:
    """So are layers that are put in later; those that were frozen later are no part of the whole."""
    layers = nn.ModuleDict({"rnn": nn.GRU(IN, HIDDEN, batch_first=True), "head": nn.Linear(HIDDEN, 1)})
    layers["rnn"].requires_grad_(False)
    layers.forward = lambda x: layers["head"](layers["rnn"](x)[0][:, -1])
    x, norms = inputs(), list[float]()
    with sb.watch(layers, every=1) as w:
        for number in range(4):
            if number == 1:
                layers["rnn"].requires_grad_(True)
            elif number == 2:
                layers["rnn"] = nn.LSTM(IN, HIDDEN, batch_first=True)
            elif number == 3:
                layers["head"].requires_grad_(False)
            layers.zero_grad()
            layers(x).sum().backward()
            norms.append(whole(layers))
    assert [record.numbers["gradient.whole"] for record in w.records] == pytest.approx(norms)
    assert ["gradient.rnn" in record.numbers for record in w.records] == [False, True, True, True]
    assert ["gradient.head" in record.numbers for record in w.records] == [True, True, True, False]
    assert [len(record.flows) for record in w.records] == [0, 1, 1, 1]
    assert not any(p._post_accumulate_grad_hooks for p in layers.parameters())
    assert not layers["rnn"]._forward_hooks and not layers["rnn"]._forward_pre_hooks


def test_a_module_that_is_all_frozen_at_first_is_measured() -> None:
    layer, x = nn.GRU(IN, HIDDEN, batch_first=True).requires_grad_(False), inputs()
    with sb.watch(layer, every=2) as w:
        for number in range(4):
            layer.requires_grad_(number > 0)
            layer.zero_grad()
            layer(x.requires_grad_())[0].sum().backward()
    assert [record.step for record in w.records] == [1, 2]
    assert all(record.numbers["gradient.whole"] == pytest.approx(whole(layer)) for record in w.records)


@pytest.mark.filterwarnings("ignore:Lazy modules are a new feature")
def test_parameters_that_are_made_in_the_first_call_are_measured() -> None:
    model, x = nn.Sequential(nn.LazyLinear(HIDDEN), nn.Linear(HIDDEN, 1)), inputs()
    with sb.watch(model, every=1) as w:
        model(x).sum().backward()
    assert w.records[0].numbers["gradient.whole"] == pytest.approx(whole(model))
    assert {"norm.0.weight", "gradient.0.weight"} <= set(w.records[0].numbers)


LAYERS: list[tuple[Any, str, str]] = [
    (lambda: nn.GRU(IN, IN, batch_first=True), "input", "hx"),
    (lambda: nn.LSTM(IN, IN, num_layers=2, batch_first=True), "input", "hx"),
    (lambda: nn.RNN(IN, IN), "input", "hx"),
    (lambda: LSTM(IN, IN), "x", "state"),
    (lambda: sb.compile_cell(nn.GRUCell(IN, IN)), "x", "h0"),
]


class Named(nn.Module):
    """A network that names the arguments of its layer, the state first, or hands the inputs on as they are."""

    def __init__(self, rnn: nn.Module, x: str, h0: str, how: str) -> None:
        super().__init__()
        self.rnn, self.names, self.how = rnn, (x, h0), how
        self.time_first = isinstance(rnn, nn.RNNBase) and not rnn.batch_first

    def forward(self, x: Tensor, h0: Any) -> Tensor:
        x = x.transpose(0, 1) if self.time_first else x
        named = {self.names[1]: h0, self.names[0]: x}
        given = {"named": ((), named), "half": ((x,), {self.names[1]: h0}), "state": ((), {self.names[0]: x})}
        inputs, named = given[self.how]
        outputs, _ = self.rnn(*inputs, **named)
        return outputs.square().mean()


@pytest.mark.parametrize("how", ["named", "half", "state"])
@pytest.mark.parametrize("make, x_name, h0_name", LAYERS)
def test_named_arguments_are_taken_by_their_names(make: Any, x_name: str, h0_name: str, how: str) -> None:
    rnn = make()
    model = Named(rnn, x_name, h0_name, how).double()
    x = inputs().double().requires_grad_()
    h0: Any = torch.randn(BATCH, IN, generator=torch.Generator().manual_seed(4)).double()
    if isinstance(rnn, nn.RNNBase):
        h0 = h0.expand(rnn.num_layers, -1, -1).contiguous()
    h0 = (h0, h0.cos()) if isinstance(rnn, (nn.LSTM, LSTM)) else h0
    with sb.watch(model, every=1, samples=BATCH) as w:
        model(x, h0).backward()
    assert not w.skipped and x.grad is not None
    (flow,) = w.records[0].flows.values()
    assert flow.log_input_norms is not None and flow.log_norms.shape == (BATCH, T + 1)
    torch.testing.assert_close(flow.log_input_norms.exp(), x.grad.norm(dim=2), rtol=1e-8, atol=1e-12)


@pytest.mark.parametrize("embedded", [False, True])
@pytest.mark.parametrize("order", [("input", "hx"), ("hx", "input")])
def test_a_cell_called_by_names_has_one_pass_a_derivation(order: tuple[str, str], embedded: bool) -> None:
    cell, x = nn.GRUCell(IN, HIDDEN), inputs()
    x = x.requires_grad_() * 1 if embedded else x
    with sb.watch(cell, every=2) as w:
        for _ in range(5):
            cell.zero_grad()
            h = torch.zeros(BATCH, HIDDEN)
            for x_t in x.unbind(1):
                given = {"input": x_t, "hx": h}
                h = cell(**{name: given[name] for name in order})
            h.sum().backward(retain_graph=True)
    assert [record.step for record in w.records] == [0, 2, 4]
    assert all(record.numbers["gradient.whole"] == pytest.approx(whole(cell)) for record in w.records)


def test_a_loop_may_write_into_its_tensors() -> None:
    """What a layer was called with is what it was called with, in float64, too, which nothing has to convert."""
    rnn = nn.GRU(IN, HIDDEN, batch_first=True).double()
    read, h0 = inputs().double().requires_grad_(), torch.ones(1, BATCH, HIDDEN).double()
    x, start = read * 1, h0.clone()
    with sb.watch(rnn, samples=BATCH) as w:
        outputs, _ = rnn(x, start)
        outputs.sin().sum().backward()
        with torch.no_grad():
            for written in (x, start, outputs):
                written.zero_()
    (plain,) = torch.autograd.grad(rnn(read, h0)[0].sin().sum(), read)
    assert read.grad is not None and torch.equal(read.grad, plain) and not w.skipped
    (flow,) = w.records[0].flows.values()
    assert flow.log_input_norms is not None
    torch.testing.assert_close(flow.log_input_norms.exp(), plain.norm(dim=2), rtol=1e-8, atol=1e-12)


@pytest.mark.parametrize("make, weight", [(nn.GRUCell, "weight_hh"), (nn.GRU, "weight_hh_l0")])
def test_reading_a_weight_moves_no_estimate_of_its_norm(make: Any, weight: str) -> None:
    """A spectral norm is estimated by one more step wherever the weight is read in training."""
    runs = []
    for watched in (False, True):
        torch.manual_seed(0)
        trained = nn.utils.parametrizations.spectral_norm(make(IN, HIDDEN), weight)
        if watched:
            sb.probe(trained, inputs(), what="flow")
        context = sb.watch(trained, every=1) if watched else nullcontext()
        layer = sb.compile_cell(trained, engine="reference") if make is nn.GRUCell else trained
        optimiser = torch.optim.SGD(trained.parameters(), 0.1)
        with context:
            for _ in range(4):
                optimiser.zero_grad()
                layer(inputs())[0].square().mean().backward()
                optimiser.step()
        runs.append(trained.state_dict())
    assert all(torch.equal(value, runs[1][name]) for name, value in runs[0].items())
