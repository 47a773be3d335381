"""The base class of models over time and over layers: parameter groups, claims of their papers, frozen generators."""

import abc
import itertools
import warnings
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from stablebench.models.claims.claim import Claim

State = tuple[Float[Tensor, "batch _"], ...]
"""The states of one time step, or behind one layer, each (batch, size)."""


EARLIER_NAMES = {
    "drive": "input_projection",
    "transition": "recurrent_weights",
    "emit": "layer_output",
    "enter": "embed_input",
    "stretches": "layer_groups",
    "folded": "dilated_cell",
    "watched": "diagnostics",
    "isometries": "orthogonal_matrices",
    "surrogate": "non_differentiable_reason",
}
"""What methods and attributes were called in version 0.1; users' own models may still have these names."""


@dataclass(frozen=True)
class ParameterGroup:
    """Parameters that share a learning rate and an update rule.

    Args:
        name: What recipes call the group: `optim.groups.<name>`. Every model has `main`.
        parameters: The parameters.
        rule: `optimiser` for the optimiser of the run, `exponential` for the multiplicative exponential update on
            the orthogonal group (`stablebench.training.updates.exponential`), `cayley` for the one by Cayley transforms
            on the unitary group, of real and imaginary parts (2, n, n) (`stablebench.training.updates.cayley`).
    """

    name: str
    parameters: list[nn.Parameter]
    rule: Literal["optimiser", "exponential", "cayley"] = "optimiser"


class _EarlierName:
    """What a class defines, by the name it had in version 0.1. A model's own tensor or module of that name comes first.

    A descriptor, so that looking up parameters, which a step does at every time step, costs no more than in torch.
    """

    def __init__(self, earlier: str, defined: Any) -> None:
        self._earlier, self._defined = earlier, defined

    def __get__(self, model: Any, owner: type[Any]) -> Any:
        for parts in () if model is None else (model._parameters, model._buffers, model._modules):
            if self._earlier in parts:
                return parts[self._earlier]
        bind = getattr(type(self._defined), "__get__", None)
        return self._defined if bind is None else bind(self._defined, model, owner)


def _take_earlier_names(cls: type[Any]) -> None:
    """Take what a class defines under a name of version 0.1 under today's, and the other way round."""
    for earlier, name in EARLIER_NAMES.items():
        if name in vars(cls):
            setattr(cls, earlier, _EarlierName(earlier, vars(cls)[name]))
        elif earlier in vars(cls):
            setattr(cls, name, vars(cls)[earlier])
            warnings.warn(f"{cls.__name__}: `{earlier}` is now called `{name}`.", FutureWarning, stacklevel=4)


class ChainModel(nn.Module, abc.ABC):
    """A chain of states, over time or over layers.

    Args:
        in_features: Width of the input.
        hidden: Width of the hidden state.
    """

    output_state: int = 0
    """Which of the states is the output (coRNN's y, LSTM's h)."""
    revision: ClassVar[int] = 1
    """Version of a registered model, >= 1: raised when its initial numbers or its function change."""
    added_arguments: ClassVar[tuple[tuple[str, Any], ...]] = ()
    """Arguments that earlier versions did not have, each with the value that does what those did."""
    batch_dependent: ClassVar[bool] = False
    """Whether an example's outputs are meant to depend on the others of its batch."""
    non_differentiable_reason: str = ""
    """Why autograd's result is no derivative of the model; empty if it is one. Such a model cannot be probed."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Give methods with a name of version 0.1 today's name."""
        super().__init_subclass__(**kwargs)
        _take_earlier_names(cls)

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
        return with_main_group(self)

    def after_update(self) -> None:
        """Change parameters after every optimiser step (clamping, a change of base point); by default nothing."""

    def claims(self) -> list[Claim]:
        """Return the propositions of the model's paper, which the gradient probe checks; by default none."""
        return []

    def diagnostics(self) -> dict[str, float | Tensor]:
        """Return numbers that the model's paper speaks of, by name, to be followed while it is trained."""
        return {}

    def orthogonal_matrices(self) -> dict[str, Tensor]:
        """Return the matrices that the model keeps orthogonal or unitary, by name, (..., rows, columns) each.

        A rectangular one has orthonormal rows or columns, whichever are fewer.
        """
        return {}


_take_earlier_names(ChainModel)


def real_like(module: nn.Module) -> Tensor:
    """Return the first real floating-point parameter, else buffer: it has the dtype and device of the model's values.

    A module without any gives an empty tensor of torch's default dtype.
    """
    first = None
    for tensor in itertools.chain(module.parameters(), module.buffers()):
        if tensor.is_floating_point():
            return tensor
        first = tensor if first is None else first
    return torch.empty(0, device=None if first is None else first.device)


def with_main_group(model: nn.Module, *named: ParameterGroup) -> list[ParameterGroup]:
    """Return `named` groups preceded by `main`, which has all other parameters."""
    taken = {id(p) for group in named for p in group.parameters}
    main = [p for p in model.parameters() if id(p) not in taken]
    return [ParameterGroup("main", main), *named]


def frozen_generator(stream: str) -> torch.Generator:
    """Return a CPU generator that depends on the seed of the layer and `stream` and takes nothing from the global one.

    In the 32 bits that the generator uses, different seeds below 2**32 give different ones, since 0x9E3779B1 is odd.

    Args:
        stream: Name of the draw, for example "O": equal names give equal numbers under one seed.
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
