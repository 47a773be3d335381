"""A traced step in pieces, and the module that calls a step while it is traced."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.utils import _pytree as pytree

from stablebench.engines.fused.program import Buffer, Kind
from stablebench.engines.fused.step_graph import Node, UnsupportedStep


def one_step(projected: Tensor) -> Tensor:
    """Return the only time step of (batch, 1, features), as an engine does, which forbids to change it in place."""
    return projected.unbind(1)[0]


class StepModule(nn.Module):
    """Calls `step` with its arguments as one list, so that a trace sees each leaf once."""

    def __init__(
        self,
        step: Callable[..., Any],
        projected: Callable[..., Any] | None = None,
        structure: Any = None,
        absent: frozenset[int] = frozenset(),
    ) -> None:
        super().__init__()
        owner = getattr(step, "__self__", None)
        self.model = owner if isinstance(owner, nn.Module) else None
        self.step, self.input_projection = step, projected
        self.structure, self.absent = structure, absent

    def forward(self, leaves: Any) -> Any:
        """Return the new states."""
        each = [None if i in self.absent else leaves[i] for i in range(self.structure.num_leaves)]
        inputs, states, recurrent_weights = pytree.tree_unflatten(each, self.structure)
        if self.input_projection is not None:
            inputs = pytree.tree_map(self._at_one_step, self.input_projection(inputs))
        return tuple(self.step(inputs, states, recurrent_weights))

    @staticmethod
    def _at_one_step(projected: Any) -> Any:
        if isinstance(projected, Tensor):
            return one_step(projected)
        if not isinstance(projected, fx.Proxy):
            raise UnsupportedStep("`input_projection` returns something that does not depend on the inputs")
        return projected.tracer.create_proxy("call_function", one_step, (projected,), {})


@dataclass(frozen=True)
class TracedStep:
    """A step in pieces.

    Args:
        states: The new states.
        graph: Computes matrices and vectors from the leaves of (inputs, states, recurrent weights).
        sources: For each matrix and then each vector the leaf that it is, or None where it is computed.
        by_step: For each of them whether it differs from step to step.
        matrices: How many matrices there are.
        inputs: How many leaves the inputs have.
        leaves: How many leaves there are before those of the recurrent weights.
    """

    states: tuple[Node, ...]
    graph: fx.Graph
    sources: tuple[int | None, ...]
    by_step: tuple[bool, ...]
    matrices: int
    inputs: int
    leaves: int

    @property
    def by_step_buffers(self) -> frozenset[Buffer]:
        """What differs from step to step, as in `Program.by_step`."""
        matrices = [Buffer(Kind.MATRIX, k) for k in range(self.matrices)]
        vectors = [Buffer(Kind.VECTOR, k) for k in range(len(self.by_step) - self.matrices)]
        return frozenset(buffer for buffer, b in zip([*matrices, *vectors], self.by_step, strict=True) if b)

    @cached_property
    def _code(self) -> Callable[[Any, list[Any]], list[Tensor]]:
        """The graph as Python code: a function of an object with the attribute `model`, and of the leaves."""
        attributes = dict.fromkeys(node.target for node in self.graph.nodes if node.op == "get_attr")
        return type(fx.GraphModule(attributes, self.graph)).forward  # it looks them up at each call

    def evaluate(
        self, step: Callable[..., Any], recurrent_weights: Any, layers: Any = None
    ) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
        """Return the matrices, each (inner, columns), and the vectors, each (any,), under autograd.

        Those that differ from step to step have the steps in front.

        Args:
            step: What was traced.
            recurrent_weights: What `recurrent_weights()` returned.
            layers: What differs from step to step, (steps, ...) each, where the inputs do.
        """
        of_each_step: list[Any] = [None] * self.inputs if layers is None else pytree.tree_leaves(layers)
        rest: list[Any] = [None] * (self.leaves - self.inputs) + pytree.tree_leaves(recurrent_weights)
        root = SimpleNamespace(model=getattr(step, "__self__", None))

        def compute(*of_one_step: Any) -> tuple[Tensor, ...]:
            return tuple(self._code(root, [*of_one_step, *rest]))

        computed: Iterator[Tensor] = iter(())
        if None in self.sources:
            computed = iter((compute if layers is None else torch.vmap(compute))(*of_each_step))
        leaves = [*of_each_step, *rest]
        values = [next(computed) if source is None else leaves[source] for source in self.sources]
        vectors = zip(values[self.matrices :], self.by_step[self.matrices :], strict=True)
        return tuple(values[: self.matrices]), tuple(v.reshape(*v.shape[:b], -1) for v, b in vectors)
