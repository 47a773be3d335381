"""A network on given inputs as a chain of states s_0 ... s_T, one state vector per time step, or per layer.

Of a recurrent network s_t holds all states of all layers after step t. One step takes s_{t-1} and x_t to s_t through
all layers, so the chain is Markov: the derivative in s_t has no path past s_t, and a path from one layer to the next
within a step belongs to that step.

Of a deep network s_t holds the states behind layer t, and s_0 is the input. Layers narrower than the widest leave the
rest of the vector at 0, and so does the derivative.
"""

import abc
import copy
from typing import Any, TypeVar

import torch
from torch import Tensor

from stablebench.engines.reference import drives_by_step
from stablebench.errors import StablebenchError
from stablebench.models.base import DeepModel, State
from stablebench.models.deep_network import DeepNetwork
from stablebench.models.network import AnyNetwork, Network

N = TypeVar("N", bound=AnyNetwork)


def frozen(network: N) -> N:
    """Return a copy in float64 on the CPU whose parameters take no gradient."""
    return copy.deepcopy(network).cpu().double().eval().requires_grad_(False)


class StateChain(abc.ABC):
    """A chain of states, whatever it runs over.

    Subclasses set `batch`, the number of samples; `steps`, which is T; and `size`, the width of a state.
    """

    batch: int
    steps: int
    size: int

    @property
    def inner_size(self) -> int:
        """The width that holds s_1 ... s_T; s_0 may be wider."""
        return self.size

    @abc.abstractmethod
    def initial(self) -> Tensor:
        """Return s_0, (batch, size)."""

    @abc.abstractmethod
    def step(self, t: int, state: Tensor) -> Tensor:
        """Return s_t.

        Args:
            t: 1 ... T.
            state: s_{t-1}, (copies * batch, size): any number of copies of the batch, one after the other.
        """

    @abc.abstractmethod
    def outputs(self, states: Tensor, first: int = 1) -> Tensor:
        """Return what the top layer gives out at steps that follow each other.

        Args:
            states: Their states, (steps, batch, size).
            first: The first of these steps, 1 ... T.

        Returns:
            (steps, batch, out).
        """

    @torch.no_grad()
    def states(self) -> Tensor:
        """Return s_0 ... s_T, (T + 1, batch, size).

        Raises:
            StablebenchError: A state is not finite.
        """
        found = [self.initial()]
        for t in range(1, self.steps + 1):
            found.append(self.step(t, found[-1]))
        states = torch.stack(found)
        finite = states.isfinite().flatten(1).all(1)
        if not finite.all():
            first = int(finite.int().argmin())
            raise StablebenchError(
                f"The state grows beyond float64 at step {first} of {self.steps}; there is no gradient."
            )
        return states

    def pull(self, t: int, state: Tensor, cotangents: Tensor) -> Tensor:
        """Return the products of cotangents with the Jacobian ds_t/ds_{t-1} of each sample.

        Args:
            t: 1 ... T.
            state: s_{t-1}, (batch, size).
            cotangents: Derivatives in s_t, (count, batch, size).

        Returns:
            Derivatives in s_{t-1}, (count, batch, size).
        """
        count = len(cotangents)
        with torch.enable_grad():
            before = state.repeat(count, 1).requires_grad_()
            after = self.step(t, before)
        if not after.requires_grad:
            return torch.zeros_like(cotangents)
        (pulled,) = torch.autograd.grad(after, before, cotangents.reshape(after.shape))
        return pulled.view(cotangents.shape)


class Chain(StateChain):
    """The chain of a recurrent network on a batch.

    Args:
        network: As `frozen` returns it. The layers after the first must compute `drive` step by step, as all do that
            write it as a function of x_t.
        inputs: Tokens (batch, time) or values (batch, time, in).
    """

    def __init__(self, network: Network, inputs: Tensor) -> None:
        self.layers = network.recurrent_layers
        self.batch = len(inputs)
        x = network.encode(inputs)
        self._inputs = x.transpose(0, 1)
        self._drives = drives_by_step(self.layers[0].drive(x))
        self._transitions = [layer.transition() for layer in self.layers]
        self._widths = [size for layer in self.layers for size in layer.state_sizes]
        self.steps = len(self._drives)
        self.size = sum(self._widths)

    def initial(self) -> Tensor:
        """Return s_0, (batch, size)."""
        return torch.cat([part for layer in self.layers for part in layer.initial_state(self.batch)], dim=1)

    def step(self, t: int, state: Tensor) -> Tensor:
        """Return s_t, of all layers."""
        copies = len(state) // self.batch
        parts = list(state.split(self._widths, dim=1))
        after: list[Tensor] = []
        x = _repeated(self._inputs[t - 1], copies)
        for i, (layer, transition) in enumerate(zip(self.layers, self._transitions, strict=True)):
            own, parts = parts[: len(layer.state_sizes)], parts[len(layer.state_sizes) :]
            drive = drives_by_step(layer.drive(x[:, None]))[0] if i else _repeated(self._drives[t - 1], copies)
            new = layer.step(drive, tuple(own), transition)
            x = layer.emit(new[layer.output_state], x)
            after += new
        return torch.cat(after, dim=1)

    def outputs(self, states: Tensor, first: int = 1) -> Tensor:
        """Return what the top layer gives out at steps that follow each other, (steps, batch, out)."""
        parts = iter(states.split(self._widths, dim=2))
        x = self._inputs[first - 1 : first - 1 + len(states)]
        for layer in self.layers:
            own = [next(parts) for _ in layer.state_sizes]
            x = layer.emit(own[layer.output_state], x)
        return x


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
        self._layers = [
            (layer, stretch.shared)
            for stretch in self.model.stretches()
            for layer in zip(*(parameters.unbind(0) for parameters in stretch.layers), strict=True)
        ]
        self._first = int(type(self.model).enter is not DeepModel.enter)
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

    def outputs(self, states: Tensor, first: int = 1) -> Tensor:
        """Return what layers that follow each other give out, (steps, batch, out): all must be as wide as the last."""
        parts = [self._parts(t, state)[self.model.output_state] for t, state in enumerate(states, start=first)]
        return torch.stack(parts)

    def _behind(self, t: int, state: State) -> State:
        if t <= self._first:
            return self.model.enter(state[0])
        layer, shared = self._layers[t - 1 - self._first]
        return self.model.step(layer, state, shared)

    def _parts(self, t: int, state: Tensor) -> State:
        widths = self._widths[t]
        return state[..., : sum(widths)].split(widths, dim=-1)

    def _padded(self, state: State) -> Tensor:
        whole = torch.cat(state, dim=1)
        return torch.nn.functional.pad(whole, (0, self.size - whole.shape[1]))

    def pull(self, t: int, state: Tensor, cotangents: Tensor) -> Tensor:
        """Return the products of cotangents with ds_t/ds_{t-1}; those of `inner_size` give such, for t > 1."""
        width = cotangents.shape[-1]
        whole = torch.nn.functional.pad(cotangents, (0, self.size - width))
        return super().pull(t, state, whole)[..., :width]


def chain_of(network: AnyNetwork, inputs: Tensor) -> StateChain:
    """Return the chain of a network on a batch.

    Args:
        network: As `frozen` returns it.
        inputs: What it takes.
    """
    if isinstance(network, DeepNetwork):
        return LayerChain(network, inputs)
    assert isinstance(network, Network)
    return Chain(network, inputs)


def _repeated(drive: Any, copies: int) -> Any:
    if copies == 1:
        return drive
    if isinstance(drive, tuple):
        return tuple(_repeated(part, copies) for part in drive)
    return drive.repeat(copies, *[1] * (drive.dim() - 1))
