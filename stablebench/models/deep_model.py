"""Deep models: the base class, and the loop over `step` under autograd that defines what a model computes.

The chain is the layers; those of one shape have their parameters in one tensor (`LayerGroup`), and `step` is one
layer's equation.
"""

import abc
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from stablebench.models.chain_model import ChainModel, State


@dataclass(frozen=True)
class LayerGroup:
    """Layers of one shape that follow each other.

    Args:
        layers: What differs from layer to layer, (layers, ...) each.
        shared: What they share: a tensor, a tuple, or None.
    """

    layers: tuple[Tensor, ...]
    shared: Any = None

    def __len__(self) -> int:
        """Return the number of layers."""
        return len(self.layers[0])

    def __iter__(self) -> Iterator[tuple[Tensor, ...]]:
        """Yield `layers` at each layer."""
        return zip(*(parameters.unbind(0) for parameters in self.layers), strict=True)


class DeepModel(ChainModel):
    """A chain of states h_0 ... h_N over layers: maps (batch, in) to (batch, out).

    Subclasses write `step` and `layer_groups`, and `embed_input` where the first state is not the input itself. A
    constructor takes `in_features` and `hidden`, then keyword arguments of its own; one named `layers` receives the
    depth, in which the input and the output count: of `layers` the model has `layers - 2`, the rest are the data and
    the readout.

    Parameters of layers of one shape lie in one tensor, so that a chain of many thousand layers costs a few tensors.

    Initialisation draws as that of a `RecurrentModel`.

    Args:
        in_features: Width of the input.
        hidden: Width of the last state.
    """

    @property
    def out_features(self) -> int:
        """The width of what the model gives out."""
        return self.hidden

    def embed_input(self, x: Float[Tensor, "batch in"]) -> State:
        """Return the states before the first layer, each (batch, size), of inputs (batch, in); by default (x,)."""
        return (x,)

    @abc.abstractmethod
    def layer_groups(self) -> list[LayerGroup]:
        """Return the layers in their order. Only a group of one layer may change the width of a state."""

    @abc.abstractmethod
    def step(self, layer: tuple[Tensor, ...], state: State, shared: Any) -> State:
        """Return the states behind a layer.

        Args:
            layer: `LayerGroup.layers` at one layer.
            state: The states before it, each (batch, size).
            shared: `LayerGroup.shared`.
        """

    def readout(self, outputs: int) -> nn.Module:
        """Return what maps the last output (batch, out) to (batch, outputs): by default linear, as torch starts it.

        Args:
            outputs: Classes, or width of the target values.
        """
        return nn.Linear(self.out_features, outputs)

    def forward(self, x: Float[Tensor, "batch in"]) -> Float[Tensor, "batch out"]:
        """Run the chain with the reference engine.

        Args:
            x: Inputs (batch, in).

        Returns:
            The output behind the last layer, (batch, out).
        """
        state = self.embed_input(x)
        for group in self.layer_groups():
            _, state = run_layers(self, group, state)
        return state[self.output_state]


def run_layers(
    model: DeepModel, group: LayerGroup, state: State, outputs: Literal["every", "last"] = "last"
) -> tuple[Float[Tensor, "batch ..."], State]:
    """Run a group of layers.

    Args:
        model: The chain.
        group: One of its `layer_groups()`.
        state: What enters the first layer, each (batch, size).
        outputs: `every` layer's output, or only the `last` one's.

    Returns:
        The outputs, (batch, layers, out) for `every` and (batch, out) for `last`, and the states behind the last layer.
    """
    collected = []
    for layer in group:
        state = model.step(layer, state, group.shared)
        if outputs == "every":
            collected.append(state[model.output_state])
    return (torch.stack(collected, dim=1) if outputs == "every" else state[model.output_state]), state
