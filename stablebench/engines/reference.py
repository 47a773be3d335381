"""The reference engine: a loop over `step` under autograd. It is the definition of every model."""

from typing import Any, Literal

import torch
from torch import Tensor

from stablebench.models.base import DeepModel, RecurrentModel, State, Stretch


def run(
    model: RecurrentModel,
    x: Tensor,
    state: State | None = None,
    outputs: Literal["every", "last"] = "every",
    transition: Any = None,
) -> tuple[Tensor, State]:
    """Run the chain.

    Args:
        model: The recurrence.
        x: Inputs (batch, time, in), time >= 1.
        state: The states before the first step, each (batch, size); by default the model's own.
        outputs: `every` step's output, or the `last` one's alone.
        transition: What `model.transition()` returned; by default it is called.

    Returns:
        The outputs, (batch, time, out) for `every` and (batch, out) for `last`, and the states after the last step.
    """
    state = model.initial_state(len(x)) if state is None else state
    transition = model.transition() if transition is None else transition
    collected = []
    for drive in drives_by_step(model.drive(x)):
        state = model.step(drive, state, transition)
        if outputs == "every":
            collected.append(state[model.output_state])
    return (torch.stack(collected, dim=1) if outputs == "every" else state[model.output_state]), state


def run_layers(
    model: DeepModel, stretch: Stretch, state: State, outputs: Literal["every", "last"] = "last"
) -> tuple[Tensor, State]:
    """Run a stretch of layers.

    Args:
        model: The chain.
        stretch: One of its `stretches()`.
        state: What enters the first layer, each (batch, size).
        outputs: `every` layer's output, or the `last` one's alone.

    Returns:
        The outputs, (batch, layers, out) for `every` and (batch, out) for `last`, and the states behind the last layer.
    """
    collected = []
    for layer in zip(*(parameters.unbind(0) for parameters in stretch.layers), strict=True):
        state = model.step(layer, state, stretch.shared)
        if outputs == "every":
            collected.append(state[model.output_state])
    return (torch.stack(collected, dim=1) if outputs == "every" else state[model.output_state]), state


def drives_by_step(drive: Tensor | tuple[Tensor, ...]) -> list[Tensor] | list[tuple[Tensor, ...]]:
    """Return the drive of each time step from drives (batch, time, any).

    `unbind`, because indexing a tensor that needs a gradient once a step makes the backward pass quadratic in time.
    """
    if isinstance(drive, Tensor):
        return list(drive.unbind(1))
    return list(zip(*(d.unbind(1) for d in drive), strict=True))
