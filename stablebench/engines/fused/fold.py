"""Runs a dilated recurrence, h_t = f(x_t, h_{t-d}), as f on sequences of T / d steps: time is folded into the batch.

Steps that lie d apart form a chain of their own, a phase; the d phases do not see each other. All run side by side for
as many steps as the shortest has, then those that have one more, once.
"""

from collections.abc import Callable
from typing import Any, Literal

import torch
from torch import Tensor

from stablebench.models.base import DilatedCell, State

Run = Callable[[Any, Tensor, State, Literal["every", "last"], Any], tuple[Tensor, State]]
"""An engine's `run`, all arguments given."""


def run_folded(
    run: Run, dilated: DilatedCell, x: Tensor, state: State, outputs: Literal["every", "last"], recurrent_weights: Any
) -> tuple[Tensor, State]:
    """Return what `recurrent_model.run_steps` returns for the model that `dilated_cell` belongs to.

    Args:
        run: Runs the cell.
        dilated: The cell and the dilation d.
        x: Inputs (batch, time, in).
        state: The model's states.
        outputs: As in `recurrent_model.run_steps`.
        recurrent_weights: The cell's.
    """
    (batch, steps, _), d = x.shape, dilated.dilation
    whole, rest = divmod(steps, d)
    phases = _by_phase(state, d)
    parts = []
    if whole:
        folded_x = x[:, : whole * d].unflatten(1, (whole, d)).transpose(1, 2).flatten(0, 1)
        output, after = run(dilated.cell, folded_x, tuple(p.flatten(0, 1) for p in phases), outputs, recurrent_weights)
        phases = [part.unflatten(0, (batch, d)) for part in after]
        if outputs == "every":
            parts.append(output.unflatten(0, (batch, d)).transpose(1, 2).flatten(1, 2))
        else:
            parts.append(output.unflatten(0, (batch, d))[:, -1:])
    if rest:
        begun = tuple(p[:, :rest].flatten(0, 1) for p in phases)
        output, after = run(dilated.cell, x[:, whole * d :].flatten(0, 1)[:, None], begun, "last", recurrent_weights)
        newest = [part.unflatten(0, (batch, rest)) for part in after]
        phases = [torch.cat([p[:, rest:], new], dim=1) for p, new in zip(phases, newest, strict=True)]
        parts.append(output.unflatten(0, (batch, rest)))
    result = torch.cat(parts, dim=1) if len(parts) > 1 else parts[0]
    return (result if outputs == "every" else result[:, -1]), _as_queues(phases)


def _by_phase(state: State, d: int) -> list[Tensor]:
    """Return the cell's states, (batch, d, size) each, that of the next step first."""
    if d == 1:
        return [part[:, None] for part in state]
    pairs = zip(state[::2], state[1::2], strict=True)
    return [torch.cat([older.unflatten(1, (d - 1, -1)), newest[:, None]], dim=1) for newest, older in pairs]


def _as_queues(phases: list[Tensor]) -> State:
    """Return the model's states."""
    if phases[0].shape[1] == 1:
        return tuple(part[:, 0] for part in phases)
    return tuple(queue for part in phases for queue in (part[:, -1], part[:, :-1].flatten(1)))
