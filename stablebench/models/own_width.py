"""The state of zeros that a module begins from where it must be given one and says nothing of its width.

A width counts only if the module gives back a state of it, and no other width does: by broadcasting several may pass.
"""

from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from stablebench.errors import UserError
from stablebench.models.own_start import METHODS, moved
from stablebench.models.user_step import NotUnderstood, UserStep, alike, understood

_ROWS = 7
"""Samples that a module is tried on: more than the states that one unpacks, or a batch would be taken for them."""
_HINTS = ("hidden_size", "hidden")
_MOST = 20
"""Sizes of parameters that are tried as widths, and as many without the width of the input."""


def enough_rows(x: Tensor) -> Tensor:
    """Return as many samples as a module is tried on, repeated where there are fewer."""
    return x.repeat(-(-_ROWS // len(x)), 1, 1)[:_ROWS]


def understood_from_zeros(
    called: Callable[..., Any], x: Tensor, cells_only: bool, width: int | None
) -> tuple[UserStep, Any]:
    """Return how a module or function is called without h0, and a state that it returned.

    Args:
        called: A cell, a layer, a method of a module or a function.
        x: Inputs (batch, time, in), `enough_rows` of them.
        cells_only: Whether it must be a cell.
        width: Of its state, which then is one tensor or two of them; None where it is to be told.

    Raises:
        UserError: It is neither a cell nor a layer, or its width cannot be told.
    """
    owner = getattr(called, "__self__", called)
    starts: list[Any] = [None, *_of_methods(owner, x)]
    if width is not None:
        zeros = x.new_zeros(len(x), width)
        starts += [zeros, (zeros, zeros)]
    try:
        one, state = understood(called, x, starts, cells_only)
    except NotUnderstood:
        result = None if width is not None else _guessed(called, owner, x, cells_only)
        if result is None:
            raise
        return result
    if width is not None and width > 1 and _is_one_unit(one, x, state, width):
        raise UserError(
            f"The {width} units of its state would all be the same: it has one. Let it have a method "
            "`initial_state(batch)` that returns zeros of the width that its state has."
        )
    return one, state


def _of_methods(owner: Any, x: Tensor) -> Iterator[Any]:
    """Yield zeros like what a method of a usual name returns."""
    for name in METHODS:
        with suppress(Exception):  # it has none, or one that is another thing
            yield pytree.tree_map(lambda t: torch.zeros_like(t).to(x), getattr(owner, name)(len(x)))
            return


def _guessed(called: Callable[..., Any], owner: Any, x: Tensor, cells_only: bool) -> tuple[UserStep, Any] | None:
    hints = [hint for name in _HINTS if type(hint := getattr(owner, name, None)) is int and hint > 0]
    if not isinstance(owner, nn.Module) and not hints:
        return None
    for parts in (1, 2):
        fitting = _fitting(called, x, cells_only, [*hints, *_widths(owner, x.shape[2])], parts)
        if not fitting:
            continue
        least = min(fitting)
        if len(fitting) > 1 and hints[:1] != [least]:
            *first, last = map(str, sorted(fitting))
            remedy = "." if hints else ", or an attribute `hidden_size`."
            raise UserError(
                f"The width of its state cannot be told: {', '.join(first)} and {last} fit. Give h0, the state before "
                f"the first step{remedy}"
            )
        return fitting[least]
    return None


def _widths(owner: Any, in_features: int) -> list[int]:
    """Return the widths that the state of a module may have."""
    sizes = {size for p in owner.parameters() for size in p.shape} if isinstance(owner, nn.Module) else set[int]()
    known = {1, in_features, *sizes}
    without = {size - in_features for size in sizes} - known  # of one map of the input and the state side by side
    return [*sorted(known, reverse=True)[:_MOST], *sorted(without, reverse=True)[:_MOST]]


def _fitting(
    called: Callable[..., Any], x: Tensor, cells_only: bool, widths: list[int], parts: int
) -> dict[int, tuple[UserStep, Any]]:
    """Return the widths that a state of so many parts may have, with how the module is called."""
    fitting: dict[int, tuple[UserStep, Any]] = {}
    seen, waiting = {0}, [1, *widths]
    while waiting and len(seen) < 4 * _MOST:
        width = waiting.pop(0)
        if width in seen or width < 1:
            continue
        seen.add(width)
        zeros = x.new_zeros(len(x), width)
        start = zeros if parts == 1 else (zeros,) * parts
        result = _called_from(called, x, start, cells_only)
        if result is not None:
            fitting[width] = result
            waiting.append(width + 1)  # where that fits as well any width does
        else:
            with suppress(Exception):  # whatever code of the user's raises that is given a state of another width
                leaves = pytree.tree_leaves(called(x[:, 0], start))
                waiting += [leaf.shape[-1] for leaf in leaves if isinstance(leaf, Tensor) and leaf.dim() > 1]
        if len(fitting) > 3:  # it cannot be told
            break
    return fitting


def _called_from(called: Callable[..., Any], x: Tensor, start: Any, cells_only: bool) -> tuple[UserStep, Any] | None:
    for only in dict.fromkeys((cells_only, True)):
        with suppress(NotUnderstood):
            one, state = understood(called, x, [start], only)
            if alike(state, start):
                return one, state
    return None


def _is_one_unit(one: UserStep, x: Tensor, state: Any, width: int) -> bool:
    """Whether a state of this width is one of width 1 that was broadcast: at other parameters as well."""
    zeros = x.new_zeros(len(x), width)
    start = next((nested for nested in (zeros, (zeros, zeros)) if alike(nested, state)), None)
    if start is None:
        return False
    narrow = pytree.tree_map(lambda t: t[:, :1], start)
    if _called_from(one.called, x, narrow, True) is None:
        return False
    with suppress(Exception):  # of a module that cannot be copied
        step = one if one.owner is None else moved(one)
        for x_t in x.unbind(1):
            _, start = step(x_t, start)
        return all(torch.equal(leaf, leaf[:, :1].expand_as(leaf)) for leaf in pytree.tree_leaves(start))
    return False
