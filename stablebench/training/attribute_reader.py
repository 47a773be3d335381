"""Puts what the attributes of modules have back in place (`attributes.take` holds it)."""

import collections
import random
from collections.abc import Callable
from itertools import chain, repeat
from operator import is_
from typing import Any

import numpy
import torch
from torch import Tensor, nn

from stablebench.runs.checkpoint import why_not_stored
from stablebench.training.attributes import DICTS, Held, class_of, modules_of, own_attributes, registered


def put_back(models: dict[str, nn.Module], held: Held) -> list[str]:
    """Give the modules of models what `take` returned, and return the attributes that could not be given back."""
    modules = modules_of(models)
    reader = _Reader(modules, held.tensors)
    for name, module in modules.items():
        if name in held.document:
            reader.attributes(held.document[name], module, name)
    return reader.lost


def decoded(held: Held, path: str) -> Any:
    """Return the value that `encoded` was given."""
    return _Reader({}, held.tensors).value(held.document["value"], None, path)


class _Reader:
    def __init__(self, modules: dict[str, nn.Module], tensors: dict[str, Tensor]) -> None:
        self.known = dict(registered(modules))
        self.tensors = tensors
        self.lost: list[str] = []
        self._made: dict[str, Any] = {}

    def attributes(self, document: dict[str, Any], owner: Any, path: str) -> None:
        """Give an object its attributes, and remove those that it did not have."""
        before = own_attributes(owner, registered=path in self.known)
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
        if kind in ("float", "complex", "bytes"):
            return {"float": float, "complex": complex, "bytes": bytes.fromhex}[kind](content)
        if kind == "registered":
            return self.known[content]
        if kind == "again":
            return self._made[content]
        read: dict[str, Callable[..., Any]] = {
            **dict.fromkeys(("list", "tuple", "deque", "set", "frozenset"), self._sequence),
            **dict.fromkeys(DICTS, self._dict),
            **{"tensor": self._tensor, "array": self._array, "scalar": self._array, "object": self._object},
        }
        self._made[path] = old
        value = read.get(kind, self._generator)(token, kind, old, path)
        self._made[path] = value
        return value

    def _sequence(self, token: Any, kind: str, old: Any, path: str) -> Any:
        items, before = token[kind], list(old) if isinstance(old, list | tuple | collections.deque) else []
        made: Any = None  # one that cannot be changed is made of its items
        if kind == "list":
            made = old if type(old) is list else []
        elif kind == "deque":
            fits = type(old) is collections.deque and old.maxlen == token["maxlen"]
            made = old if fits else collections.deque(maxlen=token["maxlen"])
        self._made[path] = made
        there = chain(before, repeat(None))
        values = [self.value(item, was, f"{path}.{i}") for i, (item, was) in enumerate(zip(items, there, strict=False))]
        if made is not None:
            made.clear()
            made.extend(values)
            return made
        if kind == "tuple":
            same = isinstance(old, tuple) and len(old) == len(values) and all(map(is_, old, values))
            return old if same else tuple(values)
        return {"set": set, "frozenset": frozenset}[kind](values)

    def _dict(self, token: Any, kind: str, old: Any, path: str) -> Any:
        made = old if type(old) is DICTS[kind] else DICTS[kind]()
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
        if old is None or class_of(old) != token["class"]:  # made while training, and how is not known here
            self.lost.append(path)
            return old
        self.attributes(token["object"], old, path)
        return old


@torch.no_grad()
def write(target: Tensor, values: Tensor) -> None:
    """Give a tensor the values of another of its shape, in place, also where several entries share a place in memory.

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
    """Return whether several entries of a tensor share a place in memory, as those of an expanded one do."""
    return any(size > 1 and stride == 0 for size, stride in zip(tensor.shape, tensor.stride(), strict=True))
