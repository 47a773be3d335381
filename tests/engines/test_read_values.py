"""A plan holds only as long as the values that its step read besides tensors, wherever they lie."""

import enum
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy
import pytest
import torch
import torch_oracle
from torch import Tensor
from user_steps import Plain

from stablebench.engines.fused import engine as fused
from stablebench.engines.fused.plan import StepPlan
from stablebench.models import recurrent_model

GAIN = 1.0
TABLE = {"gain": 1.0}


class Mode(enum.Enum):
    TANH = 1
    SIGMOID = 2


class ByClass(Plain):
    gain = 1.0

    def act(self, n: Tensor, h: Tensor) -> Tensor:
        return self.gain * torch.tanh(n)


def held(value: Any, read: Callable[[Any], float], change: Callable[[Any], None]) -> tuple[Any, ...]:
    def prepare(self: Any) -> None:
        self.held = value() if callable(value) and not isinstance(value, type) else value

    return type("Users", (Plain,), {"prepare": prepare, "act": lambda s, n, h: read(s) * torch.tanh(n)}), change


def _set(name: str, value: Any) -> Callable[[Any], None]:
    return lambda model: setattr(model, name, value)


def _by_closure() -> tuple[Any, ...]:
    gain = 1.0

    def act(self: Any, n: Tensor, h: Tensor) -> Tensor:
        return gain * torch.tanh(n)

    def change(model: Any) -> None:
        nonlocal gain
        gain = 0.5

    return type("Users", (Plain,), {"act": act}), change


def _global(model: Any) -> None:
    global GAIN
    GAIN = 0.5


CASES: dict[str, tuple[Any, ...]] = {
    "list": held(lambda: [1.0], lambda s: s.held[0], lambda m: m.held.__setitem__(0, 0.5)),
    "tuple": held((1.0, 2), lambda s: s.held[0], _set("held", (0.5, 2))),
    "dictionary": held(lambda: {"a": {"b": 1.0}}, lambda s: s.held["a"]["b"], lambda m: m.held["a"].update(b=0.5)),
    "None": held(None, lambda s: 1.0 if s.held is None else 0.5, _set("held", 1)),
    "set": held(lambda: {1}, lambda s: 1.0 if 2 in s.held else 0.5, lambda m: m.held.add(2)),
    "object": held(lambda: SimpleNamespace(a=1.0), lambda s: s.held.a, lambda m: setattr(m.held, "a", 0.5)),
    "enumeration": held(Mode.TANH, lambda s: 1.0 if s.held is Mode.TANH else 0.5, _set("held", Mode.SIGMOID)),
    "numpy number": held(numpy.float64(1), lambda s: float(s.held), _set("held", numpy.float64(0.5))),
    "numpy array": held(lambda: numpy.ones(2), lambda s: float(s.held[1]), lambda m: m.held.fill(0.5)),
    "function": held(None, lambda s: 1.0 if s.held is None else s.held(), _set("held", lambda: 0.5)),
    "class": (ByClass, lambda m: setattr(ByClass, "gain", 0.5)),
    "closure": _by_closure(),
    "global": (type("Users", (Plain,), {"act": lambda s, n, h: GAIN * torch.tanh(n)}), _global),
    "table": (
        type("Users", (Plain,), {"act": lambda s, n, h: TABLE["gain"] * torch.tanh(n)}),
        lambda m: TABLE.update(gain=0.5),
    ),
    "hook": (
        type("Users", (Plain,), {"act": lambda s, n, h: torch.tanh(s.part(n))}),
        lambda m: m.part.register_forward_hook(lambda part, given, out: 0.5 * out),
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_a_value_that_changed_between_two_calls_is_read_again(name: str) -> None:
    torch.set_default_dtype(torch.float32)
    torch.manual_seed(0)
    build, change = CASES[name]
    model, x = build(), torch.randn(2, 3, 4)

    def run() -> Tensor:
        return torch_oracle.run(model, x)[0]

    assert isinstance(torch_oracle.plan_model(model, x), StepPlan)
    before = run()
    torch.testing.assert_close(before, recurrent_model.run_steps(model, x)[0])
    change(model)
    after = run()
    torch.testing.assert_close(after, recurrent_model.run_steps(model, x)[0])
    assert not torch.allclose(after, before)


def test_what_no_step_reads_makes_no_new_plan() -> None:
    torch.set_default_dtype(torch.float32)
    model, x = Plain(), torch.randn(2, 3, 4)
    history: list[float] = []
    vars(model)["history"] = history
    first = fused.plan_model(model, x)
    history.append(1.0)
    vars(model)["kept"] = torch.zeros(3)
    assert fused.plan_model(model, x) is first
