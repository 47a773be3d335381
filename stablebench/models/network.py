"""The whole network: encoded inputs, stacked recurrent layers, a linear readout."""

import abc
from collections.abc import Sequence
from typing import Any, Literal, Protocol

import torch
from torch import Tensor, nn

from stablebench.models import recurrent_model
from stablebench.models.base import (
    ChainModel,
    LayerOutputs,
    ParameterGroup,
    RecurrentModel,
    State,
    layer_outputs,
    real_like,
    with_main_group,
)
from stablebench.models.blocks.block import Block
from stablebench.models.blocks.residual import enter, leave
from stablebench.models.encoding import encoded
from stablebench.models.recompute import recomputed


class EngineRun(Protocol):
    """An engine's `run`; see `stablebench.models.base.run_steps`."""

    def __call__(
        self,
        model: RecurrentModel,
        x: Tensor,
        state: State | None = None,
        outputs: Literal["every", "last"] = "every",
        recurrent_weights: Any = None,
    ) -> tuple[Tensor | LayerOutputs, State]:
        """Run one layer's chain."""
        ...


class AnyNetwork(nn.Module, abc.ABC):
    """What training and probes need of a network: models under a readout.

    A subclass has the readout as `head`, and says with `readout` which steps it reads.
    """

    readout: Literal["last", "every"]
    head: nn.Module
    engine: Any

    @property
    @abc.abstractmethod
    def models(self) -> Sequence[ChainModel]:
        """The models in it, from bottom to top."""

    @abc.abstractmethod
    def forward(self, inputs: Tensor, states: Any = None, lengths: Tensor | None = None) -> tuple[Tensor, Any]:
        """Return the readout, and the states after the last step."""

    @property
    def dtype(self) -> torch.dtype:
        """The type of its real parameters."""
        return real_like(self).dtype

    def penalty(self) -> Tensor | None:
        """Return the sum of the models' penalties, or None where none has one."""
        terms = [term for model in self.models if (term := model.penalty()) is not None]
        return torch.stack(terms).sum() if terms else None

    def parameter_groups(self) -> list[ParameterGroup]:
        """Return the models' groups merged by name, the readout in `main`."""
        merged: dict[str, ParameterGroup] = {}
        for model in self.models:
            for group in model.parameter_groups():
                if group.name == "main":
                    continue
                before = merged[group.name].parameters if group.name in merged else []
                merged[group.name] = ParameterGroup(group.name, before + group.parameters, group.rule)
        return with_main_group(self, *merged.values())

    def after_update(self) -> None:
        """Run every model's hook."""
        for model in self.models:
            model.after_update()


class Network(AnyNetwork):
    """Stacked recurrent layers and a readout.

    Args:
        layers: The recurrent layers; each but the first takes the outputs of the one before.
        outputs: Classes, or width of the target values.
        readout: Whether the last output is read or every one.
        input: `tokens` are fed one-hot or embedded, `values` as they are.
        embedding: The vectors of the tokens; None for one-hot.
        engine: Runs a layer's chain.
        recompute_every: Time steps of a segment, >= 1. Only the states at the start of each segment are stored, the
            rest is computed again for the gradient (gradient checkpointing). None stores everything.
        blocks: A residual block around each layer (`blocks.residual`); None for plain layers.
    """

    def __init__(
        self,
        layers: list[RecurrentModel],
        outputs: int,
        *,
        readout: Literal["last", "every"],
        input: Literal["tokens", "values"],
        embedding: nn.Embedding | None = None,
        engine: EngineRun = recurrent_model.run_steps,
        recompute_every: int | None = None,
        blocks: list[Block] | None = None,
    ) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)
        self.blocks = nn.ModuleList(blocks or [])
        self.readout = readout
        self.input: Literal["tokens", "values"] = input
        self.embedding = embedding
        self.engine: EngineRun = engine
        self.recompute_every = recompute_every
        self.stores_all = False
        """Whether segments are run one by one and nothing is computed again, to compare with."""
        self.head: nn.Linear = nn.Linear(blocks[-1].width if blocks else layers[-1].out_features, outputs)
        layers[-1].initialise_readout(self.head)

    @property
    def recurrent_layers(self) -> list[RecurrentModel]:
        """The layers with their type."""
        return [layer for layer in self.layers if isinstance(layer, RecurrentModel)]

    @property
    def layer_blocks(self) -> Sequence[Block | None]:
        """The block around each layer, or None."""
        blocks = [block for block in self.blocks if isinstance(block, Block)]
        return blocks or [None] * len(self.layers)

    @property
    def models(self) -> list[RecurrentModel]:
        """The layers, from bottom to top."""
        return self.recurrent_layers

    def encode(self, inputs: Tensor) -> Tensor:
        """Return the inputs as values (batch, time, in): tokens one-hot or embedded, in the parameters' dtype."""
        first = (self.layer_blocks[0] or self.recurrent_layers[0]).in_features
        return encoded(inputs, input=self.input, embedding=self.embedding, width=first, dtype=self.dtype)

    def forward(
        self, inputs: Tensor, states: list[State] | None = None, lengths: Tensor | None = None
    ) -> tuple[Tensor, list[State]]:
        """Run the network.

        Args:
            inputs: Tokens (batch, time) or values (batch, time, in).
            states: One state per layer, before the first step; by default each layer's own.
            lengths: Real steps of each sequence, (batch,), 1 ... time: the last of them is read, not the padding that
                follows it. By default all are real.

        Returns:
            The readout, (batch, outputs) or (batch, time, outputs), and the states after the last step; where the
            sequences have ends of their own, after the last end on the CPU.
        """
        if states is None:
            states = [layer.initial_state(len(inputs)) for layer in self.recurrent_layers]
        own_ends = self.readout == "last" and lengths is not None
        if own_ends and lengths is not None and lengths.device.type == "cpu":  # elsewhere it would wait for the device
            inputs = inputs[:, : int(lengths.max())]
        if self.recompute_every is None:
            outputs, states = self._forward_segment(inputs, states, [None] * len(states), own_ends)
        else:
            outputs, states = self._forward_in_segments(inputs, states, self.recompute_every, own_ends)
        if self.readout == "last" and lengths is not None:
            outputs = outputs[torch.arange(len(outputs), device=outputs.device), lengths - 1]
        return (outputs if self.readout == "every" else self.head(outputs)), states

    def _forward_segment(
        self, inputs: Tensor, states: list[State], recurrent_weights: list[Any], own_ends: bool
    ) -> tuple[Tensor, list[State]]:
        """Run a segment of time.

        Returns:
            The readout of every step; of a network that reads the last one its last output, or where sequences have
            ends of their own the output of every step. And the states after the segment.
        """
        x = self.encode(inputs)
        layers = self.recurrent_layers
        after: list[State] = []
        chains = zip(layers, self.layer_blocks, states, recurrent_weights, strict=True)
        for i, (layer, block, state, weights) in enumerate(chains):
            u, v = enter(block, x)
            outputs = "every" if self.readout == "every" or own_ends or i + 1 < len(layers) else "last"
            output, state = self.engine(layer, v, state, outputs, weights)
            # dropout draws in the order of memory, which engines differ in
            if isinstance(output, Tensor) and any(map(_may_draw, layers[i : i + 2])):
                output = output.contiguous()
            u, v = (u, v) if outputs == "every" else (u[:, -1], v[:, -1])
            x = leave(block, layer_outputs(layer, output, v), u)
            after.append(state)
        return (self.head(x) if self.readout == "every" else x), after

    def _forward_in_segments(
        self, inputs: Tensor, states: list[State], steps: int, own_ends: bool
    ) -> tuple[Tensor, list[State]]:
        """Run segment after segment: also `input_projection`, `layer_output` and the readout.

        If one of these looks from one time step at another, the result is another function
        (`stablebench.models.recompute_check`).
        """
        recurrent_weights = [layer.recurrent_weights() for layer in self.recurrent_layers]  # once for all
        outputs: list[Tensor] = []
        for part in inputs.split(steps, dim=1):
            arguments = (part, states, recurrent_weights, own_ends)
            if self.stores_all:
                output, states = self._forward_segment(*arguments)
            else:
                output, states = recomputed(self, self._forward_segment, *arguments)
            outputs.append(output)
        return (torch.cat(outputs, dim=1) if self.readout == "every" or own_ends else outputs[-1]), states


def _may_draw(layer: RecurrentModel) -> bool:
    """Return whether a layer may draw random numbers between the chains, as a user's may and no registered one does."""
    return type(layer).__module__.partition(".")[0] != "stablebench"
