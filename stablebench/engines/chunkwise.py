"""The chunkwise engine: matrix memories in chunks of time steps, by matrix products (`models.blocks.chunkwise`).

The states are made where chunks begin, and at no other step: the engine returns what the layer gives out of them.
"""

from typing import Any, Literal

from jaxtyping import Float
from torch import Tensor

from stablebench.models.base import LayerOutputs, RecurrentModel, State
from stablebench.models.blocks.chunkwise import ChunkwiseMemory

_STEPWISE = ("input_projection", "recurrent_weights", "step", "terms", "read", "layer_output")
"""What `in_chunks` computes as well, without calling it."""


def run(
    model: RecurrentModel,
    x: Float[Tensor, "batch time in"],
    state: State | None = None,
    outputs: Literal["every", "last"] = "every",
    recurrent_weights: Any = None,
) -> tuple[Tensor | LayerOutputs, State]:
    """Run the chain; see `recurrent_model.run_steps`.

    Args:
        model: A `ChunkwiseMemory`.
        x: Inputs (batch, time, in), time >= 1.
        state: The state before the first step, (batch, size); by default the model's own.
        outputs: `every` step's output, or only the `last` one's.
        recurrent_weights: Taken by no chunk: in a matrix memory they are not trained.

    Returns:
        For `every` the layer's outputs, for `last` the last state; and the state after the last step.

    Raises:
        TypeError: The model is no `ChunkwiseMemory`, or one with steps of its own.
    """
    reason = unsupported_reason(model)
    if reason is not None or not isinstance(model, ChunkwiseMemory):
        raise TypeError(f"{type(model).__name__}: {reason}")
    read, after = model.in_chunks(x, model.initial_state(len(x)) if state is None else state, outputs)
    if read is None:
        return after[model.output_state], after
    return LayerOutputs(model.finish(read, x)), after


def unsupported_reason(model: RecurrentModel) -> str | None:
    """Return why a model cannot be run in chunks, or None if it can."""
    if not isinstance(model, ChunkwiseMemory):
        return "it is no matrix memory with a form in chunks (stablebench.models.blocks.chunkwise.ChunkwiseMemory)"
    classes = type(model).__mro__
    owner = next(i for i, cls in enumerate(classes) if "in_chunks" in vars(cls))
    own = [name for part in (model, *classes[:owner]) for name in _STEPWISE if name in vars(part)]
    return f"it has a `{own[0]}` of its own, which its `in_chunks` would not run" if own else None
