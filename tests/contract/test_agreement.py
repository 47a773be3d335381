"""The fused engine computes what the loop over `step` defines: values and all gradients, for every registered model."""

from typing import Literal

import pytest
import torch
import torch_oracle
from torch import Tensor

from stablebench.engines.fused import engine as fused
from stablebench.engines.fused.c import backend as native
from stablebench.engines.fused.plan import StepPlan
from stablebench.models import recurrent_model
from stablebench.models import registry as model_registry
from stablebench.models.base import RecurrentModel

IN = 3
MODELS = model_registry.model_names(family="recurrent")
SIZES = [(1, 6, 7), (4, 13, 1), (5, 33, 50)]
"""Batch, hidden, steps: rows and units that fill no vector, a single sequence, a single step."""
Outputs = Literal["every", "last"]


def build(name: str, hidden: int, steps: int, dtype: torch.dtype) -> RecurrentModel:
    entry = model_registry.model_entry(name)
    torch.set_default_dtype(torch.float64)
    torch.manual_seed(3)
    return entry.build(IN, hidden, entry.resolve({}), horizon=steps).to(dtype)


def everything(
    run: object, model: RecurrentModel, size: tuple[int, int, int], outputs: Outputs, dtype: torch.dtype
) -> list[Tensor]:
    """Return outputs, last states, and the gradients of inputs, first states and parameters, in float64."""
    batch, _, steps = size
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(batch, steps, IN, generator=generator, dtype=torch.float64).to(dtype).requires_grad_()
    before = tuple(s.detach() for s in model.initial_state(batch))  # some models learn theirs
    state = tuple(
        (s + 0.3 * torch.randn(s.shape, generator=generator, dtype=torch.float64)).to(dtype).requires_grad_()
        for s in before
    )
    model.zero_grad()
    y, after = run(model, x, state, outputs)  # pyright: ignore[reportCallIssue]
    y = model.layer_output(y, x if outputs == "every" else x[:, -1])
    weights = torch.randn(y.shape, generator=generator, dtype=torch.float64).to(dtype)
    (torch.sum(y * weights) + torch.stack([(s**2).sum() for s in after]).sum()).backward()
    found = [y, *after, x.grad, *(s.grad for s in state), *(p.grad for p in model.parameters())]
    return [torch.zeros(()) if t is None else t.detach().double() for t in found]


@pytest.mark.parametrize("name", MODELS)
def test_every_model_can_be_fused_or_says_why_not(name: str) -> None:
    model = build(name, 6, 4, torch.float64)
    fusible = isinstance(fused.plan_model(model, torch.zeros(2, 4, IN)), StepPlan)
    assert fusible != ("\nEngine: reference" in model_registry.model_docstring(name))


@pytest.mark.parametrize("backend", torch_oracle.BACKENDS)
@pytest.mark.parametrize("outputs", ["every", "last"])
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", MODELS)
def test_values_and_gradients_agree_in_float64(
    name: str, size: tuple[int, int, int], outputs: Outputs, backend: str
) -> None:
    def run(*args: object) -> object:
        return torch_oracle.run(*args, backend=backend)

    model = build(name, size[1], size[2], torch.float64)
    expected = everything(recurrent_model.run_steps, model, size, outputs, torch.float64)
    found = everything(run, model, size, outputs, torch.float64)
    for a, b in zip(found, expected, strict=True):
        scale = 1 + b.abs().max()  # roaRNN's gradients grow to 1e4 over 50 random steps
        torch.testing.assert_close(a / scale, b / scale, rtol=0, atol=1e-10)


@pytest.mark.parametrize("outputs", ["every", "last"])
@pytest.mark.parametrize("name", MODELS)
def test_float32_is_as_exact_as_the_reference(name: str, outputs: Outputs) -> None:
    size = (5, 33, 50)
    model = build(name, size[1], size[2], torch.float32)
    ours = everything(fused.run, model, size, outputs, torch.float32)
    theirs = everything(recurrent_model.run_steps, model, size, outputs, torch.float32)
    exact = everything(recurrent_model.run_steps, model.double(), size, outputs, torch.float64)
    for a, b, truth in zip(ours, theirs, exact, strict=True):
        scale = 1 + truth.abs().max()
        assert (a - truth).abs().max() / scale <= 3 * (b - truth).abs().max() / scale + 1e-6


@pytest.mark.parametrize("name", MODELS)
def test_threads_change_nothing_but_rounding(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(native, "_MIN_OPERATIONS_PER_THREAD", 1.0)
    size = (37, 13, 9)
    model = build(name, size[1], size[2], torch.float64)
    one = everything(fused.run, model, size, "every", torch.float64)
    torch.set_num_threads(2)
    two = everything(fused.run, model, size, "every", torch.float64)
    again = everything(fused.run, model, size, "every", torch.float64)
    torch.set_num_threads(1)
    for a, b, c in zip(one, two, again, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-11, atol=1e-11 * float(1 + a.abs().max()))
        assert torch.equal(b, c)


@pytest.mark.parametrize("name", MODELS)
def test_evaluation_without_gradients_gives_the_same_outputs(name: str) -> None:
    model = build(name, 13, 70, torch.float64)
    x = torch.randn(3, 70, IN)
    outputs, state = fused.run(model, x)
    with torch.no_grad():
        again, after = fused.run(model, x)
        last, after_last = fused.run(model, x, None, "last")
    assert torch.equal(outputs, again) and torch.equal(outputs[:, -1], last)
    assert all(torch.equal(a, b) and torch.equal(a, c) for a, b, c in zip(state, after, after_last, strict=True))
