"""A pass that is computed again for its gradient does what it did the first time, and leaves nothing behind twice.

torch's checkpointing replays neither the random draws of Python and numpy nor what a model keeps in buffers and
attributes: a running mean would move twice, and the second pass would start from where the first one ended.
"""

# ruff: noqa: NPY002 -- the global generator is what a user's model may draw from

import collections
import contextlib
import copy
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any
from weakref import WeakSet

import numpy
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

_OWN = frozenset(vars(nn.Module()))
"""What every module has in its `__dict__`, and no model of its own."""
_CONTAINERS = (list, dict, set, collections.deque)
_GENERATORS = (torch.Generator, random.Random, numpy.random.Generator, numpy.random.RandomState)
_SMALL = 1 << 20
"""Bytes of a buffer that is kept whole; of a larger one what changed is kept, where that is less."""


_drawing: WeakSet[nn.Module] = WeakSet()
"""Modules that drew random numbers on a GPU."""


def recomputed(module: nn.Module, function: Callable[..., Any], *arguments: Any) -> Any:
    """Return `function(*arguments)`, of which only the arguments are kept: the rest is computed again for the gradient.

    The second time starts from the random states, buffers and attributes that the first one found, and leaves all of
    them as they were when it began.

    Args:
        module: Whose buffers and attributes `function` may read and change.
        function: What is computed.
        *arguments: Its arguments.

    Raises:
        RuntimeError: A CUDA graph is being captured and random numbers are drawn, which a replay could not repeat.
    """
    if not torch.is_grad_enabled():
        return function(*arguments)
    capturing = torch.cuda.is_available() and torch.cuda.is_current_stream_capturing()
    if capturing and module in _drawing:
        raise RuntimeError("random numbers that are drawn in a CUDA graph cannot be drawn again for the gradient")
    first = _Pass(module, capturing)
    return checkpoint(
        function,
        *arguments,
        use_reentrant=False,
        preserve_rng_state=not capturing,
        context_fn=lambda: (first.recorded(), first.replayed()),
    )


class _Pass:
    """What a pass found: random states that are not torch's, buffers and attributes.

    Args:
        module: Whose.
        capturing: Whether it becomes part of a CUDA graph, which lets nothing be asked of the device.
    """

    def __init__(self, module: nn.Module, capturing: bool) -> None:
        self._module, self._capturing = module, capturing
        self._random: tuple[Any, Any] | None = None
        self._memory: Memory | None = None

    @contextlib.contextmanager
    def recorded(self) -> Iterator[None]:
        """Context of the first pass."""
        self._random = random.getstate(), numpy.random.get_state()
        self._memory = Memory.of(self._module)
        asked = torch.cuda.is_initialized() and not self._capturing
        before = torch.cuda.get_rng_state() if asked else None
        yield
        if before is not None and not torch.equal(before, torch.cuda.get_rng_state()):
            _drawing.add(self._module)
        self._memory.forget_unchanged(whole=self._capturing)

    @contextlib.contextmanager
    def replayed(self) -> Iterator[None]:
        """Context of the second pass."""
        assert self._random is not None and self._memory is not None  # the first pass came before
        outside = random.getstate(), numpy.random.get_state()
        _set_random(self._random)
        now = Memory.of(self._module, copied=False)
        self._memory.put_back()
        try:
            yield
        finally:
            now.put_back()
            _set_random(outside)


@contextlib.contextmanager
def left_alone(module: nn.Module, seed: int = 0) -> Iterator[None]:
    """Context with random generators that start from `seed`; afterwards the module and they are as they were.

    Args:
        module: Whose buffers, attributes and mode may be changed meanwhile.
        seed: Of torch's, numpy's and Python's generators.
    """
    outside = random.getstate(), numpy.random.get_state()
    modes = {part: part.training for part in module.modules()}
    now = Memory.of(module, copied=False)
    Memory.of(module).put_back()  # copies to work with
    devices = [torch.cuda.current_device()] if torch.cuda.is_initialized() else []
    try:
        with torch.random.fork_rng(devices=devices):
            torch.manual_seed(seed)
            random.seed(seed)
            numpy.random.seed(seed)
            yield
    finally:
        now.put_back()
        _set_random(outside)
        for part, training in modes.items():
            part.training = training


def _set_random(states: tuple[Any, Any]) -> None:
    random.setstate(states[0])
    numpy.random.set_state(states[1])


@dataclass(frozen=True)
class _Part:
    """Of a large tensor what changed: its old values at these places."""

    places: Tensor
    values: Tensor


@dataclass
class _Kept:
    """A tensor that a module keeps.

    Args:
        tensor: The tensor itself.
        copy: What it held, all or in part; None where it need not be known.
    """

    tensor: Tensor
    copy: Tensor | _Part | None

    def back(self) -> Tensor:
        """Return the tensor itself, or one that holds what it held."""
        if isinstance(self.copy, _Part):
            whole = self.tensor.detach().clone()
            whole.view(-1)[self.copy.places] = self.copy.values
            return whole
        return self.tensor if self.copy is None else self.copy.clone()


class Memory:
    """What a module keeps outside of its parameters: buffers and plain attributes, its parts' too.

    Args:
        copied: Whether what can be changed in place is copied; without, the very objects are put back.
    """

    def __init__(self, copied: bool) -> None:
        self._copied = copied
        self._tensors: list[tuple[dict[str, Any], str, _Kept]] = []
        self._values: list[tuple[dict[str, Any], dict[str, Any]]] = []

    @classmethod
    def of(cls, module: nn.Module, *, copied: bool = True) -> "Memory":
        """Return what a module keeps now.

        Args:
            module: The module.
            copied: As above.
        """
        found = cls(copied)
        for part in module.modules():
            plain = {name: value for name, value in vars(part).items() if name not in _OWN}
            for holder, values in ((part._buffers, dict(part._buffers)), (vars(part), plain)):
                for name, tensor in [(n, value) for n, value in values.items() if isinstance(value, Tensor)]:
                    del values[name]
                    found._keep(holder, name, tensor)
                found._values.append((holder, {n: _copy(v) if copied else v for n, v in values.items()}))
        return found

    def _keep(self, holder: dict[str, Any], name: str, tensor: Tensor) -> None:
        kept = tensor.detach().clone() if self._copied and not tensor.requires_grad else None
        self._tensors.append((holder, name, _Kept(tensor, kept)))

    def found(self) -> dict[str, Any]:
        """Return what is kept, in its order: tensors as they were, and everything else."""
        tensors = {
            f"{i} {name}": kept.tensor if kept.copy is None else kept.copy
            for i, (_, name, kept) in enumerate(self._tensors)
        }
        values = {f"{i} {name}": v for i, (_, values) in enumerate(self._values) for name, v in values.items()}
        return tensors | values

    def forget_unchanged(self, *, whole: bool) -> None:
        """Let go of the copies of tensors that are as they were, and of large ones of what did not change.

        Args:
            whole: Whether to keep all of them, changed or not.
        """
        for _, _, kept in self._tensors:
            if whole or not isinstance(kept.copy, Tensor) or (kept.copy.is_cuda and kept.copy.nbytes <= _SMALL):
                continue  # a GPU would have to be waited for
            if torch.equal(kept.copy, kept.tensor):  # its version does not tell: batch_norm changes without a new one
                kept.copy = None
            elif kept.copy.nbytes > _SMALL:
                kept.copy = _changed_part(kept.copy, kept.tensor)

    def put_back(self) -> None:
        """Let the module have what it had."""
        for holder, values in self._values:
            held = {name for other, name, _ in self._tensors if other is holder}
            own = _OWN if "_buffers" in holder else frozenset()
            for name in [n for n in holder if n not in own and n not in values and n not in held]:
                del holder[name]
            holder.update({name: _copy(value) if self._copied else value for name, value in values.items()})
        for holder, name, kept in self._tensors:
            holder[name] = kept.back()


def _changed_part(before: Tensor, after: Tensor) -> Tensor | _Part:
    """Return what of a tensor changed, or all of it where that takes no more."""
    if not after.is_contiguous() or before.shape != after.shape:
        return before
    places = (before != after).view(-1).nonzero()[:, 0]
    values = before.view(-1)[places]
    return _Part(places, values) if places.nbytes + values.nbytes < before.nbytes else before


def _copy(value: Any) -> Any:
    """Return a container with the same contents, a generator in the same state, and anything else itself."""
    if isinstance(value, torch.Generator):
        again = torch.Generator(value.device)
        again.set_state(value.get_state())
        return again
    if type(value) in _CONTAINERS:
        return copy.copy(value)
    return copy.deepcopy(value) if isinstance(value, _GENERATORS) else value
