"""From keyword arguments to a request: the option names of the command line, with `_` for `-`."""

import functools
import inspect
import json
import operator
import os
import sys
from collections.abc import Callable, Iterable
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from stablebench import registry
from stablebench.errors import UserError, did_you_mean, unknown_name
from stablebench.models import registry as model_registry
from stablebench.models.user_code import origins
from stablebench.schema.dotted import dotted
from stablebench.schema.model_name import base_of, split_names
from stablebench.specs.request import OPTION_KEYS, RunRequest

Model = str | type[Any] | Callable[..., Any]
"""A registered name, `path/to/file.py:Class` or `package.module:Class`, also with arguments, `dizzy[activation=relu]`;
or a class of one of them, a functools.partial of it, or a function (in_features, hidden) that makes a cell."""


def request_of(
    model: Model | None, task: "str | os.PathLike[str] | None", options: dict[str, Any], others: Iterable[str] = ()
) -> RunRequest:
    """Return the request for one run.

    Args:
        model: The model.
        task: `task` or `task/variant`.
        options: By the command line's names: `T`, `hidden`, `steps`, `lr`, `recipe`, ...; `set` is a dict by key.
        others: Options that the caller takes besides, for messages.

    Raises:
        UserError: A name is unknown or missing, or a value cannot be one.
    """
    task = os.fspath(task) if isinstance(task, os.PathLike) else task
    if model is None or not task:
        raise UserError(f"{'task' if model is not None else 'model'} is missing.")
    known = {*OPTION_KEYS, "T", "set", "recipe", *others}
    for name in options:
        if name not in known:
            raise UserError(f"{name}: unknown option.{did_you_mean(name, known)} Options: {', '.join(sorted(known))}.")
    check_task(task)
    given = {name: value for name, value in options.items() if value is not None}
    recipe, T = given.pop("recipe", None), given.pop("T", None)
    return RunRequest(
        model_name(model),
        task,
        T=None if T is None else count_of("T", T),
        settings=settings_of(given.pop("set", {})),
        options={OPTION_KEYS[name]: plain(value) for name, value in given.items()},
        recipe=None if recipe is None else Path(recipe),
    )


def check_task(task: Any) -> None:
    """Refuse a name that no task has; a file is looked at when its card is loaded.

    Raises:
        UserError: There is no such task.
    """
    if not isinstance(task, str):
        raise UserError(f"task: must be a name or the file of a card or of data, got {task!r}.")
    name, _, is_file = registry.task_parts(task)
    if not is_file and name not in registry.task_names():
        raise unknown_name("task", name, registry.task_names())


def settings_of(settings: Any) -> dict[str, Any]:
    """Return what `set` has by dotted key: {"model.rho": 0.5} or {"model": {"rho": 0.5}}.

    Raises:
        UserError: It is no dict of names.
    """
    if not isinstance(settings, dict) or not all(isinstance(key, str) for key in settings):
        raise UserError(f'set: must be a dict such as {{"model.rho": 0.5}}, got {settings!r}.')
    return dotted(plain(settings))


def model_name(model: Model) -> str:
    """Return what a model is called on the command line.

    Raises:
        UserError: There is none of this name, or the class lies in no file, as one of a notebook does.
    """
    if isinstance(model, nn.Module):
        kind = type(model).__name__
        raise UserError(f"model: a run makes its model itself, from its sizes and seed: give the class, {kind}.")
    if isinstance(model, str):
        if ":" not in model and base_of(model) not in model_registry.model_names():
            raise unknown_name("model", base_of(model), model_registry.model_names())
        return model
    if isinstance(model, functools.partial):
        return _with_arguments(model)
    if not callable(model):
        raise UserError(f"model: must be a name or a class, got {model!r}.")
    name = getattr(model, "__module__", "").rpartition(".")[2]
    if model.__module__.startswith("stablebench.models.") and name in model_registry.model_names():
        return name
    try:
        file = inspect.getsourcefile(model)
    except (TypeError, OSError):  # it was typed in
        file = None
    if file is None or not Path(file).is_file():
        raise UserError(
            f"{_called(model)}: a run stores its model's code, so the class must lie in a file, file.py:CLASS."
        )
    if not _called(model).isidentifier():
        raise UserError(
            f"{_called(model)}: a run names its model, file.py:CLASS; write a class or a `def` at the top of a file."
        )
    if origins.is_library(file) and origins.is_foreign(model.__module__.partition(".")[0]):
        return f"{_shortest(model)}:{_called(model)}"
    return f"{os.path.relpath(file)}:{_called(model)}"


def _with_arguments(model: "functools.partial[Any]") -> str:
    """Return what a class with arguments is called: `file.py:Cell[leak=0.05]`.

    Raises:
        UserError: Arguments are given by their place, or one is no number, text, list or None.
    """
    func = model.func
    if model.args:
        given = f"{_called(func)}[KEY=VALUE]"
        raise UserError(f"{_called(func)}: a run passes the sizes; arguments of a partial must have names: {given}.")
    name = model_name(func)
    if not model.keywords:
        return name
    try:
        written = [f"{key}={json.dumps(value, allow_nan=False)}" for key, value in model.keywords.items()]
    except (TypeError, ValueError):
        raise UserError(
            f"{_called(func)}: a run stores its model's arguments; a partial's must be numbers, texts, lists or None."
        ) from None
    return f"{name}[{','.join(written)}]"


def _called(model: Callable[..., Any]) -> str:
    return getattr(model, "__qualname__", None) or type(model).__name__


def _shortest(model: Callable[..., Any]) -> str:
    """Return the shortest name of a package that has a class: `torch.nn` of `torch.nn.modules.rnn`."""
    names = list(accumulate(model.__module__.split("."), "{}.{}".format))
    return next(name for name in names if getattr(sys.modules.get(name), _called(model), None) is model)


def split_off(options: dict[str, Any], *names: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the options of these names, and the others."""
    return {k: v for k, v in options.items() if k in names}, {k: v for k, v in options.items() if k not in names}


def names_of(option: str, names: str | Iterable[Any]) -> list[Any]:
    """Return names that are given as a list, or as one text with commas.

    Raises:
        UserError: One of them is empty, or there are none.
    """
    given = [names] if isinstance(names, os.PathLike) else names
    if not isinstance(given, Iterable):
        raise UserError(f"{option}: must be names, as a list or with commas between, got {names!r}.")
    parts = split_names(given) if isinstance(given, str) else list(given)
    parts = [os.fspath(part) if isinstance(part, os.PathLike) else part for part in parts]
    if not parts or not all(parts):
        raise UserError(f"{option}: must be names, as a list or with commas between, got {names!r}.")
    return parts


def count_of(option: str, value: Any) -> int:
    """Return a whole number >= 1.

    Raises:
        UserError: It is none.
    """
    number = plain(value)
    if type(number) is not int or number < 1:
        raise UserError(f"{option}: must be a whole number >= 1, got {value!r}.")
    return number


def lengths_of(lengths: Any) -> list[int]:
    """Return lengths, of which a single one may be given by itself, the shortest first.

    Raises:
        UserError: They are no whole numbers >= 1.
    """
    given = plain(lengths)
    given = [given] if isinstance(given, int) else given
    if isinstance(given, str) or not isinstance(given, Iterable):
        raise UserError(f"lengths: must be a list of lengths, got {lengths!r}.")
    return sorted({count_of("lengths", length) for length in given})


def plain(value: Any) -> Any:
    """Return Python's own numbers for those of NumPy and others that are whole; lists and dicts with such, likewise."""
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, dict):
        return {key: plain(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [plain(inner) for inner in value]
    if isinstance(value, int) or not hasattr(value, "__index__"):
        return value
    try:
        return operator.index(value)
    except (TypeError, ValueError, RuntimeError):  # an array, a tensor that is no whole number
        return value


def path_of(option: str, path: Any) -> Path:
    """Return a path.

    Raises:
        UserError: It is none.
    """
    if not isinstance(path, (str, os.PathLike)):
        raise UserError(f"{option}: must be a path or a name, got {path!r}.")
    return Path(path)
