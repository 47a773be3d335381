"""Runs a step once with numbers and checks its trace against it: the same values, and the same autograd graph.

Two calls whose values are equal and whose autograd graphs are made of the same nodes have the same derivative. So
whatever a step does that the trace does not show (`guard` refuses what is known) is detected here.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor

from stablebench.engines.fused import guard
from stablebench.engines.fused.step_graph import UnsupportedStep

_ROWS = 3
"""Examples that a step is run with: neither 1, which broadcasts, nor 2, which a plan's own example has."""
_MAX_ROUNDINGS = 16
"""Roundings by which values may differ: where a tensor lies in memory may decide in which order a sum is taken."""


def example_like(leaf: Tensor | None, generator: torch.Generator) -> Tensor | None:
    """Return random numbers with the shape of an input or a state, but for the rows, that a gradient can be had of."""
    if leaf is None:
        return None
    drawn = torch.randn(_ROWS, *leaf.shape[1:], generator=generator, dtype=torch.float64)
    return drawn.to(leaf.dtype).to(leaf.device).requires_grad_(leaf.is_floating_point())


def example_of(leaf: Tensor | None) -> Tensor | None:
    """Return a parameter's numbers as something of its own that a gradient can be had of."""
    return None if leaf is None else leaf.detach().clone().requires_grad_(leaf.is_floating_point())


def check_against(
    step: Callable[[Any], Sequence[Tensor]],
    traced: Callable[[Any], Sequence[Tensor]],
    leaves: list[Tensor | None],
    others: Iterable[Tensor],
) -> None:
    """Check a trace against its step.

    Args:
        step: The step, of leaves.
        traced: Its trace, of leaves.
        leaves: An example of them; what has a gradient is a leaf of autograd.
        others: The parameters and buffers that may take part.

    Raises:
        UnsupportedStep: The step changes a tensor in place, or values or autograd graphs differ.
    """
    tensors = [t for t in (*leaves, *others) if t is not None]
    versions = [t._version for t in tensors]
    with torch.enable_grad(), guard.HooksRefused():
        expected = tuple(step(leaves))
    if [t._version for t in tensors] != versions:
        raise UnsupportedStep("it changes a tensor in place")
    with torch.enable_grad():
        values = tuple(traced(leaves))
    with torch.no_grad():
        without = tuple(step(leaves))
    if not _all_same(values, expected):
        raise UnsupportedStep("it gives other values when it is called again, or when it is not traced")
    if not _all_same(without, expected):
        raise UnsupportedStep("it gives other values where no gradient is wanted")
    for a, b in zip(expected, values, strict=True):
        difference = _graphs_differ(a, b)
        if difference is not None:
            raise UnsupportedStep(f"it has another derivative than its trace ({difference})")


def _all_same(values: tuple[Tensor, ...], expected: tuple[Tensor, ...]) -> bool:
    return len(values) == len(expected) and all(_same(a, b) for a, b in zip(values, expected, strict=True))


def _same(a: Tensor, b: Tensor) -> bool:
    if a.shape != b.shape or a.dtype != b.dtype:
        return False
    if not a.is_floating_point():
        return torch.equal(a, b)
    eps = _MAX_ROUNDINGS * torch.finfo(a.dtype).eps
    largest = b.abs().nan_to_num(0, 0, 0).max().item() if b.numel() else 0.0
    return torch.allclose(a, b, rtol=eps, atol=eps * largest, equal_nan=True)


def _graphs_differ(a: Tensor, b: Tensor) -> str | None:
    """Return in a few words where the autograd graphs of two tensors differ, or None."""
    if a.requires_grad != b.requires_grad:
        return "a gradient that one of them lacks"
    if a.grad_fn is None or b.grad_fn is None:
        return None if a is b or not a.requires_grad else "another leaf"
    partner: dict[Any, Any] = {}
    waiting: list[tuple[Any, Any]] = [(a.grad_fn, b.grad_fn)]
    while waiting:
        one, other = waiting.pop()
        if one in partner:
            if partner[one] is not other:
                return "branches that meet elsewhere"
            continue
        partner[one] = other
        if type(one) is not type(other) or one.name() != other.name():
            return f"{one.name()} in place of {other.name()}"
        if getattr(one, "variable", None) is not getattr(other, "variable", None):
            return "another parameter"
        edges, theirs = one.next_functions, other.next_functions
        if [(f is None, k) for f, k in edges] != [(f is None, k) for f, k in theirs]:
            return f"another number of arguments of {one.name()}"
        waiting += [(f, g) for (f, _), (g, _) in zip(edges, theirs, strict=True) if f is not None]
    return None
