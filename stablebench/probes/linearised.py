r"""The linear recurrences of a chain's derivatives, forwards and backwards, each as one call of autograd.

    forwards     d_t = J_t d_{t-1} + e_t            J_t = ds_t/ds_{t-1}
    backwards    g_t = J_{t+1}^T g_{t+1} + c_t

Added to every state is a term of its own, s_t = f_t(s_{t-1}) + a_t at a = 0, and one graph is kept of all steps. Its
derivative in a is the second recurrence, and the derivative of that one in c, in which it is linear, the first: no
parameter takes part, so each costs what the steps' own operations cost, without a product per step for the weights.

What all steps have from the parameters is no recurrence once the states are known: `Chain.many` makes all steps as
rows of one batch.
"""

from collections.abc import Iterable
from functools import cached_property

import torch
from torch import Tensor

from stablebench.probes.state_chain import StateChain

_MAX_NODES = 5000
"""Nodes of a graph that are searched, in depth first: those of many steps."""


class Linearised:
    """Steps of a chain that follow each other, with their graph.

    Args:
        chain: A chain whose parameters take no gradient.
        first: The first step, 1 ... T.
        begin: The state before it, (batch, size).
        count: How many steps, >= 1.
    """

    def __init__(self, chain: StateChain, first: int, begin: Tensor, count: int) -> None:
        with torch.enable_grad():
            self._begin = begin.detach().requires_grad_()
            self._added = begin.new_zeros(count, *begin.shape).requires_grad_()
            state, after = self._begin, []
            for t, added in enumerate(self._added.unbind(0), start=first):
                state = chain.step(t, state) + added
                after.append(state)
            self._after = torch.stack(after)
        self.states = self._after.detach()
        """The states after the steps, (count, batch, size)."""

    def pull(self, cotangents: Tensor) -> tuple[Tensor, Tensor]:
        """Return the backward recurrence: the derivatives in the states, of all that follows.

        Args:
            cotangents: c, the derivatives past other states, (count, batch, size).

        Returns:
            g of the states after the steps, (count, batch, size), and of the one before them, (batch, size).
        """
        leaves = [self._added, self._begin]
        own, begin = torch.autograd.grad(self._after, leaves, cotangents, retain_graph=True, materialize_grads=True)
        return own, begin

    def push(self, added: Tensor, begin: Tensor) -> Tensor:
        """Return the forward recurrence: the derivatives of the states along a direction.

        Args:
            added: e, what each step adds of its own, (count, batch, size).
            begin: d of the state before the steps, (batch, size).

        Returns:
            d of the states after the steps, (count, batch, size).
        """
        cotangents, pulled = self._pulled
        linear = [(part, along) for part, along in zip(pulled, (added, begin), strict=True) if part.requires_grad]
        parts, along = zip(*linear, strict=True)
        (moved,) = torch.autograd.grad(parts, cotangents, along, retain_graph=True, materialize_grads=True)
        return moved

    @cached_property
    def _pulled(self) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Cotangents, and the backward recurrence as a function of them."""
        with torch.enable_grad():
            cotangents = torch.zeros_like(self.states).requires_grad_()
            leaves = [self._added, self._begin]
            pulled = torch.autograd.grad(
                self._after, leaves, cotangents, create_graph=True, retain_graph=True, materialize_grads=True
            )
        check_differentiable_twice(pulled)
        return cotangents, pulled


def check_differentiable_twice(gradients: Iterable[Tensor | None]) -> None:
    """Check that gradients, taken with `create_graph`, have derivatives of their own.

    Those of a function with `once_differentiable` end in a node that only raises where it is reached: as a derivative
    in a cotangent it would be left out, and the result be wrong without a message.

    Raises:
        RuntimeError: They have none.
    """
    waiting = [g.grad_fn for g in gradients if g is not None and g.grad_fn is not None]
    seen = set(waiting)
    while waiting and len(seen) < _MAX_NODES:
        node = waiting.pop()
        if node.name().endswith("autograd::Error"):
            raise RuntimeError("a function is marked with @once_differentiable")
        following = [after for after, _ in node.next_functions if after is not None and after not in seen]
        seen.update(following)
        waiting += following
