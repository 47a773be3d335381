"""Recurrent models: the base class, and the loop over `step` under autograd that defines what a model computes.

A recurrence is written in three pieces, so that everything that can be done once is done once:

    input_projection(x)   once per sequence      the part that depends only on the input, U x_t + b for all t
    recurrent_weights()   once per forward pass  the recurrent matrices, built from their parametrisation
    step(...)             once per time step     the paper's equation
"""

import abc
from dataclasses import dataclass
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from stablebench.models.chain_model import ChainModel, State, real_like


@dataclass(frozen=True)
class DilatedCell:
    """A recurrence with dilation, h_t = f(x_t, h_{t-d}), described by the cell that it repeats.

    The states of the model are, for each state of the cell, the newest one and, where d > 1, the d - 1 before it side
    by side, the oldest first. Its recurrent weights are the cell's.

    Args:
        cell: f, a part of the model.
        dilation: d.
    """

    cell: "RecurrentModel"
    dilation: int


@dataclass(frozen=True)
class LayerOutputs:
    """What a layer gives out at every step, from an engine that makes no states to compute it of.

    Args:
        values: What `layer_output` would return of the states, (batch, time, out_features).
    """

    values: Tensor


class RecurrentModel(ChainModel):
    """A chain of states h_0 ... h_T over time: maps (batch, time, in) to (batch, time, out).

    Subclasses write `step`, and `input_projection` and `recurrent_weights` where something can be done once. A
    constructor takes `in_features` and `hidden`, then keyword arguments of its own; one named `horizon` receives the
    number of steps of the chain that the model is trained on, and stays as it is when evaluated at another length;
    one named `layer` receives the position in the stack, from 0.

    Initialisation may draw from torch's global generator, which the builder seeds for every layer. Frozen random parts
    draw from `frozen_generator`, so that an ablation leaves all else as it is.

    Args:
        in_features: Width of x_t.
        hidden: Width of the hidden state.
    """

    @property
    def state_sizes(self) -> tuple[int, ...]:
        """The widths of the states."""
        return (self.hidden,)

    @property
    def out_features(self) -> int:
        """The width of the layer's output: that of the output state, unless `layer_output` changes it."""
        return self.state_sizes[self.output_state]

    def input_projection(
        self, x: Float[Tensor, "batch time in"]
    ) -> Float[Tensor, "batch time _"] | tuple[Float[Tensor, "batch time _"], ...]:
        """Return the part that depends only on the input (the drive), by default x itself.

        Args:
            x: Inputs (batch, time, in).

        Returns:
            (batch, time, any), one tensor or a tuple of several.
        """
        return x

    def recurrent_weights(self) -> Any:
        """Return what `step` needs of the parameters, built once per forward pass: a tensor, a tuple, or None.

        Matrices are transposed where states are multiplied from the left, as rows (batch, size).
        """
        return None

    def recurrent_matrix(self) -> Tensor | None:
        """Return the matrix that takes h_{t-1} to h_t at inputs of 0 where the activation has slope 1, or None.

        Real or complex, (n, n), for states in columns. The gradient probe draws its eigenvalues.
        """
        return None

    @abc.abstractmethod
    def step(self, projected: Any, state: State, recurrent_weights: Any) -> State:
        """Return the next state.

        Args:
            projected: `input_projection(x)` at one time step, (batch, any); a tuple where that returned one.
            state: The states before the step, each (batch, size).
            recurrent_weights: What `recurrent_weights()` returned.
        """

    def layer_output(
        self, output: Float[Tensor, "*steps state"], x: Float[Tensor, "*steps in"]
    ) -> Float[Tensor, "*steps out"]:
        """Return the output of the layer, for each time step from that step only: by default the output state as it is.

        Operations that do not act back on the chain belong here, not into `step`: they run once for all time steps.

        Args:
            output: The output state, (..., size).
            x: The layer's input of the same time steps, (..., in).

        Returns:
            (..., out_features).
        """
        return output

    def dilated_cell(self) -> DilatedCell | None:
        """Return the cell that a dilated model repeats, so that an engine may fold time into the batch, or None."""
        return None

    def initial_state(self, batch: int) -> State:
        """Return the state before the first step: zeros, in the real parameters' dtype and on their device."""
        like = real_like(self)
        return tuple(like.new_zeros(batch, size) for size in self.state_sizes)

    def initialise_readout(self, readout: nn.Linear) -> None:
        """Initialise the linear readout where the model's paper says how; torch's default is in place."""

    def forward(
        self, x: Float[Tensor, "batch time in"], state: State | None = None
    ) -> tuple[Float[Tensor, "batch time out"], State]:
        """Run the chain with the reference engine.

        Args:
            x: Inputs (batch, time, in).
            state: The states before the first step; by default `initial_state`.

        Returns:
            The outputs (batch, time, out) and the states after the last step.
        """
        outputs, state = run_steps(self, x, state)
        return self.layer_output(outputs, x), state


def run_steps(
    model: RecurrentModel,
    x: Float[Tensor, "batch time in"],
    state: State | None = None,
    outputs: Literal["every", "last"] = "every",
    recurrent_weights: Any = None,
) -> tuple[Float[Tensor, "batch ..."], State]:
    """Run the chain.

    Args:
        model: The recurrence.
        x: Inputs (batch, time, in), time >= 1.
        state: The states before the first step, each (batch, size); by default the model's own.
        outputs: `every` step's output, or only the `last` one's.
        recurrent_weights: What `model.recurrent_weights()` returned; by default it is called.

    Returns:
        The outputs, (batch, time, out) for `every` and (batch, out) for `last`, and the states after the last step.
    """
    state = model.initial_state(len(x)) if state is None else state
    recurrent_weights = model.recurrent_weights() if recurrent_weights is None else recurrent_weights
    collected = []
    for projected in split_by_step(model.input_projection(x)):
        state = model.step(projected, state, recurrent_weights)
        if outputs == "every":
            collected.append(state[model.output_state])
    return (torch.stack(collected, dim=1) if outputs == "every" else state[model.output_state]), state


def layer_outputs(model: RecurrentModel, output: Tensor | LayerOutputs, x: Float[Tensor, "*steps in"]) -> Tensor:
    """Return the outputs of a layer, (..., out_features), of what an engine returned.

    Args:
        model: The layer.
        output: The output state, (..., size), or the layer's outputs already.
        x: The layer's input of the same time steps, (..., in).
    """
    return output.values if isinstance(output, LayerOutputs) else model.layer_output(output, x)


def split_by_step(projected: Tensor | tuple[Tensor, ...]) -> list[Tensor] | list[tuple[Tensor, ...]]:
    """Return the input projection of each time step, (batch, any), from (batch, time, any).

    `unbind`, because indexing a tensor that needs a gradient once a step makes the backward pass quadratic in time.
    """
    if isinstance(projected, Tensor):
        return list(projected.unbind(1))
    return list(zip(*(d.unbind(1) for d in projected), strict=True))
