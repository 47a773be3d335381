"""Names and arguments of the operations in a torch.fx graph."""

import operator
from typing import Any

import torch
from torch import fx
from torch.nn import functional

from stablebench.engines.fused.step_graph import UnsupportedStep


def name_of(node: fx.Node) -> str:
    """Return an operation's name; one from elsewhere than torch has its module in front."""
    if isinstance(node.target, str):
        return node.target
    name = getattr(node.target, "__name__", str(node.target))
    if any(getattr(where, name, None) is node.target for where in (torch, functional, operator)) or name == "getattr":
        return name
    return f"{getattr(node.target, '__module__', '')}.{name}"


def bind(node: fx.Node, *names: str, **defaults: Any) -> list[Any]:
    """Return an operation's arguments in the order of `names` and `defaults`; refuse all others."""
    bound = dict(zip([*names, *defaults], node.args, strict=False)) | node.kwargs
    known = len(node.args) <= len(names) + len(defaults) and set(bound) <= {*names, *defaults}
    require(node, known and set(names) <= set(bound))
    return [bound[name] if name in bound else defaults[name] for name in [*names, *defaults]]


def require(node: fx.Node, holds: bool) -> None:
    """Refuse an operation with these arguments unless a condition holds."""
    if not holds:
        raise UnsupportedStep(f"`{name_of(node)}` with {node.args[1:]} {dict(node.kwargs)}")


def unknown_operation(node: fx.Node) -> UnsupportedStep:
    """Return that an operation is not known."""
    name = name_of(node)
    return UnsupportedStep(
        f"the attribute `{node.args[1]}` of a tensor is not known"
        if name == "getattr"
        else f"the operation `{name}` is not known"
    )
