"""The state of a model outside its parameters and buffers: what its modules have as plain attributes.

Numbers, strings, containers, tensors, arrays, generators of random numbers, and objects of classes written in Python
are held as JSON and tensors, and put back in place by `attribute_reader`; what two attributes share is shared
afterwards.
Anything else (a function, an open file, an iterator) cannot be held; only a change of it is noticed.
"""

import collections
import enum
import hashlib
import math
import pickle
import random
import warnings
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any, TypeGuard

import numpy
import torch
from torch import Tensor, nn

from stablebench.runs.checkpoint import why_not_stored

_OF_EVERY_MODULE = frozenset(vars(nn.Module()))
"""What torch keeps in a module: parameters, buffers and parts, hooks, and its mode."""
_MOST_BYTES = 2**24
"""Bytes that are compared at most to notice a change of something that cannot be held."""
_HEAP_TYPE = 1 << 9
"""Flag of classes written in Python (Py_TPFLAGS_HEAPTYPE)."""


class _Plain:
    """An object that has nothing but attributes; a larger one holds more."""


DICTS: dict[str, type[dict[Any, Any]]] = {
    "dict": dict,
    "ordered": collections.OrderedDict,
    "counter": collections.Counter,
    "defaultdict": collections.defaultdict,
}


@dataclass(frozen=True)
class Opaque:
    """Something that cannot be held.

    Args:
        value: The object, so that another one in its place is recognised.
        content: Digest of its content; None where that cannot be seen.
    """

    value: Any
    content: str | None

    def differs(self, before: "Opaque") -> bool:
        """Return whether it has changed; an iterator whose content cannot be seen always counts as changed."""
        if hasattr(self.value, "__next__") and self.content is None:
            return True
        if self.content is not None and before.content is not None:
            return self.content != before.content
        return self.value is not before.value


@dataclass(frozen=True)
class Held:
    """The values of attributes.

    Args:
        document: Everything that JSON can hold.
        tensors: Tensors by the path of their attribute, not copied.
        opaque: Objects that cannot be held, by path.
    """

    document: dict[str, Any] = field(default_factory=dict)
    tensors: dict[str, Tensor] = field(default_factory=dict)
    opaque: dict[str, Opaque] = field(default_factory=dict)


def modules_of(models: dict[str, nn.Module]) -> dict[str, nn.Module]:
    """Return all modules in models, each once, by name."""
    modules: dict[str, nn.Module] = {}
    for name, model in models.items():
        modules |= {f"{name}.{inner}" if inner else name: module for inner, module in model.named_modules()}
    return modules


def take(models: dict[str, nn.Module]) -> Held:
    """Return what the modules of models have outside their state dict.

    Args:
        models: By name.
    """
    modules = modules_of(models)
    writer = _Writer(modules)
    document = {name: writer.attributes(module, name, registered=True) for name, module in modules.items()}
    return Held(document, writer.tensors, writer.opaque)


def encoded(value: Any, path: str) -> Held:
    """Return one value as JSON (under `value`) and tensors."""
    writer = _Writer({})
    return Held({"value": writer.value(value, path)}, writer.tensors, writer.opaque)


def registered(modules: dict[str, nn.Module]) -> Iterator[tuple[str, Any]]:
    """Yield what the state dict has, by name, and the modules themselves."""
    for name, module in modules.items():
        yield name, module
        passing = module._non_persistent_buffers_set
        for key, tensor in (*module._parameters.items(), *module._buffers.items()):
            if tensor is not None and key not in passing:
                yield f"{name}.{key}", tensor


def own_attributes(module: Any, registered: bool) -> dict[str, Any]:
    """Return the attributes of a module, or of another object, that are to be held."""
    if not isinstance(module, nn.Module):
        return dict(vars(module))
    own = {key: value for key, value in vars(module).items() if key not in _OF_EVERY_MODULE}
    inner = module._buffers if registered else module._parameters | module._buffers | module._modules
    own |= {key: value for key, value in inner.items() if not registered or key in module._non_persistent_buffers_set}
    return own


def _is_numbers(value: Any) -> TypeGuard[numpy.generic | numpy.ndarray]:
    """Return whether a value is numpy's and only numbers; a subclass, such as a masked array, has more."""
    if not isinstance(value, numpy.generic) and type(value) is not numpy.ndarray:
        return False
    return not value.dtype.hasobject and value.dtype.names is None


def _is_plain_object(value: Any) -> bool:
    """Return whether an object of a class written in Python has nothing but its attributes.

    Classes written in C may look alike (functools.partial does), but are larger, or say how they are to be copied.
    """
    kind = type(value)
    plain = all(c.__flags__ & _HEAP_TYPE and "__slots__" not in vars(c) for c in kind.__mro__[:-1])
    plain = plain and kind.__basicsize__ <= _Plain.__basicsize__ and kind.__reduce__ is object.__reduce__
    return plain and hasattr(value, "__dict__") and not callable(getattr(value, "__next__", None))


class _Writer:
    def __init__(self, modules: dict[str, nn.Module]) -> None:
        self.known = {id(value): name for name, value in registered(modules)}
        self.tensors: dict[str, Tensor] = {}
        self.opaque: dict[str, Opaque] = {}
        self._seen: dict[int, str] = {}
        self._alive: list[Any] = []  # an id stands for one object as long as that is there

    def attributes(self, owner: Any, path: str, registered: bool) -> dict[str, Any]:
        return {key: self.value(value, f"{path}.{key}") for key, value in own_attributes(owner, registered).items()}

    def value(self, value: Any, path: str) -> Any:
        if value is None or type(value) in (bool, int, str) or (type(value) is float and math.isfinite(value)):
            return value
        if type(value) in (float, complex, bytes):
            return {type(value).__name__: value.hex() if isinstance(value, bytes) else repr(value)}
        if id(value) in self.known:
            return {"registered": self.known[id(value)]}
        if id(value) in self._seen:
            return {"again": self._seen[id(value)]}
        self._seen[id(value)] = path
        self._alive.append(value)
        return self._container(value, path) or self._numbers(value, path) or self._object(value, path)

    def _container(self, value: Any, path: str) -> dict[str, Any] | None:
        kind = type(value)
        if kind in (list, tuple, collections.deque):
            items = [self.value(item, f"{path}.{i}") for i, item in enumerate(value)]
            return {kind.__name__: items} | ({"maxlen": value.maxlen} if kind is collections.deque else {})
        if kind in (set, frozenset):
            if all(item is None or type(item) in (bool, int, str) for item in value):
                return {kind.__name__: sorted(value, key=lambda item: (type(item).__name__, str(item)))}
            return None
        if kind in DICTS.values():
            keys = [self.value(key, f"{path} key {i}") for i, key in enumerate(value)]
            items = [self.value(item, f"{path}.{i}") for i, item in enumerate(value.values())]
            name = next(name for name, known in DICTS.items() if known is kind)
            return {name: [list(pair) for pair in zip(keys, items, strict=True)]}
        return None

    def _numbers(self, value: Any, path: str) -> dict[str, Any] | None:
        """Return what stands for tensors, arrays, and generators of random numbers."""
        if isinstance(value, Tensor) and why_not_stored(value) is None:
            self.tensors[path] = value
            return {"tensor": path, "device": value.device.type, "gradient": value.requires_grad}
        if _is_numbers(value):
            self.tensors[path] = torch.tensor(list(value.tobytes()), dtype=torch.uint8)
            kind = "array" if isinstance(value, numpy.ndarray) else "scalar"
            return {kind: path, "dtype": value.dtype.str, "shape": list(value.shape)}
        if type(value) is random.Random:
            return {"random": self.value(value.getstate(), f"{path} state")}
        if isinstance(value, numpy.random.Generator):
            bits = value.bit_generator
            return {"generator": type(bits).__name__, "state": self.value(bits.state, f"{path} state")}
        if isinstance(value, numpy.random.RandomState):
            return {"random_state": self.value(value.get_state(legacy=False), f"{path} state")}
        if isinstance(value, torch.Generator):
            self.tensors[path] = value.get_state()
            return {"torch_generator": path, "device": str(value.device)}
        return None

    def _object(self, value: Any, path: str) -> dict[str, Any]:
        plain = not isinstance(value, type | ModuleType | enum.Enum) and _is_plain_object(value)
        if plain or isinstance(value, nn.Module):
            return {"object": self.attributes(value, path, registered=False), "class": class_of(value)}
        self.opaque[path] = Opaque(value, _content(value))
        return {"opaque": type(value).__name__}


def class_of(value: Any) -> str:
    """Return the full name of an object's class."""
    return f"{type(value).__module__}.{type(value).__qualname__}"


class _Digest:
    """A file that digests what is pickled into it, up to a limit."""

    def __init__(self) -> None:
        self.sha256, self.left = hashlib.sha256(), _MOST_BYTES

    def write(self, data: bytes) -> int:
        self.left -= len(data)
        if self.left < 0:
            raise ValueError
        self.sha256.update(data)
        return len(data)


def _content(value: Any) -> str | None:
    """Return a digest of an object, or None if it cannot be pickled."""
    digest = _Digest()
    with warnings.catch_warnings(action="ignore"), suppress(Exception):  # whatever a class of the user's raises there
        pickle.Pickler(digest).dump(value)
        return digest.sha256.hexdigest()
    return None
