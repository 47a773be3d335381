"""The self-check finds an engine that computes another function or derivative, and changes nothing of a run."""

import dataclasses
import random
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import numpy
import pytest
import torch
import torch_oracle
from torch import Tensor, nn
from user_steps import REFUSED, Plain, model_of

from stablebench.engines import scan, self_check
from stablebench.engines.fused import engine as fused
from stablebench.engines.fused import guard, rehearsal, trace
from stablebench.engines.fused.operations import OPERATIONS, Value
from stablebench.models import registry as model_registry
from stablebench.models.deep_network import DeepNetwork
from stablebench.models.network import Network

torch_calls = torch_oracle.run  # no C compiler is waited for
DTYPES = [torch.float32, torch.float64]


def network(name: str, dtype: torch.dtype, layers: int = 1, **options: Any) -> Network:
    """Return a network of a registered model with the fused engine in torch calls."""
    torch.set_default_dtype(dtype)
    torch.manual_seed(0)
    entry = model_registry.model_entry(name)
    built = []
    for i in range(layers):
        width = built[-1].out_features if built else 6
        built.append(entry.build(width, 8, entry.resolve({}), horizon=50, layer=i))
    found = Network(built, 3, readout="every", input="values", **options)
    found.engine = torch_calls
    return found


def inputs(dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(20, 50, 6, generator=torch.Generator().manual_seed(1), dtype=dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ["lstm", "roarnn", "dilated_rnn", "lru", "lem", "skip_gru"])
def test_a_right_engine_passes(name: str, dtype: torch.dtype) -> None:
    assert self_check.difference(network(name, dtype, layers=2), inputs(dtype)) is None


@pytest.mark.parametrize("operation", ["tanh", "sigmoid", "mul", "add"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_a_wrong_derivative_of_one_operation_is_found(
    operation: str, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = OPERATIONS[operation]

    def wrong(*values: Value) -> tuple[Value | None, ...]:
        assert right.derivative is not None
        first, *others = right.derivative(*values)
        return (None if first is None else 0.999 * first, *others)

    monkeypatch.setitem(OPERATIONS, operation, dataclasses.replace(right, derivative=wrong))
    found = self_check.difference(network("lem", dtype), inputs(dtype))
    assert found is not None and "the gradient of" in found


DERIVATIVES = ["straight through", "half tanh", "in a submodule", "no_grad", "no_grad of a parameter", "saved halves"]


@pytest.mark.parametrize("name", [*DERIVATIVES, "set_grad_enabled", "a parameter's class"])
def test_what_the_plan_refuses_is_found_where_the_plan_does_not(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.set_default_dtype(torch.float32)
    monkeypatch.setattr(guard, "own_derivatives_refused", nullcontext)
    monkeypatch.setattr(guard, "refuse_changed", lambda before: None)
    monkeypatch.setattr(trace, "_require_plain", lambda value, name: None)
    monkeypatch.setattr(trace, "check_against", lambda *_: None)
    methods, _ = REFUSED[name]
    found = Network([model_of(methods)], 3, readout="last", input="values")
    x = torch.randn(8, 20, 4, generator=torch.Generator().manual_seed(1))
    assert isinstance(fused.plan_model(model_of(methods), x[:, :1]), fused.StepPlan)
    found.engine = torch_calls
    assert self_check.difference(found, x) is not None
    assert rehearsal.check_against is not trace.check_against


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("gain", [3.0, 100.0, 1e6])
def test_rounding_that_grows_is_no_difference(gain: float, dtype: torch.dtype) -> None:
    torch.set_default_dtype(dtype)

    class Chaotic(Plain):
        def act(self, n: Tensor, h: Tensor) -> Tensor:
            return torch.tanh(gain * n)

    torch.manual_seed(0)
    found = Network([Chaotic(6, 8)], 3, readout="every", input="values")
    found.engine = torch_calls
    assert self_check.difference(found, inputs(dtype)) is None


def test_an_engine_that_skips_a_step_is_found() -> None:
    found = network("lstm", torch.float32)

    def skips(model: Any, x: Tensor, *more: Any, **named: Any) -> Any:
        return torch_calls(model, torch.cat([x[:, :-2], x[:, -1:], x[:, -1:]], dim=1), *more, **named)

    found.engine = skips
    difference = self_check.difference(found, inputs())
    assert difference is not None and "differs by" in difference
    assert self_check.difference(found, inputs(), gradients=False) is not None


def test_a_wrong_scan_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    found = network("mingru", torch.float32)
    found.engine = scan.run
    assert self_check.difference(found, inputs()) is None
    right = scan.states
    monkeypatch.setattr(scan, "states", lambda a, b, initial: right(a.detach(), b, initial))
    assert self_check.difference(found, inputs()) is not None


def deep(dtype: torch.dtype = torch.float32) -> DeepNetwork:
    torch.set_default_dtype(dtype)
    torch.manual_seed(0)
    entry = model_registry.model_entry("roafnn")
    found = DeepNetwork(entry.build_deep(6, 8, entry.resolve({}), layers=40), 3)
    found.engine = torch_oracle.run_layers
    return found


def test_a_chain_of_layers_is_held_too(monkeypatch: pytest.MonkeyPatch) -> None:
    found, x = deep(), torch.randn(20, 6)
    assert self_check.difference(found, x) is None
    right = OPERATIONS["tanh"]
    monkeypatch.setitem(OPERATIONS, "tanh", dataclasses.replace(right, derivative=lambda g, r, x: (g,)))
    assert self_check.difference(deep(), x) is not None


class Moody(Plain):
    """Draws, counts and keeps statistics wherever a model may."""

    def prepare(self) -> None:
        self.norm = nn.BatchNorm1d(self.in_features)
        self.calls, self.seen, self.draws = 0, [1.0], numpy.random.default_rng(0)

    def input_projection(self, x: Tensor) -> Tensor:
        noise = torch.rand(()) + random.random() + numpy.random.rand() + self.draws.random()  # noqa: NPY002
        return self.V(self.norm(x.flatten(0, 1)).view_as(x)) * float(noise)

    def layer_output(self, output: Tensor, x: Tensor) -> Tensor:
        self.calls += 1
        self.seen.append(float(self.calls))
        return output


def everything_of(found: Network) -> list[Any]:
    model = found.recurrent_layers[0]
    assert isinstance(model, Moody)
    tensors = [t.clone() for t in found.state_dict().values()]
    tensors += [p.grad.clone() for p in found.parameters() if p.grad is not None]
    states = [torch.get_rng_state(), torch.tensor(random.getstate()[1])]
    states += [torch.tensor(numpy.random.get_state()[1].astype("int64"))]  # noqa: NPY002 # pyright: ignore
    return [*tensors, *states, model.calls, list(model.seen), model.draws.bit_generator.state["state"]["state"]]


def same(a: Any, b: Any) -> bool:
    return torch.equal(a, b) if isinstance(a, Tensor) else a == b


@pytest.mark.parametrize("engine", [torch_calls, fused.run])
def test_nothing_is_different_afterwards(engine: Callable[..., Any]) -> None:
    torch.set_default_dtype(torch.float32)
    torch.manual_seed(0)
    found = Network([Moody(6, 8)], 3, readout="every", input="values")
    found(inputs()[:3])[0].sum().backward()
    found.engine = engine
    before, gradients = everything_of(found), [p.grad for p in found.parameters()]
    assert self_check.difference(found, inputs()) is None
    assert all(same(a, b) for a, b in zip(everything_of(found), before, strict=True))
    assert all(p.grad is g for p, g in zip(found.parameters(), gradients, strict=True))
    assert found.engine is engine and found.training
