"""What a step reads besides tensors: a trace contains them for ever, so a plan is valid only until they change.

The attributes of the model's modules are looked up by the names in the code that `step` and `input_projection` can
reach, as are numbers of classes, of the files of that code, and of the functions around it.
"""

import collections
import enum
import functools
import inspect
import types
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from weakref import WeakKeyDictionary

import numpy
from torch import Tensor, nn

_LIBRARIES = ("torch", "numpy", "math", "builtins", "typing", "stablebench")
"""Packages whose code is not followed: it keeps nothing that changes but numbers in attributes."""
_PLAIN_TYPES = (bool, int, float, complex, str, bytes, type(None))
_MAX_ITEMS = 4096
"""Items of a container that are looked at; of a longer one its length."""
_SEQUENCES = (list, tuple, set, frozenset, collections.deque)
_MAX_DEPTH = 4
_METHODS = frozenset({"step", "input_projection", "recurrent_weights", "terms", "forward"})
"""Methods that an instance may have a replacement of."""

Look = Callable[[], Any]


@dataclass
class _Reading:
    """What code can read.

    Args:
        names: Of attributes.
        looks: Return the values of all else.
        replacements: Methods that instances have in place of their class's.
    """

    replacements: list[Any]
    names: set[str] = field(default_factory=set)
    looks: list[Look] = field(default_factory=list)


_readings: WeakKeyDictionary[nn.Module, _Reading] = WeakKeyDictionary()


def read_values(model: nn.Module) -> tuple[Any, ...]:
    """Return, hashable, what the step of a model may read as plain values.

    Args:
        model: The model; its `step` and `input_projection` are followed.
    """
    reading = _readings.get(model)
    replacements = [vars(module)[name] for module in model.modules() for name in _METHODS & vars(module).keys()]
    if reading is None or reading.replacements != replacements:
        reading = _readings[model] = _reading(model, replacements)
    own = [
        (name, value if isinstance(value, _PLAIN_TYPES) else frozen(value))
        for module in model.modules()
        for name, value in vars(module).items()
        if (isinstance(value, _PLAIN_TYPES) and value is not None) or name in reading.names
    ]
    return tuple(own), tuple(map(frozen, replacements)), tuple(frozen(look()) for look in reading.looks)


def frozen(value: Any, depth: int = _MAX_DEPTH) -> Any:
    """Return something hashable that differs where a value does: of tensors the shape, of functions which they are."""
    if isinstance(value, enum.Enum) or isinstance(value, _PLAIN_TYPES):
        return value
    if isinstance(value, Tensor):
        return tuple(value.shape), value.dtype
    if isinstance(value, numpy.ndarray | numpy.generic):
        return value.dtype.str, value.tobytes() if value.size <= _MAX_ITEMS else value.shape
    if depth == 0:
        return type(value).__qualname__
    if isinstance(value, bytearray):
        return bytes(value)
    if isinstance(value, (*_SEQUENCES, dict, types.MappingProxyType)):
        if len(value) > _MAX_ITEMS:
            return type(value).__qualname__, len(value)
        if isinstance(value, dict | types.MappingProxyType):
            return tuple((frozen(k, depth - 1), frozen(v, depth - 1)) for k, v in value.items())
        items = [frozen(item, depth - 1) for item in value]
        return frozenset(items) if isinstance(value, set | frozenset) else tuple(items)
    if isinstance(value, functools.partial):
        return frozen(value.func), frozen(value.args, depth - 1), frozen(value.keywords, depth - 1)
    if isinstance(value, types.FunctionType):
        return value, frozen(vars(value), depth - 1), frozen(value.__defaults__, depth - 1)  # it, which keeps its id
    if isinstance(value, type) and not _of_library(value.__module__) and not issubclass(value, nn.Module):
        plain = {k: v for k, v in vars(value).items() if not k.startswith("__") and _function(v) is None}
        return value, frozen(plain, depth - 1)
    if isinstance(value, types.MethodType | type | types.ModuleType):
        return value
    if isinstance(value, nn.Module) or _of_library(type(value).__module__):
        return type(value).__qualname__
    inner = dict(getattr(value, "__dict__", {}))
    for kind in type(value).__mro__:
        slots = vars(kind).get("__slots__", ())
        inner |= {n: getattr(value, n, None) for n in ((slots,) if isinstance(slots, str) else slots)}
    if not inner:  # an object whose parts cannot be seen, such as a fraction: what it says of itself
        return type(value).__qualname__, id(value) if type(value).__repr__ is object.__repr__ else repr(value)
    return type(value).__qualname__, frozen(inner, depth - 1)


def _of_library(module: str | None) -> bool:
    return (module or "builtins").partition(".")[0] in _LIBRARIES


def _reading(model: nn.Module, replacements: list[Any]) -> _Reading:
    """Follow the code of a model's `step` and `input_projection`, and of its parts' forward."""
    reading, seen = _Reading(replacements), set[int]()
    parts = list(model.modules())
    waiting: list[Any] = [getattr(model, name, None) for name in ("step", "input_projection", "terms")]
    waiting += [part.forward for part in parts if part is not model]
    while waiting:
        function = _function(waiting.pop())
        if function is None or id(function) in seen or _of_library(function.__module__):
            continue
        seen.add(id(function))
        names = set(_names(function.__code__))
        reading.names |= names
        for cell in function.__closure__ or ():
            _meet(lambda cell=cell: _content(cell), names, reading, waiting)
        for name in names & function.__globals__.keys():
            _meet(lambda namespace=function.__globals__, name=name: namespace.get(name), names, reading, waiting)
        for part in parts:
            for namespace in (vars(part), *(vars(c) for c in type(part).__mro__ if not _of_library(c.__module__))):
                for name in names & namespace.keys():
                    if namespace is vars(part):  # its plain values are looked at anyway
                        waiting.append(namespace[name])
                    else:
                        _meet(lambda namespace=namespace, name=name: namespace.get(name), names, reading, waiting)
    return reading


def _content(cell: Any) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # it is empty yet
        return None


def _meet(look: Look, names: set[str], reading: _Reading, waiting: list[Any]) -> None:
    """Follow a value that code can reach: code is followed, of a module what is named, of all else the value."""
    value = look()
    if isinstance(value, types.ModuleType):
        namespace: Mapping[str, Any] = vars(value)
        for name in names & namespace.keys() if not _of_library(value.__name__) else ():
            if not isinstance(namespace[name], types.ModuleType):
                _meet(lambda name=name: namespace.get(name), names, reading, waiting)
    elif isinstance(value, type):
        if not _of_library(value.__module__) and not issubclass(value, nn.Module):
            waiting += vars(value).values()
            reading.looks.append(look)
    elif _function(value) is not None:
        waiting.append(value)
    elif not isinstance(value, Tensor | nn.Module):
        reading.looks.append(look)


def _function(value: Any) -> types.FunctionType | None:
    """Return the plain function behind a method, a property or a decorator, or None of anything else."""
    if isinstance(value, property):
        value = value.fget
    value = getattr(value, "__func__", value)
    if callable(value) and hasattr(value, "__wrapped__"):
        value = inspect.unwrap(value)
    return value if isinstance(value, types.FunctionType) else None


def _names(code: types.CodeType) -> Iterator[str]:
    """Yield the names that code, and the functions within it, mention, those in strings included."""
    yield from code.co_names
    yield from code.co_freevars
    for constant in code.co_consts:
        if isinstance(constant, str):
            yield constant
        elif isinstance(constant, types.CodeType):
            yield from _names(constant)
