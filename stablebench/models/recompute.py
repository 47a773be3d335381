"""Gradient checkpointing that repeats random draws and changes a model's buffers and attributes only once.

torch's checkpointing replays neither the random draws of Python and numpy nor the changes that a model makes to its
buffers and attributes: a running mean would move twice, and the second pass would start from where the first one ended.
"""

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

from stablebench.models.restore import restored
from stablebench.process import python_random

_OF_EVERY_MODULE = frozenset(vars(nn.Module()))
"""Names in the `__dict__` of every module, which are none of the model's own."""
_CONTAINERS = (list, dict, set, collections.deque)
_GENERATORS = (torch.Generator, random.Random, numpy.random.Generator, numpy.random.RandomState)
_WHOLE_BYTES = 1 << 20
"""Buffers up to this size are stored whole; of larger ones only the entries that changed, where these take less."""

_drawing: WeakSet[nn.Module] = WeakSet()
"""Modules that drew random numbers on a GPU."""


def recomputed(module: nn.Module, function: Callable[..., Any], *arguments: Any) -> Any:
    """Return `function(*arguments)`, storing only the arguments: the rest is computed again for the gradient.

    The second pass starts from the random states, buffers and attributes that the first one started from, and restores
    all of them to what they were before it.

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
    """The state that a pass starts from: random states that are not torch's, buffers and attributes.

    Args:
        module: Whose buffers and attributes.
        capturing: Whether a CUDA graph is being captured, during which no value can be read from the device.
    """

    def __init__(self, module: nn.Module, capturing: bool) -> None:
        self._module, self._capturing = module, capturing
        self._rewind_random = python_random.taken()
        self._before = ModuleSnapshot(module)

    @contextlib.contextmanager
    def recorded(self) -> Iterator[None]:
        """Context of the first pass."""
        readable = torch.cuda.is_initialized() and not self._capturing
        before = torch.cuda.get_rng_state() if readable else None
        yield
        if before is not None and not torch.equal(before, torch.cuda.get_rng_state()):
            _drawing.add(self._module)
        self._before.drop_unchanged(whole=self._capturing)

    @contextlib.contextmanager
    def replayed(self) -> Iterator[None]:
        """Context of the second pass."""
        rewind_outside = python_random.taken()
        self._rewind_random()
        now = ModuleSnapshot(self._module, copied=False)
        self._before.restore()
        try:
            yield
        finally:
            now.restore()
            rewind_outside()


@contextlib.contextmanager
def isolated(module: nn.Module, seed: int = 0) -> Iterator[None]:
    """Context in which random generators start from `seed`; afterwards they and the module are as before.

    Args:
        module: Its buffers, attributes and mode may change inside the context.
        seed: Seed of torch's, numpy's and Python's generators, >= 0.
    """
    with restored(module):
        torch.manual_seed(seed)
        python_random.seed(seed)
        yield


@dataclass(frozen=True)
class _ChangedEntries:
    """The old values of the entries of a large tensor that changed, (count,), and their flat indices, (count,)."""

    places: Tensor
    values: Tensor


@dataclass
class _TensorCopy:
    """A tensor of a module, and a copy of its values.

    Args:
        tensor: The tensor itself.
        copy: Its values when the snapshot was taken, all or only those that changed since; None if none are needed.
    """

    tensor: Tensor
    copy: Tensor | _ChangedEntries | None

    def restored(self) -> Tensor:
        """Return the tensor itself, or one that has its old values."""
        if isinstance(self.copy, _ChangedEntries):
            whole = self.tensor.detach().clone()
            whole.view(-1)[self.copy.places] = self.copy.values
            return whole
        return self.tensor if self.copy is None else self.copy.clone()


class ModuleSnapshot:
    """The buffers and plain attributes of a module and its submodules at one moment.

    Args:
        module: The module, as it is now.
        copied: Whether values that can be changed in place are copied; otherwise the same objects are put back.
    """

    def __init__(self, module: nn.Module, *, copied: bool = True) -> None:
        self._copied = copied
        self._tensors: list[tuple[dict[str, Any], str, _TensorCopy]] = []
        self._values: list[tuple[dict[str, Any], dict[str, Any]]] = []
        for part in module.modules():
            plain = {name: value for name, value in vars(part).items() if name not in _OF_EVERY_MODULE}
            for holder, values in ((part._buffers, dict(part._buffers)), (vars(part), plain)):
                for name, tensor in [(n, value) for n, value in values.items() if isinstance(value, Tensor)]:
                    del values[name]
                    kept = tensor.detach().clone() if copied and not tensor.requires_grad else None
                    self._tensors.append((holder, name, _TensorCopy(tensor, kept)))
                self._values.append((holder, {n: _copy(v) if copied else v for n, v in values.items()}))

    def entries(self) -> dict[str, Any]:
        """Return all values by `POSITION NAME`: tensors as they were, then attributes."""
        tensors = {
            f"{i} {name}": stored.tensor if stored.copy is None else stored.copy
            for i, (_, name, stored) in enumerate(self._tensors)
        }
        values = {f"{i} {name}": v for i, (_, values) in enumerate(self._values) for name, v in values.items()}
        return tensors | values

    def drop_unchanged(self, *, whole: bool) -> None:
        """Drop the copies of tensors that have not changed, and reduce those of large ones to the entries that changed.

        Args:
            whole: Whether to keep all copies as they are.
        """
        for _, _, stored in self._tensors:
            copy = stored.copy
            if whole or not isinstance(copy, Tensor) or (copy.is_cuda and copy.nbytes <= _WHOLE_BYTES):
                continue  # a comparison would wait for the GPU
            if torch.equal(copy, stored.tensor):  # versions do not show it: batch_norm changes values without a new one
                stored.copy = None
            elif copy.nbytes > _WHOLE_BYTES:
                stored.copy = _changed_entries(copy, stored.tensor)

    def restore(self) -> None:
        """Give the module back what it had when the snapshot was taken."""
        for holder, values in self._values:
            tensors = {name for other, name, _ in self._tensors if other is holder}
            own = _OF_EVERY_MODULE if "_buffers" in holder else frozenset()
            for name in [n for n in holder if n not in own and n not in values and n not in tensors]:
                del holder[name]
            holder.update({name: _copy(value) if self._copied else value for name, value in values.items()})
        for holder, name, stored in self._tensors:
            holder[name] = stored.restored()


def _changed_entries(before: Tensor, after: Tensor) -> Tensor | _ChangedEntries:
    """Return the changed entries of a tensor, or all of its old values if these take no more bytes."""
    if not after.is_contiguous() or before.shape != after.shape:
        return before
    places = (before != after).view(-1).nonzero()[:, 0]
    values = before.view(-1)[places]
    return _ChangedEntries(places, values) if places.nbytes + values.nbytes < before.nbytes else before


def _copy(value: Any) -> Any:
    """Return a container with the same contents, a generator in the same state, and anything else itself."""
    if isinstance(value, torch.Generator):
        again = torch.Generator(value.device)
        again.set_state(value.get_state())
        return again
    if type(value) in _CONTAINERS:
        return copy.copy(value)
    return copy.deepcopy(value) if isinstance(value, _GENERATORS) else value
