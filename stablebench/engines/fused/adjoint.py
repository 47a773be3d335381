"""Backward-mode derivative of a loop's expressions."""

from collections.abc import Callable
from dataclasses import dataclass

from stablebench.engines.fused.operations import OPERATIONS, Value
from stablebench.engines.fused.program import Buffer, Expressions, Store


@dataclass(frozen=True)
class LoopDerivative:
    """The derivative of a loop, in the loop's own expressions.

    Args:
        stores: Gradients of what the loop loads.
        needed: Values of the loop that they are computed from.
    """

    stores: list[Store]
    needed: list[int]


def differentiate(
    expressions: Expressions, stores: list[Store], needs_grad: Callable[[Buffer], bool]
) -> LoopDerivative:
    """Append the derivative to `expressions`.

    Args:
        expressions: The loop's.
        stores: What the loop computes; the adjoints are loaded from the gradient buffers of the targets.
        needs_grad: Whether what is loaded from a buffer needs a gradient.
    """
    n_values = len(expressions.instructions)
    forward = expressions.instructions[:n_values]
    varies: list[bool] = []
    for instruction in forward:
        source = instruction.source
        varies.append(needs_grad(source.buffer) if source is not None else any(varies[arg] for arg in instruction.args))
    adjoints: dict[int, int] = {}

    def receive(value: int, adjoint: int) -> None:
        before = adjoints.get(value)
        adjoints[value] = adjoint if before is None else expressions.apply("add", before, adjoint)

    for store in stores:
        receive(store.value, expressions.load(store.target.gradient))
    gradients = []
    for value in reversed(range(n_values)):
        if value not in adjoints or not varies[value]:
            continue
        instruction = forward[value]
        if instruction.source is not None:
            gradients.append(Store(adjoints[value], instruction.source.gradient))
            continue
        derivative = OPERATIONS[instruction.op].derivative
        assert derivative is not None  # only backward loops have operations without one
        parts = derivative(*(Value(expressions, at) for at in (adjoints[value], value, *instruction.args)))
        for arg, part in zip(instruction.args, parts, strict=True):
            if part is not None and varies[arg]:
                receive(arg, part.position)
    used = expressions.reached([store.value for store in gradients], lambda position: position < n_values)
    return LoopDerivative(gradients, [position for position in used if position < n_values])
