"""One time step as a graph of row-wise operations: what a traced `step` becomes before it is turned into loops.

A node stands for a matrix (batch, width). Only matmuls mix the units of a row; all else is done unit by unit.
"""

from dataclasses import dataclass
from typing import TypeAlias

from stablebench.errors import first_line


class UnsupportedStep(Exception):
    """Why a step cannot be planned: raised while it is traced, and returned in place of a plan.

    Args:
        reason: Completes the sentence "the step cannot be fused: ...".
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


def failure(error: Exception, what: str) -> str:
    """Return why a step cannot be planned: what was refused, or that `what` failed, and how."""
    reason = first_line(error)
    return reason if isinstance(error, UnsupportedStep) else f"{what} failed with {type(error).__name__}: {reason}"


@dataclass(frozen=True, eq=False)
class Node:
    """A matrix (batch, width) within one step.

    Args:
        op: `state`, `projection` and `vector` (one value per unit, or one in all where the width is 1) are inputs;
            `matmul` is args[0] @ matrix; `slice` and `concatenate` act on the features; all else is done unit by unit.
        args: The operands; plain numbers are constants.
        width: Features.
        index: Which state, projection, vector or matrix.
        offset: First feature of a `slice`.
        number: The slope of a `leaky_relu`.
    """

    op: str
    args: "tuple[Operand, ...]"
    width: int
    index: int = 0
    offset: int = 0
    number: float = 0.0


Operand: TypeAlias = Node | float


def operands(node: Node) -> list[Node]:
    """Return the operands that are no plain numbers."""
    return [arg for arg in node.args if isinstance(arg, Node)]
