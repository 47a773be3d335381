"""What a model promises, and nothing about tasks. Its chain of states runs over time, or over layers.

A recurrence is written in three pieces, so that everything that can be done once is done once:

    drive(x)       once per sequence      the part that depends on the input alone, U x_t + b for all t
    transition()   once per forward pass  the recurrent matrices, built from their parametrisation
    step(...)      once per time step     the paper's equation

A deep model's chain is its layers; those of one shape have their parameters in one tensor (`Stretch`), and `step` is
one layer's equation. An engine (`stablebench.engines`) runs the chain; the loop over `step` is the definition of the
model.
"""

import abc
import itertools
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from stablebench.models.claims import Claim

State = tuple[Tensor, ...]
"""The states of one time step, or behind one layer, each (batch, size)."""


@dataclass(frozen=True)
class ParameterGroup:
    """Parameters that share a learning rate and an update rule.

    Args:
        name: What recipes call the group: `optim.groups.<name>`. Every model has `main`.
        parameters: The parameters.
        rule: `optimiser` for the optimiser of the run, `exponential` for the multiplicative exponential update on
            the orthogonal group (`stablebench.training.exponential_update`), `cayley` for the one by Cayley transforms
            on the unitary group, of real and imaginary parts (2, n, n) (`stablebench.training.cayley_update`).
    """

    name: str
    parameters: list[nn.Parameter]
    rule: Literal["optimiser", "exponential", "cayley"] = "optimiser"


@dataclass(frozen=True)
class Folded:
    """A recurrence with dilation, h_t = f(x_t, h_{t-d}), as what it repeats.

    The states of the model are, for each state of the cell, the newest one and, where d > 1, the d - 1 before it side
    by side, the oldest first. Its transition is the cell's.

    Args:
        cell: f, a part of the model.
        dilation: d.
    """

    cell: "RecurrentModel"
    dilation: int


class ChainModel(nn.Module, abc.ABC):
    """What models over time and over layers share.

    Args:
        in_features: Width of the input.
        hidden: Width of the hidden state.
    """

    output_state: int = 0
    """Which of the states is the output (coRNN's y, LSTM's h)."""
    revision: ClassVar[int] = 1
    """Counts what a registered model starts from or computes at the same arguments: a change of either adds 1."""
    added_arguments: ClassVar[tuple[tuple[str, Any], ...]] = ()
    """Arguments that earlier versions did not have, each with the value that does what those did."""
    batch_dependent: ClassVar[bool] = False
    """Whether an example's outputs depend on the others of its batch, and that is meant."""
    surrogate: str = ""
    """Why what autograd gives is no derivative of the model, where it is none: there is nothing to probe then."""

    def __init__(self, in_features: int, hidden: int) -> None:
        super().__init__()
        self.in_features = in_features
        self.hidden = hidden

    @classmethod
    def spec_arguments(cls, arguments: dict[str, Any]) -> dict[str, Any]:
        """Return the constructor's arguments as a run spec has them, so that runs of earlier versions keep their hash.

        Arguments that were added later are left out at the value that changes nothing.
        """
        added = dict(cls.added_arguments)
        return {name: value for name, value in arguments.items() if name not in added or value != added[name]}

    def penalty(self) -> Tensor | None:
        """Return a scalar that is added to the loss, or None."""
        return None

    def parameter_groups(self) -> list[ParameterGroup]:
        """Return the parameters in groups, each parameter in exactly one; by default all in `main`."""
        return grouped(self)

    def after_update(self) -> None:
        """Do what must follow every optimiser step (clamping, a change of base point)."""

    def claims(self) -> list[Claim]:
        """Return what the model's paper proves of it, to be checked by the gradient probe; by default nothing."""
        return []

    def watched(self) -> dict[str, float | Tensor]:
        """Return numbers that the model's paper speaks of, by name, to be followed while it is trained."""
        return {}

    def isometries(self) -> dict[str, Tensor]:
        """Return the matrices that the model keeps orthogonal or unitary, by name, (..., rows, columns) each.

        A rectangular one has orthonormal rows or columns, whichever are fewer.
        """
        return {}


class RecurrentModel(ChainModel):
    """A chain of states h_0 ... h_T over time: maps (batch, time, in) to (batch, time, out).

    Subclasses write `step`, and `drive` and `transition` where something can be done once. A constructor takes
    `in_features` and `hidden`, then keyword arguments of its own; one named `horizon` receives the number of steps of
    the chain that the model is trained on, and stays as it is when evaluated at another length; one named `layer`
    receives the position in the stack, from 0.

    Initialisation may draw from torch's global generator, which the builder seeds for every layer. Frozen random parts
    draw from `own_generator`, so that an ablation leaves all else as it is.

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
        """The width of what the layer gives out: that of the output state, unless `emit` changes it."""
        return self.state_sizes[self.output_state]

    def drive(self, x: Tensor) -> Tensor | tuple[Tensor, ...]:
        """Return what depends on the input alone, (batch, time, any): one tensor or several, by default x itself."""
        return x

    def transition(self) -> Any:
        """Return what `step` needs of the parameters, built once per forward pass: a tensor, a tuple, or None."""
        return None

    def recurrent_matrix(self) -> Tensor | None:
        """Return what takes h_{t-1} to h_t at inputs of 0 where the activation has slope 1, or None.

        Real or complex, (n, n), for states in columns. The gradient probe draws its eigenvalues.
        """
        return None

    @abc.abstractmethod
    def step(self, drive: Any, state: State, transition: Any) -> State:
        """Return the next state.

        Args:
            drive: `drive(x)` at one time step, (batch, any); a tuple where `drive` returned one.
            state: The states before the step, each (batch, size).
            transition: What `transition()` returned.
        """

    def emit(self, output: Tensor, x: Tensor) -> Tensor:
        """Return what the layer gives out, from one time step alone: by default the output state as it is.

        What does not act back on the chain belongs here, not into `step`: it is computed once for all time steps.

        Args:
            output: The output state, (..., size).
            x: The layer's input of the same time steps, (..., in).
        """
        return output

    def folded(self) -> Folded | None:
        """Return the cell that a dilated model repeats, so that an engine may fold time into the batch, or None."""
        return None

    def initial_state(self, batch: int) -> State:
        """Return the state before the first step: zeros, in the real parameters' dtype and on their device."""
        like = real_like(self)
        return tuple(like.new_zeros(batch, size) for size in self.state_sizes)

    def initialise_readout(self, readout: nn.Linear) -> None:
        """Initialise the linear readout where the model's paper says how; torch's default is in place."""

    def forward(self, x: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        """Run the chain with the reference engine.

        Args:
            x: Inputs (batch, time, in).
            state: The states before the first step; by default `initial_state`.

        Returns:
            The outputs (batch, time, out) and the states after the last step.
        """
        from stablebench.engines import reference

        outputs, state = reference.run(self, x, state)
        return self.emit(outputs, x), state


@dataclass(frozen=True)
class Stretch:
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


class DeepModel(ChainModel):
    """A chain of states h_0 ... h_N over layers: maps (batch, in) to (batch, out).

    Subclasses write `step` and `stretches`, and `enter` where the first state is not the input itself. A constructor
    takes `in_features` and `hidden`, then keyword arguments of its own; one named `layers` receives the depth, in which
    the input and the output count: of `layers` the model has `layers - 2`, the rest are the data and the readout.

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

    def enter(self, x: Tensor) -> State:
        """Return the states before the first stretch, each (batch, size), of inputs (batch, in); by default (x,)."""
        return (x,)

    @abc.abstractmethod
    def stretches(self) -> list[Stretch]:
        """Return the layers in their order. Only a stretch of one layer may change the width of a state."""

    @abc.abstractmethod
    def step(self, layer: tuple[Tensor, ...], state: State, shared: Any) -> State:
        """Return the states behind a layer.

        Args:
            layer: `Stretch.layers` at one layer.
            state: The states before it, each (batch, size).
            shared: `Stretch.shared`.
        """

    def readout(self, outputs: int) -> nn.Module:
        """Return what maps the last output (batch, out) to (batch, outputs): by default linear, as torch starts it.

        Args:
            outputs: Classes, or width of the target values.
        """
        return nn.Linear(self.out_features, outputs)

    def forward(self, x: Tensor) -> Tensor:
        """Run the chain with the reference engine.

        Args:
            x: Inputs (batch, in).

        Returns:
            The output behind the last layer, (batch, out).
        """
        from stablebench.engines import reference

        state = self.enter(x)
        for stretch in self.stretches():
            _, state = reference.run_layers(self, stretch, state)
        return state[self.output_state]


def real_like(module: nn.Module) -> Tensor:
    """Return the first parameter, else buffer, of real floating numbers: what values of a model are like.

    A complex parameter or a count tells neither; a module without real ones gives an empty tensor of torch's default.
    """
    tensors = list(itertools.chain(module.parameters(), module.buffers()))
    device = tensors[0].device if tensors else None
    return next((t for t in tensors if t.is_floating_point()), torch.empty(0, device=device))


def grouped(model: nn.Module, *named: ParameterGroup) -> list[ParameterGroup]:
    """Return `named` groups preceded by `main`, which takes every parameter that they leave."""
    taken = {id(p) for group in named for p in group.parameters}
    main = [p for p in model.parameters() if id(p) not in taken]
    return [ParameterGroup("main", main), *named]


def own_generator(stream: str) -> torch.Generator:
    """Return a CPU generator that depends on the seed of the layer and `stream` and takes nothing from the global one.

    In the 32 bits that the generator uses, different seeds below 2**32 give different ones, since 0x9E3779B1 is odd.

    Args:
        stream: What is drawn, for example "O": models that draw the same stream under one seed get the same numbers.
    """
    seed = torch.initial_seed() * 0x9E3779B1 + zlib.crc32(stream.encode())
    return torch.Generator().manual_seed(seed % 2**32)


def as_tuple(value: Tensor | tuple[Tensor, ...] | None) -> tuple[Tensor, ...]:
    """Return `value` as a tuple of tensors."""
    if value is None:
        return ()
    return value if isinstance(value, tuple) else (value,)


def count_parameters(parameters: Iterable[nn.Parameter]) -> int:
    """Return the number of trainable scalars."""
    return sum(p.numel() for p in parameters if p.requires_grad)
