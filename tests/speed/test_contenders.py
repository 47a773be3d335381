"""All contenders that run a model compute the same, and what is timed is what is said."""

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from stablebench.cli.speed import MODELS
from stablebench.engines.fused.step_graph import UnsupportedStep
from stablebench.models import recurrent_model
from stablebench.models import registry as model_registry
from stablebench.speed.contenders import (
    SEQUENCE_CONTENDERS,
    Contender,
    literal_outputs,
    sequence_contender,
    transition_contender,
)
from stablebench.speed.workload import Sequences, Size, Workload

SIZE = Size(batch=3, hidden=6, steps=7)


def built(model: str) -> Sequences:
    torch.set_default_dtype(torch.float64)
    return Workload(model, SIZE, inputs=2, seed=5).build()


def made(name: str, work: Sequences) -> Contender:
    contender = sequence_contender(name, work)
    assert not isinstance(contender, UnsupportedStep), contender.reason
    return contender


def gradients(module: nn.Module) -> dict[str, Tensor]:
    return {name: p.grad.clone() for name, p in module.named_parameters() if p.grad is not None}


def test_the_default_models_are_registered() -> None:
    assert set(MODELS) <= set(model_registry.model_names(family="recurrent"))


@pytest.mark.parametrize("name", model_registry.model_names(family="recurrent"))
def test_literal_loop_computes_what_reference_engine_does(name: str) -> None:
    """The literal loop computes what the reference engine does."""
    work = built(name)
    expected, _ = work.model(work.x)
    torch.testing.assert_close(literal_outputs(work.model, work.x), expected, rtol=1e-12, atol=1e-12)


def test_literal_loop_asks_for_one_step_at_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """The literal loop asks for one step at a time and one transition."""
    work = built("rnn")
    calls: list[str] = []
    for method in ("input_projection", "step", "recurrent_weights"):
        original = getattr(work.model, method)

        def recorded(*args: Tensor, method: str = method, original: object = original) -> object:
            calls.append(f"{method} {tuple(args[0].shape)}" if method == "input_projection" else method)
            return original(*args)  # type: ignore[operator]

        monkeypatch.setattr(work.model, method, recorded)
    literal_outputs(work.model, work.x)
    assert calls == ["recurrent_weights", *["input_projection (3, 1, 2)", "step"] * SIZE.steps]


@pytest.mark.parametrize("name", ["cornn", "gru"])
def test_the_passes_of_a_model_leave_the_same_gradients(name: str) -> None:
    work = built(name)
    outputs, _ = recurrent_model.run_steps(work.model, work.x)
    (outputs * work.d_outputs).sum().backward()
    expected = gradients(work.model)
    assert set(expected) == {name for name, _ in work.model.named_parameters()}
    for contender in (made(name, work) for name in ("fused", "reference", "literal")):
        contender.clear()
        assert not gradients(work.model)
        contender.run()
        found = gradients(work.model)
        for parameter, gradient in expected.items():
            torch.testing.assert_close(found[parameter], gradient, rtol=1e-9, atol=1e-11)
    assert work.x.grad is None


WIDE = """
import torch
from torch import nn
from stablebench.models.base import RecurrentModel

class Wide(RecurrentModel):
    def __init__(self, in_features: int, hidden: int) -> None:
        super().__init__(in_features, hidden)
        self.U = nn.Linear(in_features, 2 * hidden)
        self.W = nn.Linear(2 * hidden, 2 * hidden)

    @property
    def state_sizes(self):
        return (2 * self.hidden,)

    def input_projection(self, x):
        return self.U(x)

    def step(self, projected, state, recurrent_weights):
        return (torch.tanh(projected + self.W(state[0])),)
"""


def test_every_contender_runs_with_outputs_wider_than_hidden(tmp_path: Path) -> None:
    """Every contender runs where outputs are wider than hidden."""
    path = tmp_path / "wide.py"
    path.write_text(WIDE)
    work = built(f"{path}:Wide")
    assert work.d_outputs.shape[2] == 2 * SIZE.hidden
    for name in SEQUENCE_CONTENDERS:
        contender = made(name, work)
        contender.run()
        contender.clear()


def test_transition_alone_has_gradients_of_what_it_is_made_of() -> None:
    """The transition alone has gradients of what it is made of."""
    work = built("exprnn")
    contender = transition_contender(work.model)
    contender.run()
    assert set(gradients(work.model)) == {"W.upper", "b"}
    contender.clear()
    assert not gradients(work.model)


def test_a_transition_of_nothing_that_learns_runs_too() -> None:
    work = built("rnn")
    work.model.requires_grad_(False)
    transition_contender(work.model).run()


def test_workload_builds_same_twice() -> None:
    """A workload builds the same twice and takes nothing from the global generator."""
    before = torch.get_rng_state()
    one, two = built("roarnn"), built("roarnn")
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(one.x, two.x) and torch.equal(one.d_outputs, two.d_outputs)
    assert torch.equal(one.model.get_parameter("W"), two.model.get_parameter("W"))
    assert one.model.alpha == 1 / SIZE.steps  # the horizon is T
