"""Whether what a user gives is a chain of states: what a step gives depends on its input and the state alone.

A layer is compared with itself run step by step. A cell or layer is run twice: one that counts its calls gives another
result then, and each derivative of a step would be one of another step.
"""

from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from stablebench.errors import UserError
from stablebench.models.base import RecurrentModel, split_by_step
from stablebench.models.restore import restored

_STEPS = 256
"""Steps that are compared."""
_TWICE = 64
"""Steps that are run twice."""
_SAME = 1e-6
"""Relative difference of outputs that is taken for rounding."""
_JUMP = 1e4
"""A larger one is, too, if it is at most this many times that of the steps before: a chaotic layer lets it grow."""

_COUNTS = (
    "it counts its calls, or keeps something from one to the next. Each derivative of a step is taken by calling it "
    "again, and would be that of another step. Let it have what it counts in the state that it is given and returns."
)


def left_as_it_is(owner: Any) -> AbstractContextManager[Any]:
    """Return a context after which a module is as before, and the generators are; those alone where it is none."""
    return restored(owner if isinstance(owner, nn.Module) else nn.Module())


def problem_of_layer(one: Any, x: Tensor, start: Any, instead: str) -> UserError | None:
    """Return what is wrong with a layer whose steps depend on each other in another way than through its state.

    Args:
        one: How it is called, a `UserStep`.
        x: Inputs (batch, time, in).
        start: The state before the first step, None for none.
        instead: What can be probed in its place.
    """
    x, time = x[:, :_STEPS], 0 if one.how == "layer, time first" else 1

    def whole() -> list[Tensor]:
        outputs, state = one.call(x if time else x.transpose(0, 1), start)
        return [*outputs.unbind(time), *pytree.tree_leaves(state)]

    def by_steps() -> list[Tensor]:
        outputs, state = [], start
        for x_t in x.unbind(1):
            out, state = one(x_t, state)
            outputs.append(out)
        return [*outputs, *pytree.tree_leaves(state)]

    with left_as_it_is(one.owner):
        expected = whole()
    with left_as_it_is(one.owner):
        differing = _first_other(expected, by_steps())
    if differing is None:
        return None
    with left_as_it_is(one.owner):
        if _first_other(whole(), whole()) is not None:
            return UserError(
                "This layer gives something else when it is called again with the same input and state: it draws "
                f"random numbers, {_COUNTS}"
            )
    place = f"at step {differing + 1}" if differing < x.shape[1] else "in the last state"
    return UserError(
        f"This layer is no chain of states over time: run step by step it gives something else, first {place}, than "
        "for the whole sequence. What a step gives depends on other steps, or on its place, and not on its input and "
        f"the state alone.{instead}"
    )


def is_users(layer: nn.Module) -> bool:
    """Whether a model is not one of the project's, of which it is known that it can be run again."""
    return not type(layer).__module__.startswith("stablebench.")


def check_repeatable(layer: RecurrentModel, x: Tensor, kind: str) -> None:
    """Refuse a chain that gives other states when it is run again, in evaluation mode.

    Args:
        layer: The chain.
        x: Inputs (batch, time, in).
        kind: What it is called.

    Raises:
        UserError: It gives other states.
    """
    few = x[:2, :_TWICE]

    def states() -> list[Tensor]:
        state, weights = layer.initial_state(len(few)), layer.recurrent_weights()
        run = []
        for projected in split_by_step(layer.input_projection(few)):
            state = layer.step(projected, state, weights)
            run.append(torch.cat(state, dim=1))
        return run

    with left_as_it_is(layer):
        layer.eval()
        with left_as_it_is(None):  # both draw the same numbers
            first = states()
        if _first_other(first, states()) is not None:
            raise UserError(
                f"This {kind} gives something else when it is called again with the same input and state: {_COUNTS}"
            )


def gives_out_a_state(cell: Any, x: Tensor) -> bool:
    """Whether the output of a user's step is what its chain reads of the states.

    Args:
        cell: The chain, an `OwnCell`.
        x: Inputs (batch, time, in).
    """
    x_1 = x[:2, 0]
    with left_as_it_is(cell):
        out, after = cell.one(x_1, cell.own_state(cell.initial_state(len(x_1))))
        read = cell.begin(after, len(x_1))[cell.output_state]
        read = cell.layer_output(read, x_1)
    return out.shape == read.shape and torch.equal(out, read)


def _first_other(a: list[Tensor], b: list[Tensor]) -> int | None:
    """Return where two lists of tensors begin to differ by more than rounding, or None."""
    if len(a) != len(b):
        return min(len(a), len(b))
    before = 0.0
    for number, (one, other) in enumerate(zip(a, b, strict=True)):
        if one.shape != other.shape:
            return number
        difference = ((one - other).abs().amax() / one.abs().amax().clamp(min=1e-300)).item() if one.numel() else 0.0
        if not torch.isfinite(one).all():
            return None
        if difference > max(_SAME, _JUMP * before):
            return number
        before = max(before, difference)
    return None
