"""What a model costs where it is used: the latency of one step, the bytes of its state, and whether it is exported."""

import contextlib
import io
import logging
import statistics
import time
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from stablebench.contract.checked_model import Checkable, CheckedModel, close, unchanged
from stablebench.contract.layer_model import LayerModel
from stablebench.contract.result import CheckResult
from stablebench.errors import first_line
from stablebench.models.attention_model import AttentionModel
from stablebench.models.base import DeepModel, RecurrentModel
from stablebench.models.deep_model import run_layers
from stablebench.models.recurrent_model import split_by_step
from stablebench.process.settings import hardware

_WARM_UP, _MIN_REPEATS, _MAX_REPEATS = 20, 50, 2000
_MAX_S = 0.5
"""Seconds of measuring after which fewer repeats are enough."""


class OneStep(nn.Module):
    """A model's next call in use: one time step with its state, or a pass of a model without a state.

    The recurrent weights are built once, from the parameters as they are.

    Args:
        model: The model.
    """

    def __init__(self, model: Checkable) -> None:
        super().__init__()
        self.model = model
        self._weights = model.recurrent_weights() if isinstance(model, RecurrentModel) else None

    def forward(self, x: Tensor, state: Any) -> tuple[Tensor, Any]:
        """Return the output and the next state.

        Args:
            x: (batch, 1, in); of attention (batch, time, in), of a deep model (batch, in).
            state: What `start` or this returned.
        """
        model = self.model
        if isinstance(model, RecurrentModel):
            projected = split_by_step(model.input_projection(x))[0]
            state = model.step(projected, state, self._weights)
            return model.layer_output(state[model.output_state].unsqueeze(1), x), state
        if isinstance(model, LayerModel):
            return model(x, state)
        if isinstance(model, AttentionModel):
            return model(x), None
        assert isinstance(model, DeepModel)
        states = model.embed_input(x)
        for group in model.layer_groups():
            _, states = run_layers(model, group, states)
        return states[model.output_state], None

    def start(self, x: Tensor) -> tuple[Tensor, Any]:
        """Return what it is called with: the inputs of one call, of a batch of inputs, and a state."""
        if isinstance(self.model, RecurrentModel):
            return x[:, :1], self.model.initial_state(len(x))
        if isinstance(self.model, LayerModel):
            return x[:, :1], self.model(x[:, :1])[1]
        return x, None


def what_is_called(subject: CheckedModel) -> str:
    """Return what one call is, in words."""
    if subject.deep:
        return "a pass"
    return f"a pass over {subject.steps} steps" if subject.entry.family == "attention" else "a step"


@torch.no_grad()
def step_latency(subject: CheckedModel) -> CheckResult:
    """Measure the time of one step of one example, in evaluation, on one thread, in microseconds."""
    model = subject.build()
    with unchanged(model, training=False):
        one = OneStep(model)
        x, state = one.start(subject.inputs(model)[:1])
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            times = _times(lambda: one(x, state))
        finally:
            torch.set_num_threads(threads)
    median = statistics.median(times)
    device = hardware("cpu")
    kind = str(x.dtype).removeprefix("torch.")
    message = (
        f"{median:.3g} us {what_is_called(subject)}, median of {len(times)}, as measured here: batch 1, width "
        f"{subject.hidden}, {kind}, one thread of {device}"
    )
    measured = {
        "latency_us": median,
        "of": what_is_called(subject),
        "repeats": len(times),
        "batch": 1,
        "hidden": subject.hidden,
        "dtype": kind,
        "threads": 1,
        "device": device,
    }
    return CheckResult("step latency", message=message, measured=measured)


def _times(call: Callable[[], Any]) -> list[float]:
    """Return the time of each of many calls, in microseconds."""
    for _ in range(_WARM_UP):
        call()
    times: list[float] = []
    end = time.perf_counter() + _MAX_S
    while len(times) < _MIN_REPEATS or (len(times) < _MAX_REPEATS and time.perf_counter() < end):
        start = time.perf_counter_ns()
        call()
        times.append((time.perf_counter_ns() - start) / 1000)
    return times


@torch.no_grad()
def state_bytes(subject: CheckedModel) -> CheckResult:
    """Count the bytes of an example's state between two steps."""
    name = "state bytes"
    if subject.deep:
        return CheckResult(name, "not applicable", "a deep model has no state between calls")
    model = subject.build()
    with unchanged(model, training=False):
        if isinstance(model, LayerModel):
            state = model.state()
        else:
            state = list(model.initial_state(1))[: _carried(model)] if isinstance(model, RecurrentModel) else []
    count = sum(part.numel() * part.element_size() for part in state)
    parts = [{"size": part.numel(), "dtype": str(part.dtype).removeprefix("torch.")} for part in state]
    measured = {"bytes": count, "parts": parts, "hidden": subject.hidden}
    if subject.entry.family == "attention":
        message = "0: it has no state, and is given all inputs so far in every call"
    elif not state:
        message = "0: it returns no state"
    else:
        listed = " + ".join(f"{part['size']} of {part['dtype']}" for part in parts)
        message = f"{count} an example: {listed}"
    return CheckResult(name, message=message, measured=measured)


def _carried(model: RecurrentModel) -> int | None:
    """Return how many of the states are needed between steps: of a user's cell, an output that is none is not."""
    return getattr(getattr(model, "cell", model), "own_states", None)


def exportable(subject: CheckedModel) -> CheckResult:
    """Export one step with `torch.export`, run it, and compare."""
    name = "torch.export"
    model = subject.build()
    what = what_is_called(subject)
    with unchanged(model, training=False), torch.no_grad(), _quiet():
        one = OneStep(model)
        x, state = one.start(subject.inputs(model))
        try:
            program = torch.export.export(one, (x, state)).module()
            other = x.flip(0)
            exact = close(program(other, state)[0], one(other, state)[0], 1e-5)
        except Exception as error:  # whatever torch raises of code that it cannot trace
            reason = f"{type(error).__name__}: {first_line(error)}"
            return CheckResult(
                name, "warning", f"no: {reason}", subject.place(subject.equation), {"export": False, "reason": reason}
            )
    if not exact:
        reason = "the exported program gives other numbers"
        return CheckResult(
            name, "warning", f"no: {reason}", subject.place(subject.equation), {"export": False, "reason": reason}
        )
    return CheckResult(name, message=f"yes: {what}", measured={"export": True, "of": what})


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Context in which torch's compiler prints, warns and logs nothing."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with (
            warnings.catch_warnings(),
            contextlib.redirect_stderr(io.StringIO()),
            contextlib.redirect_stdout(io.StringIO()),
        ):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
