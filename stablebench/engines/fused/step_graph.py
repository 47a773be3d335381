"""One time step as a graph of row-wise operations: what a traced `step` becomes before it is turned into loops.

A node stands for a matrix (batch, width). Only products mix the units of a row; all else is done unit by unit.
"""

from dataclasses import dataclass
from typing import TypeAlias


@dataclass(frozen=True)
class UnsupportedStep:
    """Why a step cannot be planned.

    Args:
        reason: Completes the sentence "the step cannot be fused: ...".
    """

    reason: str


class UnsupportedStepError(Exception):
    """Raised while a step is planned; its text is the reason."""


@dataclass(frozen=True, eq=False)
class Node:
    """A matrix (batch, width) within one step.

    Args:
        op: `state`, `drive` and `vector` (one value per unit, or one in all where the width is 1) are inputs;
            `product` is args[0] @ matrix; `slice` and `concatenate` act on the features; all else is done unit by unit.
        args: The operands; plain numbers are constants.
        width: Features.
        index: Which state, drive, vector or matrix.
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
