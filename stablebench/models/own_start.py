"""Where a cell or layer of the user's own begins without h0: from zeros, or from a state that it has itself.

That is a parameter or buffer, as `h0`, or what a method returns, `initial_state(batch)`. A module that can do without a
state at its first step is compared with itself given the candidate; at other parameters as well, so that a learned
start that is still at zero is recognised, and no other parameter is mistaken for one.
"""

import copy
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice, product
from operator import attrgetter
from typing import Any

import torch
from torch import Tensor, nn

from stablebench.errors import UserError
from stablebench.models.base import State
from stablebench.models.restore import restored

METHODS = ("initial_state", "init_state", "init_hidden", "initial_hidden", "begin_state", "get_initial_state")
"""Names under which a cell has its start as a method of the number of samples."""
TENSORS = (("h0", "c0"), ("h_0", "c_0"))
"""Names under which it has it as parameters, (width) each."""
_MOST = 200
"""Combinations of parameters that are tried."""


@dataclass(frozen=True)
class OwnStart:
    """What a module begins from.

    Args:
        method: The name of the method that returns it.
        tensors: Or the names of its parts, None for zeros.
    """

    method: str | None = None
    tensors: tuple[str | None, ...] = ()

    def parts(self, owner: nn.Module, batch: int, layout: Any, like: Tensor) -> State:
        """Return it as states (batch, size); arguments as `first_parts`."""
        if self.method is not None:
            return tuple(part.to(like) for part in layout.parts(getattr(owner, self.method)(batch)))
        return tuple(
            like.new_zeros(batch, size) if name is None else attrgetter(name)(owner).reshape(1, size).expand(batch, -1)
            for name, size in zip(self.tensors, layout.sizes, strict=True)
        )


def _candidates(owner: nn.Module, sizes: tuple[int, ...]) -> Iterator[OwnStart]:
    """Yield what a module may begin from: its methods of the usual names, then its parameters and buffers that fit."""
    yield from (OwnStart(name) for name in METHODS if callable(getattr(owner, name, None)))
    named = [(name, t) for name, t in (*owner.named_parameters(), *owner.named_buffers()) if t.is_floating_point()]
    fitting = [[None, *(name for name, t in named if t.numel() == size)] for size in sizes]
    combinations = (names for names in product(*fitting) if any(names))
    yield from (OwnStart(tensors=names) for names in islice(combinations, _MOST))


def _named_start(owner: nn.Module, sizes: tuple[int, ...]) -> OwnStart | None:
    """Return what a module that must be given a state begins from by its name, `h0` or `initial_state`; or None."""
    for name in METHODS:
        if callable(getattr(owner, name, None)):
            return OwnStart(name)
    for names in TENSORS:
        tensors = [getattr(owner, name, None) for name in names[: len(sizes)]]
        fits = [isinstance(t, Tensor) and t.numel() == size for t, size in zip(tensors, sizes, strict=False)]
        if fits and fits[0]:
            own = [name if fit else None for name, fit in zip(names, fits, strict=False)]
            return OwnStart(tensors=(*own, *[None] * (len(sizes) - len(own))))
    return None


def own_start(one: Any, x: Tensor, layout: Any) -> OwnStart | None:
    """Return the start of a module, None for zeros.

    Args:
        one: The step, a `UserStep`.
        x: Inputs (batch, time, in).
        layout: How its states lie, a `StateLayout`.

    Raises:
        UserError: It begins from a state of its own that is none of the candidates.
    """
    x_1 = x[:1, 0].expand(2, -1)

    def first_step(step: Any, state: Callable[[], Any]) -> list[Tensor] | None:
        # one that takes no None; a method of the usual name that is another thing
        with suppress(Exception), restored(step):  # a module may count its calls
            out, after = step(x_1, state())
            return [out, *layout.parts(after)]
        return None

    def begun(step: Any, start: OwnStart | None) -> list[Tensor] | None:
        return first_step(step, lambda: layout.state(first_parts(step, start, layout, 2, x)))

    steps, owner = [one], one.owner
    if owner is not None:
        with suppress(Exception):  # of a module that cannot be copied
            steps.append(moved(one))
    alone = [first_step(step, lambda: None) for step in steps]
    if alone[0] is None:  # it must be given a state
        named = None if owner is None else _named_start(owner, layout.sizes)
        at_zeros = all(_alike(begun(step, None), begun(step, named)) for step in steps)
        return named if begun(one, named) is not None and not at_zeros else None
    for start in [None] if owner is None else [None, *_candidates(owner, layout.sizes)]:
        if all(result is None or _alike(result, begun(step, start)) for step, result in zip(steps, alone, strict=True)):
            return start
    raise UserError(
        "Without h0 this module begins from a state of its own, and not from zeros: give it as h0, or let the module "
        "have it as a parameter `h0` (width), or as a method `initial_state(batch)`."
    )


def first_parts(one: Any, start: OwnStart | None, layout: Any, batch: int, like: Tensor) -> State:
    """Return the states before the first step, (batch, size) each.

    Args:
        one: The step, a `UserStep`.
        start: What it begins from.
        layout: How its states lie, a `StateLayout`.
        batch: The samples.
        like: Has their dtype and device.
    """
    if start is None or one.owner is None:
        return tuple(like.new_zeros(batch, size) for size in layout.sizes)
    return start.parts(one.owner, batch, layout, like)


def moved(one: Any) -> Any:
    """Return a copy with other parameters."""
    one = copy.deepcopy(one)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in one.owner.parameters():
            if parameter.is_floating_point():
                noise = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
                parameter.add_((0.1 * noise).to(parameter))
    return one


def _alike(a: list[Tensor] | None, b: list[Tensor] | None) -> bool:
    return (
        a is not None and b is not None and all(torch.allclose(p, q, equal_nan=True) for p, q in zip(a, b, strict=True))
    )
