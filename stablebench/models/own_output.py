"""Whether the output of a user's cell is one of its states, or a part of one.

It is where it is that very tensor, or a view of it, in training and in evaluation, with the same derivative. Equal
numbers are no proof: of a skip connection that starts at zero, or of dropout that is off, they are equal for a while.
"""

from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from stablebench.models.base import State
from stablebench.models.own_start import moved
from stablebench.models.restore import restored

Place = tuple[int, slice]
"""The number of a state, and which of its units."""
_SCALES = (1.0, 10.0, 0.1)
"""Standard deviations of the random states that a layer is tried with."""


def place_of(one: Any, x: Tensor, layout: Any) -> Place | None:
    """Return which state the output is, by the tensors themselves; None where it is none.

    Args:
        one: The step, a `UserStep`.
        x: Inputs (batch, time, in) of two steps.
        layout: How its states lie, a `StateLayout`.
    """
    owner = one.owner or nn.Module()
    place: Place | None = None
    for training in (True, False):
        with restored(owner):
            for part in owner.modules():
                part.training = training
            try:
                here = _place_at(one, x, layout)
            except Exception:  # of a cell that takes no such batch in this mode: the other one decides
                continue
        if here is None or place not in (None, here):
            return None
        place = here
    return place


def _place_at(one: Any, x: Tensor, layout: Any) -> Place | None:
    generator = torch.Generator().manual_seed(0)
    state = layout.state(_drawn(x, layout, generator))
    place: Place | None = None
    for x_t in x[:, :2].unbind(1):
        x_t, state = _leaf(x_t), pytree.tree_map(_leaf, state)
        before = [x_t, *pytree.tree_leaves(state), *(() if one.owner is None else one.owner.parameters())]
        with torch.enable_grad():  # of clones: a cell may change its arguments in place
            out, state = one(x_t.clone(), pytree.tree_map(torch.clone, state))
        here = _same_memory(out, state, layout)
        if here is None or place not in (None, here):
            return None
        place = here
        number, units = place
        if out is pytree.tree_leaves(state)[number]:
            continue
        with torch.enable_grad():
            part = layout.parts(state)[number][:, units]
        if not _same_derivative(out, part, [t for t in before if t.requires_grad]):
            return None
    return place


def _leaf(value: Tensor) -> Tensor:
    return value.detach().requires_grad_()


def _drawn(x: Tensor, layout: Any, generator: torch.Generator) -> State:
    drawn = (torch.randn(len(x), size, generator=generator, dtype=torch.float64) for size in layout.sizes)
    return tuple(part.to(x) for part in drawn)


def _same_memory(out: Tensor, state: Any, layout: Any) -> Place | None:
    """Return the part of a state that lies where the output does."""
    leaves = pytree.tree_leaves(state)
    parts = layout.parts(pytree.tree_unflatten([_addresses(leaf) for leaf in leaves], layout.structure))
    own = _addresses(out)
    for number, (leaf, part) in enumerate(zip(leaves, parts, strict=True)):
        if leaf.dtype != out.dtype or leaf.untyped_storage().data_ptr() != out.untyped_storage().data_ptr():
            continue
        for first in (part[0] == own[0, 0]).nonzero().flatten().tolist():
            units = slice(first, first + own.shape[1])
            if torch.equal(part[:, units], own):
                return number, slice(None) if own.shape[1] == part.shape[1] else units
    return None


def _addresses(tensor: Tensor) -> Tensor:
    """Return where in its memory each number of a tensor lies."""
    count = tensor.untyped_storage().nbytes() // tensor.element_size()
    return torch.arange(count).as_strided(tensor.shape, tensor.stride(), tensor.storage_offset())


def may_be_part(out: Tensor, state: Tensor) -> bool:
    """Whether an output may still be a state or a part of it; of what is traced or transformed that cannot be told."""
    if out is state or type(out) is not Tensor or type(state) is not Tensor or torch.compiler.is_compiling():
        return True
    with suppress(RuntimeError):  # of a tensor without memory of its own
        return out.untyped_storage().data_ptr() == state.untyped_storage().data_ptr()
    return True


def _same_derivative(a: Tensor, b: Tensor, leaves: list[Tensor]) -> bool:
    """Whether two equal tensors have the same derivative: one may be detached, or have a derivative of its own."""
    if not a.requires_grad or not b.requires_grad:
        return a.requires_grad == b.requires_grad
    generator = torch.Generator().manual_seed(1)
    along = torch.randn(a.shape, generator=generator, dtype=torch.float64).to(a)
    with suppress(RuntimeError), torch.enable_grad():  # of a cell that has none
        of_a, of_b = (torch.autograd.grad(t, leaves, along, retain_graph=True, allow_unused=True) for t in (a, b))
        return all(
            p is q if p is None or q is None else torch.allclose(p, q, equal_nan=True)
            for p, q in zip(of_a, of_b, strict=True)
        )
    return False


def equal_part(one: Any, x: Tensor, layout: Any) -> Place | None:
    """Return the last part of a state that always equals the output: of layers, which return two tensors.

    They are run from random states, at other parameters as well. Arguments as of `place_of`.
    """
    steps = [one]
    if one.owner is not None:
        with suppress(Exception):  # of a module that cannot be copied
            steps.append(moved(one))
    places: set[tuple[int, int]] | None = None
    width = 0
    for step in steps:
        for scale, state in _random_states(x, layout):
            with restored(step), suppress(Exception):  # whatever code of the user's raises
                out, after = step(scale * x[:, 0], state)
                width = out.shape[1]
                here = set(_equal_to(out, layout.parts(after)))
                places = here if places is None else places & here
    if not places:
        return None
    number, first = min(places, key=lambda place: (place[0], -place[1]))
    return number, slice(None) if width == layout.sizes[number] else slice(first, first + width)


def _random_states(x: Tensor, layout: Any) -> Iterator[tuple[float, Any]]:
    generator = torch.Generator().manual_seed(0)
    for scale in _SCALES:
        yield scale, layout.state(tuple(scale * part for part in _drawn(x, layout, generator)))


def _equal_to(out: Tensor, parts: State) -> Iterator[tuple[int, int]]:
    width = out.shape[1]
    if torch.equal(out, out[:1].expand_as(out)):  # it says nothing
        return
    for number, part in enumerate(parts):
        for first in range(part.shape[1] - width, -1, -width):
            if torch.equal(part[:, first : first + width], out):
                yield number, first
