"""The state of a model outside its parameters and buffers: what its modules have as plain attributes.

Numbers, strings, containers, tensors, arrays, generators of random numbers, and objects of classes written in Python
are held as JSON and tensors, and put back in place: what two attributes share is shared afterwards. What else there is
(a function, an open file, an iterator) cannot be held; of it is noticed only that it changed.
"""

import collections
import enum
import hashlib
import math
import pickle
import random
import warnings
from collections.abc import Callable, Iterator
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
"""Bytes that are looked at to notice a change of what cannot be held."""
_HEAP_TYPE = 1 << 9
"""Flag of classes written in Python (Py_TPFLAGS_HEAPTYPE)."""


class _Plain:
    """As large as an object can be that has nothing but attributes."""


_DICTS: dict[str, type[dict[Any, Any]]] = {
    "dict": dict,
    "ordered": collections.OrderedDict,
    "counter": collections.Counter,
    "defaultdict": collections.defaultdict,
}


@dataclass(frozen=True)
class Opaque:
    """Something that cannot be held.

    Args:
        value: It itself, so that another in its place is told apart.
        content: Digest of what it has in it; None where that cannot be seen.
    """

    value: Any
    content: str | None

    def differs(self, before: "Opaque") -> bool:
        """Return whether it is not as it was; of an iterator that cannot be seen, so it counts as changed."""
        if hasattr(self.value, "__next__") and self.content is None:
            return True
        if self.content is not None and before.content is not None:
            return self.content != before.content
        return self.value is not before.value


@dataclass(frozen=True)
class Held:
    """What attributes have.

    Args:
        document: What JSON can hold.
        tensors: Tensors by the path of the attribute that has them, not copied.
        opaque: What cannot be held, by path.
    """

    document: dict[str, Any] = field(default_factory=dict)
    tensors: dict[str, Tensor] = field(default_factory=dict)
    opaque: dict[str, Opaque] = field(default_factory=dict)


def modules_of(models: dict[str, nn.Module]) -> dict[str, nn.Module]:
    """Return all modules in models, each once, by name."""
    found: dict[str, nn.Module] = {}
    for name, model in models.items():
        found |= {f"{name}.{inner}" if inner else name: module for inner, module in model.named_modules()}
    return found


def take(models: dict[str, nn.Module]) -> Held:
    """Return what the modules of models have beside their state dict.

    Args:
        models: By name.
    """
    modules = modules_of(models)
    writer = _Writer(modules)
    document = {name: writer.attributes(module, name, registered=True) for name, module in modules.items()}
    return Held(document, writer.tensors, writer.opaque)


def put_back(models: dict[str, nn.Module], held: Held) -> list[str]:
    """Give the modules of models what `take` returned, and return the attributes that could not be given back."""
    modules = modules_of(models)
    reader = _Reader(modules, held.tensors)
    for name, module in modules.items():
        if name in held.document:
            reader.attributes(held.document[name], module, name)
    return reader.lost


def encoded(value: Any, path: str) -> Held:
    """Return one value as JSON (under `value`) and tensors."""
    writer = _Writer({})
    return Held({"value": writer.value(value, path)}, writer.tensors, writer.opaque)


def decoded(held: Held, path: str) -> Any:
    """Return the value that `encoded` was given."""
    return _Reader({}, held.tensors).value(held.document["value"], None, path)


def _registered(modules: dict[str, nn.Module]) -> Iterator[tuple[str, Any]]:
    """Yield what the state dict has, by name, and the modules themselves."""
    for name, module in modules.items():
        yield name, module
        passing = module._non_persistent_buffers_set
        for key, tensor in (*module._parameters.items(), *module._buffers.items()):
            if tensor is not None and key not in passing:
                yield f"{name}.{key}", tensor


def _own(module: Any, registered: bool) -> dict[str, Any]:
    """Return the attributes of a module, or of another object, that are to be held."""
    if not isinstance(module, nn.Module):
        return dict(vars(module))
    own = {key: value for key, value in vars(module).items() if key not in _OF_EVERY_MODULE}
    inner = module._buffers if registered else module._parameters | module._buffers | module._modules
    own |= {key: value for key, value in inner.items() if not registered or key in module._non_persistent_buffers_set}
    return own


def _is_numbers(value: Any) -> TypeGuard[numpy.generic | numpy.ndarray]:
    """Return whether a value is numpy's and numbers alone; a subclass, such as a masked array, has more."""
    if not isinstance(value, numpy.generic) and type(value) is not numpy.ndarray:
        return False
    return not value.dtype.hasobject and value.dtype.names is None


def _is_plain_object(value: Any) -> bool:
    """Return whether an object is of a class written in Python whose attributes are all that it has.

    Classes written in C may look alike (functools.partial does), but are larger, or say how they are to be copied.
    """
    kind = type(value)
    plain = all(c.__flags__ & _HEAP_TYPE and "__slots__" not in vars(c) for c in kind.__mro__[:-1])
    plain = plain and kind.__basicsize__ <= _Plain.__basicsize__ and kind.__reduce__ is object.__reduce__
    return plain and hasattr(value, "__dict__") and not callable(getattr(value, "__next__", None))


class _Writer:
    def __init__(self, modules: dict[str, nn.Module]) -> None:
        self.known = {id(value): name for name, value in _registered(modules)}
        self.tensors: dict[str, Tensor] = {}
        self.opaque: dict[str, Opaque] = {}
        self._seen: dict[int, str] = {}
        self._alive: list[Any] = []  # an id stands for one object as long as that is there

    def attributes(self, owner: Any, path: str, registered: bool) -> dict[str, Any]:
        return {key: self.value(value, f"{path}.{key}") for key, value in _own(owner, registered).items()}

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
        for name, known in _DICTS.items():
            if kind is known:
                keys = [self.value(key, f"{path} key {i}") for i, key in enumerate(value)]
                return {name: [[k, self.value(v, f"{path}.{i}")] for i, (k, v) in enumerate(zip(keys, value.values()))]}  # noqa: B905
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
        if isinstance(value, nn.Module):
            return {"object": self.attributes(value, path, registered=False), "class": _class_of(value)}
        if not isinstance(value, type | ModuleType | enum.Enum) and _is_plain_object(value):
            return {"object": self.attributes(value, path, registered=False), "class": _class_of(value)}
        self.opaque[path] = Opaque(value, _content(value))
        return {"opaque": type(value).__name__}


class _Reader:
    def __init__(self, modules: dict[str, nn.Module], tensors: dict[str, Tensor]) -> None:
        self.known = dict(_registered(modules))
        self.tensors = tensors
        self.lost: list[str] = []
        self._made: dict[str, Any] = {}

    def attributes(self, document: dict[str, Any], owner: Any, path: str) -> None:
        """Give an object its attributes, and take those that it has not had."""
        before = _own(owner, registered=path in self.known)
        for key in before.keys() - document.keys():
            delattr(owner, key)
        for key, token in document.items():
            old = before.get(key)
            value = self.value(token, old, f"{path}.{key}")
            if value is not old or key not in before:
                (setattr if isinstance(owner, nn.Module) else object.__setattr__)(owner, key, value)  # also frozen ones

    def value(self, token: Any, old: Any, path: str) -> Any:
        """Return what a token stands for: `old`, which is there now, made equal to it, where it is of its kind."""
        if not isinstance(token, dict):
            return token
        kind, content = next(iter(token.items()))
        if kind in ("float", "complex"):
            return {"float": float, "complex": complex}[kind](content)
        if kind == "bytes":
            return bytes.fromhex(content)
        if kind == "registered":
            return self.known[content]
        if kind == "again":
            return self._made[content]
        read: dict[str, Callable[..., Any]] = {
            **dict.fromkeys(("list", "tuple", "deque", "set", "frozenset"), self._sequence),
            **dict.fromkeys(_DICTS, self._dict),
            **{"tensor": self._tensor, "array": self._array, "scalar": self._array, "object": self._object},
        }
        self._made[path] = old
        found = read.get(kind, self._generator)(token, kind, old, path)
        self._made[path] = found
        return found

    def _sequence(self, token: Any, kind: str, old: Any, path: str) -> Any:
        items, before = token[kind], old if isinstance(old, list | tuple | collections.deque) else ()
        if kind == "list":
            made: Any = old if type(old) is list else []
        elif kind == "deque":
            fits = type(old) is collections.deque and old.maxlen == token["maxlen"]
            made = old if fits else collections.deque(maxlen=token["maxlen"])
        else:
            made = None  # cannot be changed, so it is made of its items
        self._made[path] = made
        there = [*before, *[None] * (len(items) - len(before))]
        values = [self.value(item, was, f"{path}.{i}") for i, (item, was) in enumerate(zip(items, there, strict=False))]
        if made is not None:
            made.clear()
            made.extend(values)
            return made
        if kind == "tuple":
            same = isinstance(old, tuple) and len(old) == len(values) and all(map(_is, old, values))
            return old if same else tuple(values)
        return {"set": set, "frozenset": frozenset}[kind](values)

    def _dict(self, token: Any, kind: str, old: Any, path: str) -> Any:
        made = old if type(old) is _DICTS[kind] else _DICTS[kind]()
        self._made[path] = made
        before = list(made.items())
        pairs = {}
        for i, (key_token, value_token) in enumerate(token[kind]):
            key = self.value(key_token, before[i][0] if i < len(before) else None, f"{path} key {i}")
            pairs[key] = self.value(value_token, made.get(key), f"{path}.{i}")
        made.clear()
        made.update(pairs)
        return made

    def _tensor(self, token: Any, kind: str, old: Any, path: str) -> Tensor:
        saved = self.tensors[token["tensor"]]
        alike = isinstance(old, Tensor) and (old.shape, old.dtype) == (saved.shape, saved.dtype)
        if alike and old.requires_grad == token["gradient"] and why_not_stored(old) is None:
            write(old, saved)
            return old
        made = saved.clone().to(token["device"] if torch.cuda.is_available() else "cpu")
        return made.requires_grad_(token["gradient"])

    def _array(self, token: Any, kind: str, old: Any, path: str) -> Any:
        dtype, shape = numpy.dtype(token["dtype"]), token["shape"]
        saved = numpy.frombuffer(self.tensors[token[kind]].cpu().numpy().tobytes(), dtype).reshape(shape)
        if kind == "scalar":
            return saved[()]
        if type(old) is numpy.ndarray and (old.dtype, list(old.shape)) == (dtype, shape) and old.flags.writeable:
            old[...] = saved
            return old
        return saved.copy()

    def _generator(self, token: Any, kind: str, old: Any, path: str) -> Any:
        if kind == "random":
            made = old if type(old) is random.Random else random.Random()
            made.setstate(self.value(token[kind], None, f"{path} state"))
        elif kind == "generator":
            name = token["generator"]
            fits = isinstance(old, numpy.random.Generator) and type(old.bit_generator).__name__ == name
            made = old if fits else numpy.random.Generator(getattr(numpy.random, name)())
            made.bit_generator.state = self.value(token["state"], None, f"{path} state")
        elif kind == "random_state":
            made = old if isinstance(old, numpy.random.RandomState) else numpy.random.RandomState()
            made.set_state(self.value(token[kind], None, f"{path} state"))
        elif kind == "torch_generator":
            fits = isinstance(old, torch.Generator) and str(old.device) == token["device"]
            made = old if fits else torch.Generator(token["device"])
            made.set_state(self.tensors[token[kind]].cpu())
        else:  # cannot be held: what is there stays
            made = old
            self.lost += [] if old is not None else [path]
        return made

    def _object(self, token: Any, kind: str, old: Any, path: str) -> Any:
        if old is None or _class_of(old) != token["class"]:  # made while training, by what is not known here
            self.lost.append(path)
            return old
        self.attributes(token["object"], old, path)
        return old


def _is(a: Any, b: Any) -> bool:
    return a is b


def _class_of(value: Any) -> str:
    return f"{type(value).__module__}.{type(value).__qualname__}"


@torch.no_grad()
def write(target: Tensor, values: Tensor) -> None:
    """Give a tensor the values of another of its shape, in place, also where several of its entries lie on one place.

    Args:
        target: Any strided tensor: expanded, a view, lazily conjugated.
        values: The values; where entries of `target` are one, so are theirs.
    """
    target = target.detach()
    if target.is_contiguous() or target.is_conj() or target.is_neg() or target.numel() == 0:
        target.copy_(values)
        return
    extent = 1 + sum((size - 1) * stride for size, stride in zip(target.shape, target.stride(), strict=True))
    places = torch.arange(extent).as_strided(target.shape, target.stride()).reshape(-1)
    if len(places) == len(places.unique()):
        target.copy_(values)
        return
    flat = target.as_strided((extent,), (1,), target.storage_offset())
    flat[places.to(flat.device)] = values.to(flat.device).reshape(-1)


def overlaps(tensor: Tensor) -> bool:
    """Return whether several entries of a tensor lie on one place in memory, as those of an expanded one do."""
    return any(size > 1 and stride == 0 for size, stride in zip(tensor.shape, tensor.stride(), strict=True))


class _Digest:
    """What is pickled goes into a digest, up to a limit."""

    def __init__(self) -> None:
        self.sha256, self.left = hashlib.sha256(), _MOST_BYTES

    def write(self, data: bytes) -> int:
        self.left -= len(data)
        if self.left < 0:
            raise ValueError
        self.sha256.update(data)
        return len(data)


def _content(value: Any) -> str | None:
    """Return a digest of what can be pickled; None of anything else."""
    digest = _Digest()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            pickle.Pickler(digest).dump(value)
        except Exception:  # whatever a class of the user's raises there
            return None
    return digest.sha256.hexdigest()
