"""Checks of a pass: shapes, in-place operations, gradients, independence of batch and future, dtypes."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from stablebench.contract.checked_model import Checkable, CheckedModel, close, run_from
from stablebench.contract.layer_model import LayerModel
from stablebench.contract.result import CheckResult
from stablebench.errors import ContractError
from stablebench.models import recurrent_model
from stablebench.models.attention_model import AttentionModel
from stablebench.models.base import DeepModel, RecurrentModel, as_tuple
from stablebench.models.contract import where_in
from stablebench.models.recompute_check import steps_apart
from stablebench.models.restore import restored
from stablebench.models.structure import check_structure

_DRAWS = 3
"""Random inputs, each with a newly drawn model; a gradient that is zero on all of them is reported."""

_NOT_REPEATABLE = "two passes from one state differ already"


def structure(subject: CheckedModel) -> CheckResult:
    """Check that every method returns what the contract says."""
    name = "structure"
    try:
        model = subject.build()
        if isinstance(model, LayerModel):
            return _structure_of_layer(model, subject)
        with restored(model):
            check_structure(model)
            states = run_from(model, subject.inputs(model)).states
    except ContractError as error:
        return CheckResult(name, "broken", str(error))
    except Exception as error:
        message = f"{type(error).__name__}: {error}"
        return CheckResult(name, "broken", f"a pass fails with {message}", where_in(subject.entry.cls, error))
    if not states:
        return CheckResult(name, message="no states: every step looks at all inputs up to it")
    kinds = ", ".join(f"{part.shape[1]} of {str(part.dtype).removeprefix('torch.')}" for part in states)
    return CheckResult(name, message=f"{len(states)} state{'s' if len(states) > 1 else ''}: {kinds}")


def _structure_of_layer(model: LayerModel, subject: CheckedModel) -> CheckResult:
    outputs = run_from(model, subject.inputs(model)).outputs
    message = (
        f"a layer over all time steps, outputs (batch, time, {outputs.shape[2]}): it is checked, and not trained here; "
        "`train` takes one step of it, a cell (x_t, h) -> h or (out, h)"
    )
    return CheckResult("structure", "warning", message, subject.place("forward"))


@torch.no_grad()
def in_place(subject: CheckedModel) -> CheckResult:
    """Check that a step does not change its arguments in place."""
    name = "in-place operations"
    model = subject.build()
    with restored(model):
        given: dict[str, Any]
        if isinstance(model, AttentionModel):
            x = subject.inputs(model)
            before_pass, version = x.clone(), x._version
            model(x)
            if torch.equal(x, before_pass) and x._version == version:
                return CheckResult(name)
            return CheckResult(name, "broken", "`forward` changes its inputs in place", subject.place("forward"))
        if isinstance(model, RecurrentModel):
            projected = recurrent_model.split_by_step(model.input_projection(subject.inputs(model)))[0]
            given = {
                "input_projection": projected,
                "state": model.initial_state(subject.batch),
                "recurrent_weights": model.recurrent_weights(),
            }
        else:
            assert isinstance(model, DeepModel)
            layer_groups = model.layer_groups()
            if not layer_groups:
                return CheckResult(name, "not applicable", "there are no layers")
            layer = tuple(t[0] for t in layer_groups[0].layers)
            entered = model.embed_input(subject.inputs(model))
            given = {"layer": layer, "state": entered, "shared": layer_groups[0].shared}
        before = {key: [t.clone() for t in _tensors(value)] for key, value in given.items()}
        versions = {key: [t._version for t in _tensors(value)] for key, value in given.items()}
        step: Any = model.step  # pyright: ignore[reportAttributeAccessIssue]
        step(*given.values())
        changed = [
            key
            for key, value in given.items()
            if [t._version for t in _tensors(value)] != versions[key]
            or any(not torch.equal(a, b) for a, b in zip(_tensors(value), before[key], strict=True))
        ]
    if changed:
        keys = " and ".join(f"`{key}`" for key in changed)
        message = f"`step` changes its {keys} in place; outputs share that memory"
        return CheckResult(name, "broken", message, subject.place("step"))
    return CheckResult(name)


def gradients(subject: CheckedModel) -> CheckResult:
    """Look for parameters without a gradient, or with none but zero on several random inputs."""
    name = "gradients"
    silent: set[str] | None = None
    absent: set[str] = set()
    infinite: set[str] = set()
    for draw in range(_DRAWS):
        model = subject.build(draw)
        by_name = run_from(model, subject.inputs(model, draw + 1), draw, gradients=True).gradients
        absent = {key for key, gradient in by_name.items() if gradient is None}
        infinite |= {key for key, g in by_name.items() if g is not None and not bool(g.isfinite().all())}
        zero = {key for key, g in by_name.items() if g is not None and not bool(g.count_nonzero())}
        silent = zero if silent is None else silent & zero
    if infinite:
        return CheckResult(name, "warning", f"not finite on random inputs: {_listed(infinite)}")
    if absent:
        return CheckResult(name, "warning", f"no gradient reaches {_listed(absent)}: they are never trained")
    if silent:
        return CheckResult(name, "warning", f"zero on {_DRAWS} random inputs: {_listed(silent)}")
    return CheckResult(name)


def finite(subject: CheckedModel) -> CheckResult:
    """Look for values that are not finite."""
    model = subject.build()
    one = run_from(model, subject.inputs(model))
    if all(bool(part.isfinite().all()) for part in (one.outputs, *one.states)):
        return CheckResult("finite values")
    message = "outputs or states are not finite on random inputs"
    return CheckResult("finite values", "warning", message, subject.place(subject.equation))


def batch_independence(subject: CheckedModel) -> CheckResult:
    """Change one example, and compare the outputs and gradients of the others."""
    name = "batch independence"
    model = subject.build()
    if model.batch_dependent:
        return CheckResult(name, "not applicable", "the model declares itself `batch_dependent`")
    x = subject.inputs(model)
    if not repeats(model, x):
        return CheckResult(name, "not applicable", _NOT_REPEATABLE)
    other = x.clone()
    other[-1] += 1
    for training in (True, False):
        mode = "in training" if training else "in evaluation"
        a = run_from(model, x, training=training, gradients=True)
        b = run_from(model, other, training=training, gradients=True)
        reached = a.of_inputs is not None and bool(a.of_inputs[1:].count_nonzero())
        if reached or not close(a.outputs[:-1], b.outputs[:-1]):
            message = f"{mode}, an example's output depends on the others; `batch_dependent = True` declares it"
            return CheckResult(name, "warning", message, subject.place(subject.equation))
    return CheckResult(name)


def look_ahead(subject: CheckedModel) -> CheckResult:
    """Change the inputs after a time step, and compare the outputs up to it."""
    name = "look-ahead"
    if subject.deep:
        return CheckResult(name, "not applicable", "a deep model has no time")
    model = subject.build()
    x = subject.inputs(model)
    if not repeats(model, x):
        return CheckResult(name, "not applicable", _NOT_REPEATABLE)
    whole = run_from(model, x, training=False).outputs
    for last in range(subject.steps - 1):
        other = x.clone()
        other[:, last + 1 :] += 1
        if not close(whole[:, : last + 1], run_from(model, other, training=False).outputs[:, : last + 1]):
            message = f"the output of time step {last + 1} depends on later inputs"
            return CheckResult(name, "broken", message, place_of_look_ahead(subject, model, x, last))
    return CheckResult(name)


def place_of_look_ahead(subject: CheckedModel, model: Checkable, x: Tensor, last: int) -> str:
    """Return the line of the method that takes later inputs into the output of a time step, from 0."""
    if not isinstance(model, RecurrentModel):
        return subject.place("forward")
    return subject.place("input_projection" if _drive_looks_ahead(model, x, last) else "layer_output")


def layer_output(subject: CheckedModel) -> CheckResult:
    """Check that the `layer_output` of a time step depends on that step only."""
    name = "layer_output"
    model = subject.build()
    if not isinstance(model, RecurrentModel) or type(model).layer_output is RecurrentModel.layer_output:
        return CheckResult(name, "not applicable", "the model has no `layer_output` of its own")
    if model.batch_dependent:
        return CheckResult(name, "not applicable", "the model declares itself `batch_dependent`")
    why = steps_apart(model, "layer_output")
    if why is None:
        return CheckResult(name)
    return CheckResult(name, "broken", f"`layer_output` {why}", subject.place("layer_output"))


def types(subject: CheckedModel) -> CheckResult:
    """Build and run the model in float32 and in float64, and look for values of another type."""
    name = "types"
    for dtype in (torch.float32, torch.float64):
        called = str(dtype).removeprefix("torch.")
        try:
            model = subject.build(dtype=dtype)
            one = run_from(model, subject.inputs(model), gradients=True)
        except Exception as error:
            where = where_in(subject.entry.cls, error)
            return CheckResult(name, "broken", f"fails in {called} with {type(error).__name__}: {error}", where)
        parts = {f"parameter {n}": p for n, p in model.named_parameters()} | {"the output": one.outputs}
        parts |= {f"state {i}": part for i, part in enumerate(one.states)}
        for what, part in parts.items():
            real = part.dtype.to_real() if part.is_complex() else part.dtype
            if real.is_floating_point and real != dtype:
                return CheckResult(name, "broken", f"in {called}, {what} is of {str(real).removeprefix('torch.')}")
    return CheckResult(name)


def repeats(model: Checkable, x: Tensor) -> bool:
    """Return whether two passes from one state are equal; otherwise a changed input proves nothing."""
    return all(
        close(run_from(model, x, training=mode).outputs, run_from(model, x, training=mode).outputs)
        for mode in (True, False)
    )


def _drive_looks_ahead(model: RecurrentModel, x: Tensor, last: int) -> bool:
    later = torch.arange(x.shape[1]) > last
    others = [
        torch.where(later[:, None], change(x), x) for change in (lambda x: x + 1, torch.zeros_like, lambda x: -9 * x)
    ]
    for training in (True, False):
        with torch.no_grad(), restored(model):
            model.train(training)
            whole = as_tuple(model.input_projection(x))
            for other in others:
                pairs = zip(whole, as_tuple(model.input_projection(other)), strict=True)
                if any(not close(a[:, : last + 1], b[:, : last + 1], 1e-9) for a, b in pairs):
                    return True
    return False


def _tensors(value: Any) -> list[Tensor]:
    if isinstance(value, Tensor):
        return [value]
    if isinstance(value, dict):
        value = value.values()
    return [t for part in value for t in _tensors(part)] if isinstance(value, Iterable) else []


def _listed(names: set[str]) -> str:
    return ", ".join(f"`{name}`" for name in sorted(names))
