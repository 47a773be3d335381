"""How a module or function of the user's own is called: as a cell or a layer, and with which state it begins.

It is called on the first two steps, in each way that it may be meant, and what it returns says which one it is.
"""

import inspect
from collections.abc import Callable
from typing import Any, Literal

from torch import Tensor, nn
from torch.utils import _pytree as pytree

from stablebench.errors import UserError, first_line, users_line
from stablebench.models.chain_checks import problem_of_layer

How = Literal["cell", "layer", "layer, time first"]


class NotUnderstood(UserError):
    """It is neither a cell nor a layer with any of the states that it was given."""


class UserStep(nn.Module):
    """One step of a user's module or function: x_t (batch, in) and its own state -> the output and the next state.

    Args:
        called: A module, a method of one, or a function.
        how: As what it is called.
        returns_output: Whether a cell returns (out, h), and not h.
    """

    def __init__(self, called: Callable[..., Any], how: How = "cell", returns_output: bool = True) -> None:
        super().__init__()
        owner = called if isinstance(called, nn.Module) else getattr(called, "__self__", None)
        self.owner = owner if isinstance(owner, nn.Module) else None
        self._method: str = "" if self.owner in (None, called) else str(getattr(called, "__name__", ""))
        self._function = None if self.owner is not None else called
        self.how: How = how
        self.returns_output = returns_output

    @property
    def called(self) -> Callable[..., Any]:
        """The module, the method or the function."""
        function = self._function or (getattr(self.owner, self._method) if self._method else self.owner)
        assert function is not None
        return function

    def call(self, x: Tensor, state: Any) -> Any:
        """Return what the module or function returns."""
        return self.called(x, state)

    def forward(self, x: Tensor, state: Any) -> tuple[Tensor, Any]:
        """Return the output (batch, out), or a state in its place, and the next state."""
        if self.how == "cell":
            result = self.call(x, state)
            return result if self.returns_output else (pytree.tree_leaves(result)[0], result)
        time = 1 if self.how == "layer" else 0
        outputs, state = self.call(x.unsqueeze(time), state)
        return outputs.squeeze(time), state


def understood(called: Callable[..., Any], x: Tensor, starts: list[Any], cells_only: bool) -> tuple[UserStep, Any]:
    """Return how a module or function is called, and a state that it returned for all samples of x.

    Args:
        called: A cell, a layer, a method of a module or a function.
        x: Inputs (batch, time, in), time >= 2.
        starts: The states before the first step that are tried, None for none.
        cells_only: Whether it must be a cell.

    Raises:
        UserError: It is neither, or a layer that is no chain of states over time.
    """
    time_first = getattr(called, "batch_first", None) is False
    hows: tuple[How, ...] = ("layer, time first", "cell") if time_first else ("layer", "cell")
    hows = ("cell",) if cells_only else hows
    said: list[str] = []
    for how in hows:
        for start in starts:
            one, problem = UserStep(called, how), None
            try:
                state = _state_of_layer(one, x, start) if how != "cell" else _state_of_cell(one, x, start)
                if how != "cell":
                    problem = problem_of_layer(one, x, start, _inner_layers(called))
            except Exception as error:  # whatever code of the user's raises that is called in a way it is not made for
                said.append(f"as a {how}: {first_line(error)}{users_line(error)}")
                continue
            if problem is not None:
                raise problem
            return one, state
    hint = " Give h0, the state before the first step." if starts[0] is None else ""
    kinds = "no cell, (x_t, h) -> h or (out, h)"
    if not cells_only:
        kinds = "neither a cell, (x_t, h) -> h or (out, h), nor a layer, (x, h0) -> (outputs, h)"
    if not _takes_two(called):
        raise UserError(
            f"This is {kinds}: {_name(called)} takes no state, so that its states cannot be followed."
            f"{_inner_layers(called)}"
        )
    raise NotUnderstood(
        f"This is {kinds}, for x of shape {tuple(x.shape)} (batch, time, in). "
        f"Called {'; '.join(dict.fromkeys(said))}.{hint}"
    )


def _takes_two(called: Callable[..., Any]) -> bool:
    """Whether something may be called with an input and a state."""
    try:
        inspect.signature(called.forward if isinstance(called, nn.Module) else called).bind(None, None)
    except TypeError:
        return False
    except ValueError:  # one without a signature
        return True
    return True


def _name(called: Callable[..., Any]) -> str:
    return type(called).__name__ if isinstance(called, nn.Module) else getattr(called, "__qualname__", repr(called))


def _inner_layers(called: Callable[..., Any]) -> str:
    """Return what can be probed in the place of a module: recurrent layers of torch inside it."""
    if not isinstance(called, nn.Module):
        return ""
    inner = [f"`{name}`" for name, part in called.named_modules() if name and isinstance(part, nn.RNNBase)]
    return (
        f" The layer {' or '.join(inner)} in it can be probed by itself, with the inputs that it gets." if inner else ""
    )


class _Other(Exception):
    """What was called is something else."""


def _state_of_layer(one: UserStep, x: Tensor, start: Any) -> Any:
    """Return the state after a layer has run two steps, which must not have the shape of time."""
    states, axis = [], 0 if one.how == "layer, time first" else 1
    for steps in (1, 2):
        result = one.call(x[:, :steps] if axis else x[:, :steps].transpose(0, 1), start)
        if not isinstance(result, (tuple, list)) or len(result) != 2 or not isinstance(result[0], Tensor):
            raise _Other("it does not return (outputs, h)")
        outputs, state = result
        if outputs.dim() != 3 or outputs.shape[axis] != steps or outputs.shape[1 - axis] != len(x):
            raise _Other(f"its outputs have the shape {tuple(outputs.shape)}")
        states.append(state)
    if [leaf.shape for leaf in tensors_of(states[0])] != [leaf.shape for leaf in tensors_of(states[1])]:
        raise _Other("its state grows with the sequence")
    return states[1]


def _state_of_cell(one: UserStep, x: Tensor, start: Any) -> Any:
    """Return the state after a cell has run two steps; says on the way whether the cell returns an output, too."""
    result = one.call(x[:, 0], start)
    pair = isinstance(result, (tuple, list)) and len(result) == 2
    candidates = [(result, False), (result[1], True)] if pair else [(result, False)]
    failure: Exception = _Other("it does not return a state")
    for state, one.returns_output in candidates:
        try:
            if start is not None and not alike(state, start):
                raise _Other("what it returns has another shape than h0")
            _, after = one(x[:, 1], state)
            if alike(after, state):
                return after
            raise _Other("its state changes its shape")
        except Exception as error:  # as above
            failure = error
    raise failure


def alike(a: Any, b: Any) -> bool:
    """Whether two states are nested alike, and their tensors have the same shapes."""
    return pytree.tree_structure(a) == pytree.tree_structure(b) and all(
        p.shape == q.shape for p, q in zip(tensors_of(a), tensors_of(b), strict=True)
    )


def tensors_of(state: Any) -> list[Tensor]:
    """Return the tensors of a state, nested as it may be.

    Raises:
        UserError: A part of it is no real tensor.
    """
    leaves = pytree.tree_leaves(state)
    for leaf in leaves:
        if not isinstance(leaf, Tensor) or not leaf.is_floating_point():
            what = str(leaf.dtype) if isinstance(leaf, Tensor) else type(leaf).__name__
            raise UserError(f"A state must be a real tensor, or nested tuples of them; a part of it is {what}.")
    return leaves
