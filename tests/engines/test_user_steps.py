"""The fused engine has the derivative that the user wrote, or refuses with the line where it cannot keep it."""

import re
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from user_steps import KEPT, REFUSED, HalfTanh, Plain, all_close, everything, model_of

from stablebench.engines import choose
from stablebench.engines.fused import engine as fused
from stablebench.engines.fused.plan import StepPlan
from stablebench.engines.fused.step_graph import UnsupportedStep
from stablebench.errors import UserError
from stablebench.models import recurrent_model
from stablebench.models.base import DeepModel, LayerGroup, State
from stablebench.models.network import Network

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def _float32() -> None:
    torch.set_default_dtype(torch.float32)


@pytest.mark.parametrize("name", REFUSED)
def test_what_a_trace_would_lose_is_refused_where_it_happens(name: str) -> None:
    methods, reason = REFUSED[name]
    planned = fused.plan_model(model_of(methods), torch.zeros(2, 1, 4))
    assert isinstance(planned, UnsupportedStep) and re.search(reason, planned.reason), planned
    assert "is a Doubled" in planned.reason or re.search(r"\(\w+\.py:\d+\)$", planned.reason), planned


def found_by(run: Any, methods: dict[str, Any]) -> list[Tensor]:
    model = model_of(methods)
    torch.manual_seed(3)
    return list(everything(run, model))


NO_REFERENCE = ("autocast", "state in place", "inference_mode")  # torch itself refuses these
NOT_OURS = ("global",)  # planning calls the step, and what lies outside the model cannot be put back


@pytest.mark.parametrize("name", [name for name in REFUSED if name not in (*NO_REFERENCE, *NOT_OURS)])
def test_refused_step_gives_what_the_reference_gives(name: str) -> None:
    """A refused step gives what the reference gives and planning leaves no trace."""
    methods, _ = REFUSED[name]
    assert all_close(iter(found_by(fused.run, methods)), iter(found_by(recurrent_model.run_steps, methods)))


@pytest.mark.parametrize("name", KEPT)
def test_what_is_kept_is_kept(name: str) -> None:
    model = model_of(KEPT[name])
    assert isinstance(fused.plan_model(model, torch.zeros(2, 1, 4)), StepPlan)
    assert all_close(everything(fused.run, model), everything(recurrent_model.run_steps, model_of(KEPT[name])))


def network(model: Plain) -> Network:
    return Network([model], 2, readout="last", input="values")


def test_auto_takes_the_reference_where_fused_is_refused() -> None:
    """Auto takes the reference and says where and fused is refused."""
    methods, _ = REFUSED["straight through"]
    chosen = choose("auto", network(model_of(methods)), CPU)
    assert chosen.run is recurrent_model.run_steps and chosen.note is not None
    assert re.search(r"layer 1 \(Users\): it has a derivative of its own .*\(user_steps\.py:\d+\)", chosen.note)
    with pytest.raises(UserError, match=r"--engine fused cannot run .*derivative of its own"):
        choose("fused", network(model_of(methods)), CPU)


@pytest.mark.parametrize("part", ["input_projection", "recurrent_weights", "initial_state", "dilated_cell"])
def test_whatever_a_model_raises_while_it_is_planned_is_a_reason(part: str) -> None:
    def fail(*_: Any) -> None:
        raise KeyError("no such thing")

    model = type("Users", (Plain,), {part: fail})()
    chosen = choose("auto", network(model), CPU)
    assert chosen.name == "reference" and chosen.note is not None
    assert "KeyError: 'no such thing'" in chosen.note and "test_user_steps.py:" in chosen.note


class Layers(DeepModel):
    """x_{l+1} = tanh with half of its derivative of W_l x_l."""

    def __init__(self) -> None:
        super().__init__(3, 3)
        self.W = nn.Parameter(torch.randn(4, 3, 3))

    def layer_groups(self) -> list[LayerGroup]:
        return [LayerGroup((self.W,))]

    def step(self, layer: tuple[Tensor, ...], state: State, shared: Any) -> State:
        return (HalfTanh.apply(state[0] @ layer[0]),)


class CountingLayers(Layers):
    calls = 0

    def step(self, layer: tuple[Tensor, ...], state: State, shared: Any) -> State:
        self.calls += 1
        return (torch.tanh(state[0] @ layer[0]),)


@pytest.mark.parametrize(("model", "reason"), [(Layers, "`HalfTanh`"), (CountingLayers, "the attribute `calls`")])
def test_a_chain_of_layers_is_held_to_the_same(model: type[Layers], reason: str) -> None:
    chain = model()
    planned = fused.plan_layers(chain, chain.layer_groups()[0], (torch.zeros(2, 3),))
    assert isinstance(planned, UnsupportedStep) and reason in planned.reason
    assert vars(chain).get("calls", 0) == 0
