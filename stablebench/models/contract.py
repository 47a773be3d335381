"""Checks of a model's class before anything is built: the methods that it overrides, and its arguments.

That its equations keep to the contract is checked by running it (`stablebench.contract`).
"""

import inspect
import traceback
from collections.abc import Callable, Iterator
from itertools import chain
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter
from torch import nn

from stablebench.errors import ContractError, StablebenchError, ran_out_of_memory
from stablebench.models.attention_model import AttentionModel
from stablebench.models.base import DeepModel, RecurrentModel
from stablebench.models.chain_model import EARLIER_NAMES
from stablebench.schema.strict import argument_type, unwrapped

SIZES = ("in_features", "hidden")
"""Arguments that every constructor takes, by name."""
_PLAIN = (bool, int, float, str)


def check_class(cls: type[Any], reference: str, built: tuple[str, ...]) -> None:
    """Refuse a class that would not be run as it is written.

    Args:
        cls: A subclass of `RecurrentModel`, `DeepModel` or `AttentionModel`.
        reference: What the user calls it.
        built: Constructor arguments that are filled in.

    Raises:
        ContractError: A method that no engine calls is overridden, or the constructor cannot be called by name.
    """
    arguments = ((why, cls.__init__) for why in _wrong_arguments(cls, built))
    for why, where in chain(
        _overridden(cls), _of_another_kind(cls), arguments
    ):  # lazily: the first is all that is looked for
        raise ContractError(f"--model {reference}: {why} ({place_of(where)}).")


def place_of(thing: Any) -> str:
    """Return the file and line of a class or function, as `name.py:12`."""
    thing = unwrapped(thing) if callable(thing) else thing
    try:
        path = Path(inspect.getsourcefile(thing) or "?")
        return f"{path.name}:{max(1, inspect.getsourcelines(thing)[1])}"
    except (OSError, TypeError):
        return getattr(thing, "__qualname__", str(thing))


def where_in(cls: type[Any], error: BaseException) -> str:
    """Return the line of the user's code that an error came from, as `name.py:12`, else that of the class."""
    own = {inspect.getsourcefile(c) for c in written_in(cls) if c.__module__ != "builtins"}
    frames = [f for f in traceback.extract_tb(error.__traceback__) if f.filename in own]
    return f"{Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else place_of(cls)


def written_in(cls: type[Any]) -> list[Any]:
    """Return the classes, or the function, in which a model's code is that is neither torch's nor stablebench's."""
    code = unwrapped(cls)  # of an adapted cell, what makes it
    parts = code.__mro__ if inspect.isclass(code) else (code,)
    return [part for part in parts if not part.__module__.startswith(("stablebench.", "torch."))]


def built_by(cls: type[Any], reference: str, **arguments: Any) -> Any:
    """Return what a user's class builds.

    Args:
        cls: The class.
        reference: What the user calls it.
        **arguments: Of its constructor.

    Raises:
        ContractError: Its constructor fails, and not for want of memory.
    """
    try:
        return cls(**arguments)
    except StablebenchError:
        raise
    except Exception as error:
        if ran_out_of_memory(error):
            raise
        message = f"{type(error).__name__}: {error}"
        raise ContractError(f"--model {reference}: it cannot be built: {message} ({where_in(cls, error)}).") from error


def _overridden(cls: type[Any]) -> Iterator[tuple[str, Any]]:
    """Yield what overrides methods that no engine calls, and where."""
    if issubclass(cls, AttentionModel):
        return
    deep = issubclass(cls, DeepModel)
    base = DeepModel if deep else RecurrentModel
    called = "embed_input, layer_groups, step" if deep else "input_projection, recurrent_weights, step, layer_output"
    for name, own in (("forward", base.forward), ("__call__", nn.Module.__call__)):
        given = getattr(cls, name)
        if given is not own:
            yield f"`{name}` is overridden; engines call {called}: write the model in these", given


def _of_another_kind(cls: type[Any]) -> Iterator[tuple[str, Any]]:
    """Yield methods that stand where the contract has a property or a value, and the reverse, and where."""
    base = next(kind for kind in (AttentionModel, DeepModel, RecurrentModel) if issubclass(cls, kind))
    for name in (name for name in dir(base) if not name.startswith("_") and not hasattr(nn.Module, name)):
        asked, given = inspect.getattr_static(base, name), inspect.getattr_static(cls, name)
        if given is asked or name in EARLIER_NAMES:
            continue
        is_method, where = callable(given), given.fget if isinstance(given, property) else given
        if isinstance(asked, property) and is_method:
            yield f"`{name}` is a method; make it a property: write @property above its `def`", where
        elif inspect.isfunction(asked) and not is_method and not isinstance(given, staticmethod | classmethod):
            kind = "a property; leave out the @property" if isinstance(given, property) else f"{given!r}; make it one"
            yield f"`{name}` must be a method, and is {kind}", where if callable(where) else cls
        elif inspect.isfunction(asked) and inspect.isfunction(given) and not _takes_as_many(given, asked):
            yield f"`{name}` must take {_arguments(asked)}; it takes {_arguments(given)}", where
        elif not callable(asked) and not isinstance(asked, property | classmethod) and is_method:
            yield f"`{name}` is a method; make it a value: `{name} = ...` in the class or its constructor", where


def _takes_as_many(given: Callable[..., Any], asked: Callable[..., Any]) -> bool:
    """Return whether a method can be called with the arguments that the contract's method is called with."""
    try:
        inspect.signature(given).bind(*inspect.signature(asked).parameters)
    except TypeError:
        return False
    return True


def _arguments(function: Callable[..., Any]) -> str:
    return f"({', '.join(inspect.signature(function).parameters)})"


def _wrong_arguments(cls: type[Any], built: tuple[str, ...]) -> Iterator[str]:
    """Yield what is wrong with the constructor's arguments."""
    parameters = inspect.signature(cls).parameters
    by_name = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    named = [name for name, parameter in parameters.items() if parameter.kind in by_name]
    if any(size not in named for size in SIZES):
        signature = ", ".join(str(parameter) for parameter in parameters.values()) or "nothing"
        yield (
            "its constructor must take `in_features` and `hidden` by these names, then keyword arguments of its own; "
            f"it takes {signature}"
        )
    for parameter in parameters.values():
        if parameter.kind not in by_name:
            star = "*" if parameter.kind is parameter.VAR_POSITIONAL else "**"
            hides = f"{star}{parameter.name}" if parameter.kind is not parameter.POSITIONAL_ONLY else parameter.name
            yield f"its constructor must name its arguments; `{hides}` cannot be set by name"
        elif parameter.name not in built:
            if parameter.kind is not parameter.KEYWORD_ONLY and parameter.default is parameter.empty:
                yield f"the argument `{parameter.name}` needs a default, or a place behind `*`"
            elif (why := argument_problem(cls.__init__, parameter)) is not None:
                yield f"the argument `{parameter.name}` {why}"


def argument_problem(initialiser: Callable[..., Any], parameter: inspect.Parameter) -> str | None:
    """Return what is wrong with an argument of the constructor's own, or None."""
    try:
        kind = argument_type(initialiser, parameter)
    except TypeError as error:
        return str(error)
    try:
        TypeAdapter(kind)
    except Exception:
        return f"has the type {_name(kind)}, which cannot be given in a file or with --set; take numbers, text or lists"
    if parameter.default is not parameter.empty and not _is_plain(parameter.default):
        return (
            f"has the default {parameter.default!r}; it becomes part of the run's spec, and must be a number, text, "
            "true or false, None, or lists of these"
        )
    return None


def _name(kind: Any) -> str:
    return getattr(kind, "__name__", None) or str(kind)


def _is_plain(value: Any) -> bool:
    if isinstance(value, list | tuple):
        return all(_is_plain(item) for item in value)
    if isinstance(value, dict):
        return all(isinstance(key, str) and _is_plain(item) for key, item in value.items())
    return value is None or isinstance(value, _PLAIN)
