"""Names as a tracker takes them: what it refuses is replaced, and no two names become one."""

import hashlib
import posixpath
import re

_MLFLOW_REFUSES = re.compile(r"[^\w.\-/ :]")
_MLFLOW_LONGEST = 250
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")
_DIGITS = 8
"""Hexadecimal digits of a name's digest that keep two names apart which are replaced alike."""


def mlflow_name(name: str) -> str:
    """Return a name of a metric or parameter as MLflow takes it: `W[h->h]` is `W_h-_h_-` and eight digits.

    A name that MLflow takes is left as it is; another one is the same each time, and of no other name.
    """
    taken = _MLFLOW_REFUSES.sub("_", name)
    taken = "/".join(part if part.strip(".") else "_" * max(len(part), 1) for part in taken.split("/"))
    if taken == name and len(name) <= _MLFLOW_LONGEST and posixpath.normpath(name) == name:
        return name
    return f"{taken[: _MLFLOW_LONGEST - _DIGITS - 1]}-{_digest(name)}"


def tensorboard_name(name: str) -> str:
    """Return a name as TensorBoard's event files take it: all but what is no text."""
    taken = _UNPRINTABLE.sub("_", name)
    return name if taken == name else f"{taken}-{_digest(name)}"


def _digest(name: str) -> str:
    return hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:_DIGITS]
