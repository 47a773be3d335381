"""A cell that was written for torch alone, `torch.nn.GRUCell` or a class like it, as a model that can be trained."""

import inspect
from collections.abc import Callable
from functools import cache
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from stablebench.errors import ContractError, UserError, first_line
from stablebench.models.base import RecurrentModel, State, real_like
from stablebench.models.contract import SIZES, argument_problem
from stablebench.models.own_cell import own_cell
from stablebench.models.restore import restored
from stablebench.models.torch_layers import torch_layers
from stablebench.schema.strict import unwrapped

_SIZES = (SIZES, ("input_size", "hidden_size"))
"""Names of the two widths, by which they are given; by position where the constructor has others."""
_PLACED = ("device", "dtype")
"""Arguments of torch's modules that the run decides."""
_SAMPLES, _STEPS = 5, 2
"""Of the inputs that a new cell is tried on."""


class AdaptedCell(RecurrentModel):
    """A cell as a model; `adapted` makes its subclasses.

    `reference` is what the user calls it; `made` makes a module of the user's from its two widths and arguments.

    Args:
        cell: The cell as a chain.
        in_features: Width of x_t.
        hidden: Width that the cell was made with.
    """

    reference: ClassVar[str]
    made: ClassVar[Callable[..., Any]]

    def __init__(self, cell: RecurrentModel, in_features: int, hidden: int) -> None:
        super().__init__(in_features, hidden)
        self.cell = cell
        self.output_state = cell.output_state

    @property
    def written_in(self) -> Callable[..., Any]:
        """The code of the user's own, whose lines messages name."""
        return getattr(self.cell, "written_in", self.cell.step)

    @property
    def state_sizes(self) -> tuple[int, ...]:
        """The widths of the states."""
        return self.cell.state_sizes

    @property
    def out_features(self) -> int:
        """The width of the output."""
        return self.cell.out_features

    def initial_state(self, batch: int) -> State:
        """Return that of the chain."""
        return self.cell.initial_state(batch)

    def input_projection(self, x: Tensor) -> Any:
        """Return what the chain has of it."""
        return self.cell.input_projection(x)

    def recurrent_weights(self) -> Any:
        """Return those of the chain."""
        return self.cell.recurrent_weights()

    def recurrent_matrix(self) -> Tensor | None:
        """Return that of the chain."""
        return self.cell.recurrent_matrix()

    def step(self, projected: Any, state: State, recurrent_weights: Any) -> State:
        """Return the next states."""
        return self.cell.step(projected, state, recurrent_weights)

    def layer_output(self, output: Tensor, x: Tensor) -> Tensor:
        """Return the output."""
        return self.cell.layer_output(output, x)

    def __reduce__(self) -> tuple[Any, ...]:
        """Return how it is copied and pickled: its class is made again from the cell's."""
        return _of_class, (unwrapped(type(self)), type(self).reference), self.__dict__


def _of_class(make: Callable[..., Any], reference: str) -> RecurrentModel:
    cls = adapted(make, reference)
    return cls.__new__(cls)


@cache
def adapted(make: Callable[..., Any], reference: str) -> type[RecurrentModel]:
    """Return the class of a recurrent model whose step is one of a cell.

    Args:
        make: The cell's class, or a function that makes one: called with (in_features, hidden), it returns a module
            `(x_t, h) -> h` or `-> (out, h)`, x_t (batch, in), h a tensor or tuples of them. Its other arguments become
            the model's, where they have a default that a run spec can hold, or stand behind `*`.
        reference: What the user calls it.

    Raises:
        ContractError: It cannot be called so.
    """
    parameters = _parameters(make, reference)
    pair = next((names for names in _SIZES if all(name in parameters for name in names)), None)
    sizes = pair or tuple(parameters)[:2]
    own = [_own(make, p, reference) for name, p in parameters.items() if name not in sizes and name not in _PLACED]
    keywords = [parameter for parameter in own if parameter is not None]

    def made(in_features: int, hidden: int, **arguments: Any) -> Any:
        widths = (in_features, hidden)
        return make(*widths, **arguments) if pair is None else make(**dict(zip(pair, widths, strict=True)), **arguments)

    def __init__(self: AdaptedCell, in_features: int, hidden: int, **arguments: Any) -> None:
        cell = made(in_features, hidden, **arguments)
        AdaptedCell.__init__(self, _chain(cell, in_features, hidden, reference), in_features, hidden)

    __init__.__wrapped__ = make.__init__ if inspect.isclass(make) else make
    widths = [inspect.Parameter(name, inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=int) for name in SIZES]
    content = {
        "__init__": __init__,
        "made": staticmethod(made),
        "batch_dependent": bool(getattr(make, "batch_dependent", False)),
        "reference": reference,
        "__doc__": make.__doc__ or "",
        "__module__": make.__module__,
        "__qualname__": make.__qualname__,
        "__signature__": inspect.Signature([*widths, *keywords]),
        "__wrapped__": make,  # where the code is: `unwrapped`
    }
    return type(make.__name__, (AdaptedCell,), content)


def _parameters(make: Callable[..., Any], reference: str) -> dict[str, inspect.Parameter]:
    """Return the arguments that a class or function names, if the first two can be the widths."""
    try:
        signature = inspect.signature(make)
        named = {n: p for n, p in signature.parameters.items() if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)}
        required = [n for n, p in named.items() if p.kind is p.KEYWORD_ONLY and p.default is p.empty]
        if not any(all(name in named for name in names) for names in _SIZES):
            signature.bind(1, 1, **dict.fromkeys(required))
        elif len(named) < 2:
            raise TypeError
    except (TypeError, ValueError):
        given = ", ".join(map(str, inspect.signature(make).parameters.values())) if callable(make) else ""
        name = reference.rpartition(":")[2]
        raise ContractError(
            f"--model {reference}: a cell is made by {name}(in_features, hidden); it takes ({given}). Write a function "
            f"that makes it, def my_cell(in_features, hidden): return {name}(...), and name that."
        ) from None
    return named


def _own(make: Callable[..., Any], parameter: inspect.Parameter, reference: str) -> inspect.Parameter | None:
    """Return an argument that a run may set, as one by keyword; None where it is left at its default."""
    why = argument_problem(make.__init__ if inspect.isclass(make) else make, parameter)
    if why is None and parameter.kind is not parameter.POSITIONAL_ONLY:
        if parameter.default is not parameter.empty or parameter.kind is parameter.KEYWORD_ONLY:
            return parameter.replace(kind=parameter.KEYWORD_ONLY)
        why = "needs a default"
    if parameter.default is parameter.empty:
        name = reference.rpartition(":")[2]
        raise ContractError(
            f"--model {reference}: the argument `{parameter.name}` {why}; or write a function that gives it, "
            f"def my_cell(in_features, hidden): return {name}(...), and name that."
        )
    return None


def _chain(cell: Any, in_features: int, hidden: int, reference: str) -> RecurrentModel:
    """Return a new cell as a chain; it is left as it is, as are the random states."""
    if not isinstance(cell, nn.Module):
        raise ContractError(f"--model {reference}: must make a torch.nn.Module, got {type(cell).__name__}.")
    if isinstance(cell, nn.RNNBase):
        raise ContractError(
            f"--model {reference}: {type(cell).__name__} runs all time steps; a model is one step of it: "
            f"torch.nn:{type(cell).__name__}Cell."
        )
    if layers := torch_layers(cell):
        return layers[0]
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(_SAMPLES, _STEPS, in_features, generator=generator, dtype=torch.float64).to(real_like(cell))
    training = cell.training
    try:
        with restored(cell):
            return own_cell(cell.eval(), x, None, to_run=True, width=hidden)
    except UserError as error:
        name = reference.rpartition(":")[2]
        raise ContractError(
            f"--model {reference}: {error} It was made as {name}({in_features}, {hidden}): (in_features, hidden)."
        ) from error
    except (RuntimeError, TypeError, ValueError, IndexError) as error:  # of the user's cell
        raise ContractError(f"--model {reference}: a step of it fails: {first_line(error)}.") from error
    finally:
        cell.train(training)
