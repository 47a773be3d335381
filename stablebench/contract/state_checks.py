"""Checks of a model's state: registered parts, changes by a pass, random draws, copies and state dicts."""

import copy
import inspect
import pickle
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from stablebench import engines
from stablebench.contract.checked_model import CheckedModel, network_of, run, run_from
from stablebench.contract.layer_model import LayerModel
from stablebench.contract.result import CheckResult
from stablebench.errors import ContractError
from stablebench.models.contract import check_class, place_of
from stablebench.models.recompute import ModuleSnapshot
from stablebench.models.registry import BUILT
from stablebench.models.restore import restored
from stablebench.process import python_random

_DEEPEST = 4
"""Containers within containers that are searched."""


def constructor(subject: CheckedModel) -> CheckResult:
    """Check the constructor's names and annotations, and that no method is overridden that engines do not call."""
    cls = subject.entry.cls
    try:
        check_class(cls, subject.entry.name, BUILT)
    except ContractError as error:
        return CheckResult("constructor and forward", "broken", str(error))
    bare = [
        name
        for name, parameter in inspect.signature(cls).parameters.items()
        if parameter.annotation is parameter.empty and name not in BUILT
    ]
    if bare:
        message = f"{', '.join(f'`{name}`' for name in bare)} without annotation: of the type of the default"
        return CheckResult("constructor and forward", message=message, place=place_of(cls.__init__))
    return CheckResult("constructor and forward")


def registered(subject: CheckedModel) -> CheckResult:
    """Look for parameters and modules in plain lists, dictionaries and tuples, which are neither trained nor saved."""
    name = "registered parts"
    model = subject.build()
    known = {id(thing) for thing in (*model.modules(), *model.parameters(), *model.buffers())}
    lost = [
        f"`{attribute}`"
        for part in model.modules()
        for attribute, value in vars(part).items()
        if attribute not in _OF_TORCH and any(id(thing) not in known for thing in _trainable(value, _DEEPEST))
    ]
    if lost:
        message = f"{', '.join(dict.fromkeys(lost))}: parameters that are not registered are neither trained nor saved"
        way = "; take nn.ModuleList, nn.ParameterList or nn.ParameterDict"
        return CheckResult(name, "broken", message + way, place_of(subject.entry.cls.__init__))
    return CheckResult(name)


_OF_TORCH = frozenset(vars(nn.Module()))


def _trainable(value: Any, depth: int) -> Iterator[Any]:
    """Yield the parameters, and the modules that have some, in a value."""
    if isinstance(value, nn.Module):
        if any(True for _ in value.parameters()):
            yield value
    elif isinstance(value, Tensor):
        if value.requires_grad:
            yield value
    elif depth and isinstance(value, list | tuple | set | dict):
        for part in value.values() if isinstance(value, dict) else value:
            yield from _trainable(part, depth - 1)


def changed_by_a_pass(subject: CheckedModel) -> CheckResult:
    """Report which buffers and attributes a pass changes."""
    name = "changes by a pass"
    model = subject.build()
    changed: dict[str, list[str]] = {}
    for mode in ("training", "evaluation"):
        with restored(model), torch.no_grad():
            model.train(mode == "training")
            before = ModuleSnapshot(model).entries()
            run(model, subject.inputs(model))
            after = ModuleSnapshot(model).entries()
            keys = dict.fromkeys([*before, *after])
            changed[mode] = [key.split(" ", 1)[-1] for key in keys if not _same(before.get(key), after.get(key))]
    message = "; ".join(f"in {mode}: {', '.join(dict.fromkeys(keys))}" for mode, keys in changed.items() if keys)
    if not message:
        return CheckResult(name)
    buffers = {key.rpartition(".")[2] for key, _ in model.named_buffers()}
    meant = not changed["evaluation"] and set(changed["training"]) <= buffers
    return CheckResult(name, "ok" if meant else "warning", message, "" if meant else subject.place(subject.equation))


def _same(a: Any, b: Any) -> bool:
    if isinstance(a, Tensor) and isinstance(b, Tensor):
        return a.shape == b.shape and torch.equal(a, b)
    if isinstance(a, bool | int | float | str) or isinstance(b, bool | int | float | str):
        return type(a) is type(b) and bool(a == b)
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b)
    return (a is None) == (b is None)


def same_numbers(subject: CheckedModel) -> CheckResult:
    """Build and run the model twice from one seed."""
    name = "same seed, same numbers"
    first, second = subject.build(), subject.build()
    ours, theirs = first.state_dict(), second.state_dict()
    for key, value in ours.items():
        if not torch.equal(value, theirs[key]):
            message = f"built twice from one seed, `{key}` differs"
            return CheckResult(name, "warning", message, place_of(subject.entry.cls.__init__))
    one, other = (run_from(model, subject.inputs(model)) for model in (first, second))
    if torch.equal(one.outputs.nan_to_num(), other.outputs.nan_to_num()):
        return CheckResult(name)
    return CheckResult(name, "warning", "run twice from one seed, its outputs differ", subject.place(subject.equation))


def draws(subject: CheckedModel) -> CheckResult:
    """Report random numbers that are not drawn from torch."""
    name = "random numbers"
    with python_random.kept():
        before = python_random.states()
        with torch.random.fork_rng(devices=[]):
            model = subject.build_here()
        with restored(model), torch.no_grad():
            start = python_random.states()
            run(model, subject.inputs(model))
            after = python_random.states()
    drawn = {key for a, b in ((before, start), (start, after)) for key in a if not torch.equal(a[key], b[key])}
    if drawn:
        message = (
            f"drawn from {' and '.join(sorted(drawn))}: the fused engine cannot, and on a GPU they cost a transfer"
        )
        return CheckResult(name, "warning", message, subject.place(subject.equation))
    return CheckResult(name)


def copies(subject: CheckedModel) -> CheckResult:
    """Copy the model, pickle it, and put its state_dict into another one."""
    name = "copies"
    model = subject.build()
    x = subject.inputs(model)
    expected = run_from(model, x, training=False).outputs
    other = subject.build(1)
    try:
        other.load_state_dict(model.state_dict())
    except Exception as error:
        return CheckResult(name, "broken", f"load_state_dict fails with {type(error).__name__}: {str(error)[:200]}")
    again = run_from(other, x, training=False).outputs
    if not torch.allclose(again, expected, rtol=1e-4, atol=1e-5, equal_nan=True):
        message = "with the state_dict of another one, outputs differ: something random is no parameter and no buffer"
        return CheckResult(name, "warning", message, place_of(subject.entry.cls.__init__))
    what = "copy.deepcopy"
    try:
        of_copy = run_from(copy.deepcopy(model), x, training=False).outputs
        what = "pickle.dumps"
        pickle.dumps(model)
    except Exception as error:
        return CheckResult(name, "warning", f"{what} fails with {type(error).__name__}: {str(error)[:200]}")
    if not torch.equal(of_copy, expected):
        return CheckResult(name, "warning", "after copy.deepcopy its outputs differ")
    return CheckResult(name)


def engine(subject: CheckedModel) -> CheckResult:
    """Report which engine `auto` chooses on a CPU, and why not a faster one."""
    model = subject.build()
    assert not isinstance(model, LayerModel)
    choice = engines.choose("auto", network_of(model), torch.device("cpu"))
    return CheckResult("engine", message=choice.note or choice.name)
