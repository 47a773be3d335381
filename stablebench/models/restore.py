"""A context that restores modules and random generators, whatever is called inside it.

It restores the tensors and their gradients, the attributes of the modules, the contents of their lists, sets,
dictionaries and plain objects, and the states of all random generators among them and of the global ones.
"""

import random
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy
import torch
from torch import Tensor, nn

from stablebench.process import python_random

_DEEPEST = 6
"""Attributes of attributes of ... that are followed."""
_PLAIN = (bool, int, float, complex, str, bytes, type(None), type, Tensor, nn.Module)
_Undo = Callable[[], bool]
"""Puts something back, and returns whether it had changed."""


@contextmanager
def restored(module: nn.Module) -> Iterator[list[str]]:
    """Context after which a module is as it was before.

    Yields:
        A list that has, once the context has ended, the names of the attributes that had changed; tensors and random
        generators are restored without being named.
    """
    quietly: list[_Undo] = [*_generators(), *_tensors(module)]
    seen: set[int] = set()
    named: list[tuple[str, _Undo]] = []
    for part in module.modules():
        for name, undo in _attributes(part, seen, quietly):
            named.append((name, undo))
    changed: list[str] = []
    try:
        yield changed
    finally:
        changed += dict.fromkeys(name for name, undo in named if undo())
        for undo in quietly:
            undo()


def _generators() -> list[_Undo]:
    """Return what puts the global generators back."""
    undo = [_quietly(python_random.taken()), _quietly(torch.set_rng_state, torch.get_rng_state())]
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        undo.append(_quietly(torch.cuda.set_rng_state, torch.cuda.get_rng_state()))
    return undo


def _quietly(put_back: Callable[..., Any], *state: Any) -> _Undo:
    """Return what puts something back that does not count as a change."""

    def undo() -> bool:
        put_back(*state)
        return False

    return undo


def _tensors(module: nn.Module) -> Iterator[_Undo]:
    """Yield what puts values, gradients and the need of them back."""
    for tensor in (*module.parameters(), *module.buffers()):
        yield _of_tensor(tensor)


def _of_tensor(tensor: Tensor) -> _Undo:
    values = tensor.detach().clone()
    wanted, gradient = tensor.requires_grad, tensor.grad if tensor.is_leaf else None
    kept = None if gradient is None else gradient.clone()

    def undo() -> bool:
        if tensor.is_leaf:
            if gradient is not None and kept is not None:
                gradient.copy_(kept)
            tensor.grad = gradient
            tensor.requires_grad_(wanted)
        if torch.equal(tensor, values):  # versions do not tell: batch normalisation moves its statistics without
            return False
        with torch.no_grad():
            tensor.copy_(values)
        return True

    return undo


def _attributes(part: nn.Module, seen: set[int], quietly: list[_Undo]) -> Iterator[tuple[str, _Undo]]:
    """Yield the names of a module's attributes with what puts them back."""
    own = vars(part)
    for name, value in list(own.items()):
        yield name, _of_entry(own, name, value)
        if isinstance(value, dict) and name in ("_parameters", "_buffers", "_modules"):
            yield from ((key, _of_entry(value, key, kept)) for key, kept in list(value.items()))
        else:
            for undo in _inside(value, seen, quietly, _DEEPEST):
                yield name, undo
    names = set(own)

    def without_new() -> bool:
        new = [name for name in own if name not in names]
        for name in new:
            del own[name]
        return bool(new)

    yield "a new one", without_new


def _of_entry(held: dict[str, Any], name: str, value: Any) -> _Undo:
    def undo() -> bool:
        if name in held and held[name] is value:
            return False
        changed = name not in held or not _equal_numbers(held[name], value)
        held[name] = value
        return changed

    return undo


def _equal_numbers(a: Any, b: Any) -> bool:
    return type(a) is type(b) and isinstance(a, bool | int | float | str | bytes) and a == b


def _inside(value: Any, seen: set[int], quietly: list[_Undo], depth: int) -> Iterator[_Undo]:
    """Yield what puts back what lies in a container, a plain object, a generator or a tensor that is no buffer."""
    if isinstance(value, Tensor) and id(value) not in seen and not value.is_inference():
        seen.add(id(value))
        yield _of_tensor(value)
    if depth == 0 or isinstance(value, _PLAIN) or id(value) in seen:
        return
    seen.add(id(value))
    undo_draws = _of_generator(value)
    if undo_draws is not None:
        quietly.append(undo_draws)
        return
    if isinstance(value, list | deque):
        items = list(value)
        yield _refill(value, items, lambda: (value.clear(), value.extend(items)))
        inner = items
    elif isinstance(value, dict | set):
        members = dict(value) if isinstance(value, dict) else set(value)
        yield _refill(value, members, lambda: (value.clear(), value.update(members)))
        inner = list(members.values()) if isinstance(members, dict) else []
    elif isinstance(value, numpy.ndarray):
        numbers = value.copy()
        yield _refill(value, numbers, lambda: numpy.copyto(value, numbers))
        inner = []
    elif isinstance(value, tuple):
        inner = list(value)
    elif type(value).__module__.partition(".")[0] in ("torch", "numpy", "builtins"):
        return
    else:
        own = getattr(value, "__dict__", None)
        inner = [own] if isinstance(own, dict) else []
    for item in inner:
        yield from _inside(item, seen, quietly, depth - 1)


def _refill(value: Any, kept: Any, refill: Callable[[], Any]) -> _Undo:
    def undo() -> bool:
        if _unchanged(value, kept):
            return False
        refill()
        return True

    return undo


def _unchanged(value: Any, kept: Any) -> bool:
    """Return whether a container has the very same things in it."""
    if isinstance(value, numpy.ndarray):
        return value.tobytes() == kept.tobytes()
    if len(value) != len(kept):
        return False
    if isinstance(value, dict):
        return all(a == b and value[a] is kept[b] for a, b in zip(value, kept, strict=True))
    return value == kept if isinstance(value, set) else all(a is b for a, b in zip(value, kept, strict=True))


def _of_generator(value: Any) -> _Undo | None:
    """Return what puts a random generator back, or None of anything else."""
    if isinstance(value, torch.Generator):
        return _quietly(value.set_state, value.get_state())
    if isinstance(value, random.Random):
        return _quietly(value.setstate, value.getstate())
    if isinstance(value, numpy.random.RandomState):
        return _quietly(value.set_state, value.get_state())
    if isinstance(value, numpy.random.Generator):
        bits: Any = value.bit_generator
        return _quietly(setattr, bits, "state", bits.state)
    return None
