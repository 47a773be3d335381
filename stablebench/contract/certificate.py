"""The certificate of a model: no output depends on a later input, on another example, or on an earlier call."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from stablebench.contract.checked_model import Checkable, CheckedModel, close, run, run_from, unchanged
from stablebench.contract.dependence import ROUNDING, Axis, Dependence, by_change, by_derivative
from stablebench.contract.pass_checks import place_of_look_ahead, repeats
from stablebench.contract.result import CheckResult, Verdict
from stablebench.process import python_random

_MAX_POSITIONS = 64
"""Time steps whose outputs are looked at; of longer chains, so many evenly spaced ones."""
_ALONE_STEPS = 16
"""Steps of an example alone that are compared with those in its batch, which differ in rounding."""
_WITHOUT = " and has the derivative 0 (detach, rounding, an index, statistics without gradient)"
_MODES = {True: "training", False: "evaluation"}


@dataclass(frozen=True)
class _Leak:
    """A dependence in one mode."""

    mode: str
    dependence: Dependence
    rounding: bool

    def document(self) -> dict[str, Any]:
        one = self.dependence
        return {
            "mode": self.mode,
            "output": one.output + 1,
            "input": None if one.input is None else one.input + 1,
            "derivative": one.derivative,
            "relative": one.relative,
        }


def look_ahead(subject: CheckedModel) -> CheckResult:
    """Check that the outputs of a time step depend on no later input, in training and in evaluation."""
    name = "look-ahead"
    if subject.deep:
        return CheckResult(name, "not applicable", "a deep model has no time")
    model, x = _doubled(subject)
    count = min(subject.steps - 1, _MAX_POSITIONS)
    times = sorted({round(i * (subject.steps - 2) / max(1, count - 1)) for i in range(count)})
    leaks, notes = _leaks(model, x, 1, times)
    of = f"{len(times)} of {subject.steps - 1} steps" if len(times) < subject.steps - 1 else f"{subject.steps} steps"
    measured = _measured("causal", leaks, x)
    if not leaks:
        exact = f"d y_t / d x_s is exactly 0 for s > t, and changed later inputs change nothing ({of}, {_kind(x)})"
        return CheckResult(name, message="; ".join([exact, *notes]), measured=measured)
    modes, first = _modes(leaks), leaks[0].dependence
    message = f"the output of time step {first.output + 1} depends on later inputs, {modes}: {_said_of_time(leaks[0])}"
    return CheckResult(name, _verdict(leaks), message, place_of_look_ahead(subject, model, x, first.output), measured)


def batch_independence(subject: CheckedModel) -> CheckResult:
    """Check that the outputs of an example depend on no other one of the batch, in training and in evaluation."""
    name = "batch independence"
    model, x = _doubled(subject)
    leaks, notes = _leaks(model, x, 0, range(len(x)))
    measured = _measured("independent", leaks, x)
    declared = model.batch_dependent
    in_evaluation = any(leak.mode == "evaluation" for leak in leaks)
    if not in_evaluation and (size := _differs_alone(model, x)) is not None:
        measured = {**measured, "independent": False, "alone": size}
        message = f"in evaluation, an example alone has other outputs than in its batch, by {size:.1e} of the largest"
        return CheckResult(name, "broken", message, subject.place(subject.equation), measured)
    if not leaks:
        exact = "d y_i / d x_j is exactly 0 for examples j other than i, and changed examples change no other one"
        return CheckResult(name, message="; ".join([f"{exact} ({_kind(x)})", *notes]), measured=measured)
    message = f"{_modes(leaks)}, an example's output depends on the others: {_said_of_batch(leaks[0])}"
    if not declared:
        message += "; `batch_dependent = True` declares it for training"
        if subject.layer:
            message += ", `batch_first = False` that its axes are (time, batch, in)"
        return CheckResult(name, _verdict(leaks), message, subject.place(subject.equation), measured)
    if in_evaluation:
        message += "; `batch_dependent` declares it, and a score depends on which examples share a batch"
        return CheckResult(name, "warning", message, subject.place(subject.equation), measured)
    return CheckResult(
        name, message=f"{message}, as `batch_dependent` declares; in evaluation on none", measured=measured
    )


def calls_apart(subject: CheckedModel) -> CheckResult:
    """Check that what a second call returns depends neither on the inputs of the first nor on their number."""
    name = "state between calls"
    model, x = _doubled(subject)
    if not repeats(model, x):
        return CheckResult(name, "not applicable", "two passes from one state differ already")
    carried, counted = [], []
    for training, mode in _MODES.items():
        fresh = _after(model, [], x, training)
        a, b = (_after(model, [first], x, training) for first in (x, 2 - x))
        if not close(a, b, ROUNDING[x.dtype]):
            carried.append(mode)
        elif not close(a, fresh, ROUNDING[x.dtype]):
            counted.append(mode)
    measured = {"carries_inputs": carried, "changes_with_calls": counted}
    place = subject.place(subject.equation)
    if carried:
        message = f"in {' and '.join(carried)}, a call's outputs depend on the inputs of the call before it"
        if model.batch_dependent and carried == ["training"]:
            return CheckResult(name, message=f"{message}, as `batch_dependent` declares", measured=measured)
        return CheckResult(name, "broken", f"{message}: the module keeps a state", place, measured)
    if counted:
        message = f"in {' and '.join(counted)}, a second call on the same inputs gives other numbers"
        verdict = "broken" if "evaluation" in counted else "warning"
        return CheckResult(name, verdict, f"{message}: the module keeps a state", place, measured)
    return CheckResult(name, message="a second call gives what a first one does", measured=measured)


def _after(model: Checkable, calls: Sequence[Tensor], x: Tensor, training: bool) -> Tensor:
    """Return the outputs of a pass that follows other ones; its random draws do not depend on them."""
    with unchanged(model, training=training), torch.no_grad():
        for inputs in calls:
            run(model, inputs)
        torch.manual_seed(0)
        python_random.seed(0)
        return run(model, x).outputs


def _doubled(subject: CheckedModel) -> tuple[Checkable, Tensor]:
    """Return the model in float64 with inputs; in its own dtype where it does not run in float64."""
    try:
        model = subject.build(dtype=torch.float64)
        x = subject.inputs(model)
        if x.dtype == run_from(model, x).outputs.dtype == torch.float64:
            return model, x
    except Exception:  # the check of types says it
        pass
    model = subject.build()
    return model, subject.inputs(model)


def _leaks(model: Checkable, x: Tensor, axis: Axis, positions: Sequence[int]) -> tuple[list[_Leak], list[str]]:
    """Return the leaks, at most one a mode and the worst first, and what could not be seen."""
    leaks, notes = [], []
    repeatable = repeats(model, x)
    for training, mode in _MODES.items():
        seen, finite = by_derivative(model, x, axis, positions, training=training)
        changed = by_change(model, x, axis, positions, training=training) if repeatable else None
        both = [one for one in (seen, changed) if one is not None]
        tolerance = ROUNDING[x.dtype]
        worst = next((one for one in both if one.relative > tolerance), both[0] if both else None)
        if worst is not None:
            leaks.append(_Leak(mode, worst, worst.relative <= tolerance))
        elif not finite:
            notes.append(f"in {mode} derivatives are not finite, which says nothing")
    if not repeatable:
        notes.append("by derivatives only: two passes from one state differ already")
    return sorted(leaks, key=lambda leak: leak.rounding), notes


def _differs_alone(model: Checkable, x: Tensor) -> float | None:
    """Return how far an example alone is from itself in a batch, in evaluation; None for rounding and random draws."""
    x = x[:, :_ALONE_STEPS] if x.dim() > 2 else x
    whole = run_from(model, x, training=False).outputs
    if not torch.equal(whole, run_from(model, x, 1, training=False).outputs):
        return None  # it draws random numbers, which depend on the shape
    alone = run_from(model, x[-1:], training=False).outputs
    if close(alone, whole[-1:], ROUNDING[x.dtype]):
        return None
    return float((alone - whole[-1:]).abs().max() / whole.abs().max())


def _verdict(leaks: list[_Leak]) -> Verdict:
    return "warning" if all(leak.rounding for leak in leaks) else "broken"


def _modes(leaks: list[_Leak]) -> str:
    """Return the modes of the leaks that are of the kind of the first one."""
    return "in " + " and ".join(leak.mode for leak in leaks if leak.rounding == leaks[0].rounding)


def _said_of_time(leak: _Leak) -> str:
    """Return what was seen of a dependence on later inputs."""
    one = leak.dependence
    t, s = one.output + 1, "all later ones" if one.input is None else f"x_{one.input + 1}"
    if one.derivative:
        return f"d y_{t} / d {s} is {one.derivative:.1e}{_size(leak)}"
    return f"y_{t} changes with {s} by {one.relative:.1e} of the largest output{_WITHOUT}{_size(leak)}"


def _said_of_batch(leak: _Leak) -> str:
    """Return what was seen of a dependence on other examples."""
    one = leak.dependence
    of = "all others" if one.input is None else f"example {one.input + 1}"
    if one.derivative:
        return f"the derivative of example {one.output + 1}'s by {of}'s inputs is {one.derivative:.1e}{_size(leak)}"
    change = f"that of example {one.output + 1} changes with {of} by {one.relative:.1e} of the largest"
    return f"{change}{_WITHOUT}{_size(leak)}"


def _size(leak: _Leak) -> str:
    return ", the size of rounding" if leak.rounding else ""


def _kind(x: Tensor) -> str:
    return str(x.dtype).removeprefix("torch.")


def _measured(key: str, leaks: list[_Leak], x: Tensor) -> dict[str, Any]:
    return {key: not leaks, "dtype": _kind(x), "leaks": [leak.document() for leak in leaks]}
