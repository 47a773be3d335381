"""Refuses a user's class that the engines would run otherwise than it was written."""

import inspect
from pathlib import Path
from typing import Any

from stablebench.errors import UserError

_NEVER_CALLED = ("forward", "__call__")
"""Methods that a module has and no engine calls."""
_BY_NAME = ("in_features", "hidden")
"""Constructor arguments that every model is built with, by their names."""


def check_class(cls: type[Any], reference: str) -> None:
    """Refuse a class whose own `forward` would be left out, or whose constructor cannot be called by names.

    Args:
        cls: A subclass of RecurrentModel or DeepModel.
        reference: What `--model` names it.

    Raises:
        UserError: It is such a class.
    """
    from stablebench.models.base import DeepModel, RecurrentModel

    base = DeepModel if issubclass(cls, DeepModel) else RecurrentModel
    for name in _NEVER_CALLED:
        if getattr(cls, name) is not getattr(base, name):
            owner = next(c for c in cls.__mro__ if name in vars(c))
            calls = "enter, stretches, step" if base is DeepModel else "drive, transition, step, emit"
            raise UserError(
                f"--model {reference}: `{name}` is overridden in {owner.__name__}{_place(vars(owner)[name])}; engines "
                f"call {calls}, so it would never run. Write the model in these, and leave `{name}` out."
            )
    parameters = inspect.signature(cls).parameters
    takes_any = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    by_name = {n for n, p in parameters.items() if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)}
    missing = [name for name in _BY_NAME if name not in by_name]
    if missing and not takes_any:
        took = ", ".join(parameters) or "nothing"
        raise UserError(
            f"--model {reference}: the constructor must take `in_features` and `hidden` by these names; it takes {took}"
            f"{_place(vars(cls).get('__init__'))}."
        )


def _place(function: Any) -> str:
    """Return `" (FILE:LINE)"` of where a function begins, or an empty string."""
    code = getattr(inspect.unwrap(function) if callable(function) else None, "__code__", None)
    return "" if code is None else f" ({Path(code.co_filename).name}:{code.co_firstlineno})"
