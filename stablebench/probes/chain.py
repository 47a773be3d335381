"""A network on given inputs as a chain of states s_0 ... s_T, one state vector per time step, or per layer.

Of a recurrent network s_t holds all states of all layers after step t. One step takes s_{t-1} and x_t to s_t through
all layers, so the chain is Markov: the derivative in s_t has no path past s_t, and a path from one layer to the next
within a step belongs to that step.

Of a deep network s_t holds the states behind layer t, and s_0 is the input. Layers narrower than the widest leave the
rest of the vector at 0, and so does the derivative.
"""

import copy
from collections.abc import Sequence
from functools import cached_property
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch.utils._pytree import tree_flatten, tree_map

from stablebench.errors import UserError
from stablebench.models.base import DeepModel, RecurrentModel, State, split_by_step
from stablebench.models.blocks.block import Block
from stablebench.models.blocks.residual import enter, leave
from stablebench.models.deep_network import DeepNetwork
from stablebench.models.network import AnyNetwork, Network
from stablebench.probes.state_chain import StateChain, Traced

N = TypeVar("N", bound=AnyNetwork)
_ENTRIES_AT_ONCE = 1 << 20
"""Entries of states, as many steps as they make, whose derivatives in the inputs are taken together."""
_ENTRIES_IN_CACHE = 1 << 17
"""As many where a graph of them is kept: larger ones leave the processor's cache."""
_COMPARED, _SAME = 4, 1e-9
"""Steps that are compared with rows of one batch, and the relative difference of rounding."""


def frozen(network: N) -> N:
    """Return a copy in float64 on the CPU whose parameters take no gradient."""
    return copy.deepcopy(network).cpu().double().eval().requires_grad_(False)


def own_states(layer: RecurrentModel) -> int:
    """Return how many of a layer's states, the first ones, are its own: all but an output that is carried along."""
    return getattr(getattr(layer, "cell", layer), "own_states", len(layer.state_sizes))


class Chain(StateChain):
    """The chain of a recurrent network on a batch.

    Args:
        network: As `frozen` returns it. The layers after the first must compute `input_projection` step by step, as all
            do that write it as a function of x_t.
        inputs: Tokens (batch, time) or values (batch, time, in).
    """

    def __init__(self, network: Network, inputs: Tensor) -> None:
        self.layers, self.blocks = network.recurrent_layers, network.layer_blocks
        self.batch = len(inputs)
        x = network.encode(inputs)
        self._inputs = self.inputs = x.transpose(0, 1)
        self._drives = split_by_step(self.layers[0].input_projection(enter(self.blocks[0], x)[1]))
        self._transitions = [layer.recurrent_weights() for layer in self.layers]
        self._widths = [size for layer in self.layers for size in layer.state_sizes]
        self.steps = len(self._drives)
        self.size = sum(self._widths)
        kept = [k < own_states(layer) for layer in self.layers for k in range(len(layer.state_sizes))]
        if not all(kept):
            self.own_units = torch.tensor(kept).repeat_interleave(torch.tensor(self._widths)).nonzero()[:, 0]

    def initial(self) -> Tensor:
        """Return s_0, (batch, size)."""
        return torch.cat([part for layer in self.layers for part in layer.initial_state(self.batch)], dim=1)

    def step(self, t: int, state: Tensor) -> Tensor:
        """Return s_t, of all layers."""
        copies = len(state) // self.batch
        x, projected = _repeated(self._inputs[t - 1], copies), _repeated(self._drives[t - 1], copies)
        return self._through(self.layers, self.blocks, self._transitions, state, x, projected)

    def many(self, states: Tensor, first: int = 1) -> Tensor:
        """Return states of steps that follow each other, from the ones before them: many steps as rows of one batch.

        Args:
            states: s_{t-1} of these steps, (steps, batch, size).
            first: The first of the steps, 1 ... T.

        Returns:
            s_t, (steps, batch, size).
        """
        x = self._inputs[first - 1 : first - 1 + len(states)]
        count = max(1, _ENTRIES_IN_CACHE // (self.batch * self.size))
        return torch.cat([self._many(*piece) for piece in zip(states.split(count), x.split(count), strict=True)])

    def _many(self, states: Tensor, inputs: Tensor) -> Tensor:
        """Return the states after steps from those before them, (steps, batch, size), and their x_t."""
        if not self._apart:
            parts = [
                self._through(self.layers, self.blocks, self._transitions, state, x, None)
                for state, x in zip(states.unbind(0), inputs.unbind(0), strict=True)
            ]
            return torch.stack(parts)
        rows = states.flatten(0, 1), inputs.flatten(0, 1)
        after = self._through(self.layers, self.blocks, self._transitions, *rows, None)
        return after.unflatten(0, states.shape[:2])

    @cached_property
    def _apart(self) -> bool:
        """Whether the rows of a batch may be of different steps: not where a step counts by its first row, say."""
        with torch.no_grad():
            states = [self.initial()]
            for t in range(1, min(_COMPARED, self.steps) + 1):
                states.append(self.step(t, states[-1]))
            before, x = torch.cat(states[:-1]), self._inputs[: len(states) - 1].flatten(0, 1)
            after = self._through(self.layers, self.blocks, self._transitions, before, x, None)
            whole = torch.cat(states[1:])
        return bool((after - whole).abs().amax() <= _SAME * whole.abs().amax())

    def input_vjp(self, states: Tensor, cotangents: Tensor) -> Tensor:
        """Return the products of cotangents with ds_t/dx_t, t = 1 ... E: many steps at once, as rows of one batch."""
        count = max(1, _ENTRIES_AT_ONCE // (self.batch * self.size))
        parts = states, self._inputs[: len(states)], cotangents
        pieces = zip(*(part.split(count) for part in parts), strict=True)
        return torch.cat([self._input_vjp(*piece) for piece in pieces])

    def _input_vjp(self, states: Tensor, inputs: Tensor, cotangents: Tensor) -> Tensor:
        with torch.enable_grad():
            x = inputs.detach().requires_grad_()
            after = self._many(states, x)
        if not after.requires_grad:
            return torch.zeros_like(inputs)
        return torch.autograd.grad(after, x, cotangents)[0]

    def trace(self, t: int, state: Tensor) -> Traced:
        """Return step t with its graph."""
        with torch.enable_grad():
            layers, blocks, transitions = self._tracked
            before, x = state.detach().requires_grad_(), self._inputs[t - 1].detach().requires_grad_()
            after = self._through(layers, blocks, transitions, before, x, None)
        own = [p for part in (*layers, *blocks) if part is not None for p in part.parameters()]
        used = [leaf for leaf in tree_flatten(transitions)[0] if isinstance(leaf, Tensor) and leaf.requires_grad]
        return Traced(after, before, x, [*used, *own])

    @cached_property
    def _tracked(self) -> tuple[list[RecurrentModel], list[Block | None], list[Any]]:
        """The layers and blocks with parameters that take a gradient, and transitions cut off from them."""
        layers, blocks = copy.deepcopy(self.layers), [copy.deepcopy(block) for block in self.blocks]
        for part in (*layers, *blocks):
            if part is not None:
                part.requires_grad_()
        return layers, blocks, [tree_map(_leaf, layer.recurrent_weights()) for layer in layers]

    def _through(
        self,
        layers: list[RecurrentModel],
        blocks: Sequence[Block | None],
        transitions: list[Any],
        state: Tensor,
        x: Tensor,
        projected: Any,
    ) -> Tensor:
        """Return s_t from s_{t-1}, x_t and, where it is there already, the drive of the first layer."""
        parts = list(state.split(self._widths, dim=1))
        after: list[Tensor] = []
        for layer, block, recurrent_weights in zip(layers, blocks, transitions, strict=True):
            u, v = enter(block, x)
            own, parts = parts[: len(layer.state_sizes)], parts[len(layer.state_sizes) :]
            if projected is None:
                projected = split_by_step(layer.input_projection(v[:, None]))[0]
            new = layer.step(projected, tuple(own), recurrent_weights)
            x, projected = leave(block, layer.layer_output(new[layer.output_state], v), u), None
            after += new
        return torch.cat(after, dim=1)

    def outputs(self, states: Tensor, first: int = 1, inputs: Tensor | None = None) -> Tensor:
        """Return what the top layer gives out at steps that follow each other, (steps, batch, out)."""
        parts = iter(states.split(self._widths, dim=2))
        x = self._inputs[first - 1 : first - 1 + len(states)] if inputs is None else inputs
        for layer, block in zip(self.layers, self.blocks, strict=True):
            own = [next(parts) for _ in layer.state_sizes]
            u, v = enter(block, x)
            x = leave(block, layer.layer_output(own[layer.output_state], v), u)
        return x


def scores_of(network: AnyNetwork, outputs: Tensor, lengths: Tensor | None) -> Tensor:
    """Return what a network's readout gives, (batch, time, outputs) or (batch, outputs).

    Args:
        network: The network.
        outputs: Those of its top layer at all steps, (steps, batch, out).
        lengths: The real steps of each sample, (batch); None for all.
    """
    if network.readout == "every":
        return network.head(outputs).transpose(0, 1)
    return network.head(outputs[-1] if lengths is None else outputs[lengths - 1, torch.arange(outputs.shape[1])])


class LayerChain(StateChain):
    """The chain of a deep network on a batch; s_0 is the input, also where the model has a first layer of its own.

    Args:
        network: As `frozen` returns it.
        inputs: Values (batch, in).
    """

    def __init__(self, network: DeepNetwork, inputs: Tensor) -> None:
        self.model = network.model
        self._inputs = inputs.to(network.dtype)
        self.batch = len(inputs)
        self._layers = _unstacked(self.model)
        self._first = int(type(self.model).embed_input is not DeepModel.embed_input)
        self.steps = len(self._layers) + self._first
        self._widths = [[self.model.in_features]]
        with torch.no_grad():
            state: State = (self._inputs[:1],)
            for t in range(1, self.steps + 1):
                state = self._behind(t, state)
                self._widths.append([part.shape[1] for part in state])
        self._inner = max(sum(widths) for widths in self._widths[1:])
        self.size = max(self._inner, self.model.in_features)

    @property
    def inner_size(self) -> int:
        """The width that holds s_1 ... s_T."""
        return self._inner

    def initial(self) -> Tensor:
        """Return the input, (batch, size)."""
        return self._padded((self._inputs,))

    def step(self, t: int, state: Tensor) -> Tensor:
        """Return s_t, behind layer t."""
        return self._padded(self._behind(t, self._parts(t - 1, state)))

    def trace(self, t: int, state: Tensor) -> Traced:
        """Return layer t with its graph."""
        with torch.enable_grad():
            model, layers = self._tracked
            before = state.detach().requires_grad_()
            parts = self._parts(t - 1, before)
            if t <= self._first:
                return Traced(self._padded(model.embed_input(parts[0])), before, None, list(model.parameters()))
            layer, shared = layers[t - 1 - self._first]
            layer, shared = tuple(map(_leaf, layer)), tree_map(_leaf, shared)
            after = self._padded(model.step(layer, parts, shared))
        used = [leaf for leaf in tree_flatten((layer, shared))[0] if isinstance(leaf, Tensor) and leaf.requires_grad]
        return Traced(after, before, None, [*used, *model.parameters()])

    @cached_property
    def _tracked(self) -> tuple[DeepModel, list[tuple[tuple[Tensor, ...], Any]]]:
        """The model with parameters that take a gradient, and its layers."""
        model = copy.deepcopy(self.model).requires_grad_()
        return model, _unstacked(model)

    def outputs(self, states: Tensor, first: int = 1, inputs: Tensor | None = None) -> Tensor:
        """Return what layers that follow each other give out, (steps, batch, out): all must be as wide as the last."""
        parts = [self._parts(t, state)[self.model.output_state] for t, state in enumerate(states, start=first)]
        return torch.stack(parts)

    def _behind(self, t: int, state: State) -> State:
        if t <= self._first:
            return self.model.embed_input(state[0])
        layer, shared = self._layers[t - 1 - self._first]
        return self.model.step(layer, state, shared)

    def _parts(self, t: int, state: Tensor) -> State:
        widths = self._widths[t]
        return state[..., : sum(widths)].split(widths, dim=-1)

    def _padded(self, state: State) -> Tensor:
        whole = torch.cat(state, dim=1)
        return torch.nn.functional.pad(whole, (0, self.size - whole.shape[1]))

    def vjp(self, t: int, state: Tensor, cotangents: Tensor) -> Tensor:
        """Return the products of cotangents with ds_t/ds_{t-1}; those of `inner_size` give such, for t > 1."""
        width = cotangents.shape[-1]
        whole = torch.nn.functional.pad(cotangents, (0, self.size - width))
        return super().vjp(t, state, whole)[..., :width]


def chain_of(network: AnyNetwork, inputs: Tensor) -> StateChain:
    """Return the chain of a network on a batch.

    Args:
        network: As `frozen` returns it.
        inputs: What it takes.

    Raises:
        UserError: The network has no states.
    """
    if isinstance(network, DeepNetwork):
        return LayerChain(network, inputs)
    if not isinstance(network, Network):
        raise UserError(
            f"{type(network.models[0]).__name__.lower()} has no recurrent state, so it is no chain of states."
        )
    return Chain(network, inputs)


def _unstacked(model: DeepModel) -> list[tuple[tuple[Tensor, ...], Any]]:
    """Return each layer's own tensors and what it shares."""
    return [(layer, group.shared) for group in model.layer_groups() for layer in group]


def _leaf(value: Any) -> Any:
    """Return a tensor that came from trained parameters cut off from them; anything else as it is."""
    return value.detach().requires_grad_() if isinstance(value, Tensor) and value.requires_grad else value


def _repeated(projected: Any, copies: int) -> Any:
    if copies == 1:
        return projected
    if isinstance(projected, tuple):
        return tuple(_repeated(part, copies) for part in projected)
    return projected.repeat(copies, *[1] * (projected.dim() - 1))
