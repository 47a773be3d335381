"""What a planned step is made of: matrix products (matmuls), and loops over the units of a row between them.

One step runs stage by stage; a stage first computes its matmuls, then its loops, each of which is a list of scalar
instructions for one unit j of one sequence. The backward step runs the stages in reverse order: loops first, then the
matmuls with the transposed matrices. Everything a loop reads or writes is a slice of a buffer (time, batch,
features).
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property
from typing import NamedTuple


class Kind(StrEnum):
    """What a buffer holds."""

    OLD = "old"
    """The states before the step, next to each other."""
    NEW = "new"
    """The states after the step, next to each other."""
    PROJECTION = "projection"
    """One of the projected inputs, by its index."""
    VECTOR = "vector"
    """One value per unit (or one in all), the same for all rows, and for all steps unless it is in `by_step`."""
    MATRIX = "matrix"
    """The right side of matmuls, (inner, columns)."""
    MATMUL = "matmul"
    """Results of matmuls."""
    MATMUL_LHS = "matmul_lhs"
    """Left sides of matmuls that are neither states nor projections as they are."""
    SAVED = "saved"
    """What the backward loops need and cannot compute from the rest."""
    OUTPUT = "output"
    """The states that are the outputs; only their gradient is a buffer."""
    TRANSPOSED = "transposed"
    """A matrix transposed, as compiled C takes it."""
    PACKED = "packed"
    """Room for one packed matrix of those that differ from step to step, as compiled C takes it."""


class Buffer(NamedTuple):
    """An array that a program reads or writes.

    Args:
        kind: What it holds.
        index: Which of the projections, vectors or matrices; None where there is only one.
        is_gradient: Whether it holds the gradient instead. `NEW.gradient` is the adjoint that arrives from later steps,
            `OLD.gradient` the one for the step before.
    """

    kind: Kind
    index: int | None = None
    is_gradient: bool = False

    @property
    def gradient(self) -> "Buffer":
        """The buffer of the gradient."""
        return Buffer(self.kind, self.index, True)

    @property
    def value(self) -> "Buffer":
        """The buffer whose gradient this is."""
        return Buffer(self.kind, self.index)

    @property
    def is_vector(self) -> bool:
        """Whether it holds a vector, which has no rows."""
        return self.kind is Kind.VECTOR and not self.is_gradient

    @property
    def is_vector_gradient(self) -> bool:
        """Whether it holds a vector's gradient, a sum over rows."""
        return self.kind is Kind.VECTOR and self.is_gradient

    def __str__(self) -> str:
        return f"{'d_' if self.is_gradient else ''}{self.kind}{'' if self.index is None else self.index}"


OLD, NEW, MATMUL, MATMUL_LHS, SAVED, OUTPUT = (
    Buffer(kind) for kind in (Kind.OLD, Kind.NEW, Kind.MATMUL, Kind.MATMUL_LHS, Kind.SAVED, Kind.OUTPUT)
)


@dataclass(frozen=True)
class Slice:
    """Features `offset` to `offset + width` of a buffer."""

    buffer: Buffer
    offset: int
    width: int

    @property
    def gradient(self) -> "Slice":
        """The same features of the gradient's buffer."""
        return Slice(self.buffer.gradient, self.offset, self.width)

    @property
    def is_shared(self) -> bool:
        """Whether it is one value that all units share."""
        return self.width == 1 and self.buffer.is_vector


@dataclass(frozen=True)
class Instruction:
    """A scalar operation of a loop.

    Args:
        op: `load`, `constant`, or a key of `stablebench.engines.fused.operations.OPERATIONS`.
        args: Earlier instructions, by their position.
        number: Of a `constant`, or the slope of a `leaky_relu`.
        source: Of a `load`; of width 1 for a value that all units share.
    """

    op: str
    args: tuple[int, ...] = ()
    number: float = 0.0
    source: Slice | None = None


@dataclass(frozen=True)
class Store:
    """A result of a loop.

    Args:
        value: The instruction.
        target: Where it goes.
        accumulate: Whether it is added to what is there.
    """

    value: int
    target: Slice
    accumulate: bool = False


@dataclass(frozen=True)
class Loop:
    """Instructions for the units 0 ... width - 1 of every row, one unit at a time."""

    width: int
    instructions: tuple[Instruction, ...]
    stores: tuple[Store, ...]


@dataclass(frozen=True)
class Matmul:
    """out (+)= lhs @ matrix; backward, d_lhs (+)= d_out @ matrix^T.

    Args:
        lhs: The left operand.
        matrix: Which of the matrices.
        out: The result, a slice of `MATMUL`.
        accumulate: Whether the result is added to another matmul's.
        lhs_needs_grad: Whether d_lhs is computed.
        accumulate_lhs_gradient: Whether d_lhs is added to what is there.
    """

    lhs: Slice
    matrix: int
    out: Slice
    accumulate: bool = False
    lhs_needs_grad: bool = True
    accumulate_lhs_gradient: bool = False


@dataclass(frozen=True)
class Stage:
    """Matmuls, then loops; backward, the other way round."""

    matmuls: tuple[Matmul, ...]
    forward: tuple[Loop, ...]
    backward: tuple[Loop, ...]


@dataclass(frozen=True, eq=False)
class Program:
    """A planned step.

    Args:
        stages: In the order of the forward pass.
        widths: Features of every buffer that is used, gradients included.
        zeroed: Gradient buffers to set to zero before each backward step.
        by_step: The matrices and vectors that differ from step to step.
    """

    stages: tuple[Stage, ...]
    widths: dict[Buffer, int]
    zeroed: frozenset[Buffer]
    by_step: frozenset[Buffer] = frozenset()

    @property
    def matmuls(self) -> list[Matmul]:
        """The matmuls of all stages."""
        return [matmul for stage in self.stages for matmul in stage.matmuls]

    @cached_property
    def saved_for_backward(self) -> frozenset[Buffer]:
        """The buffers of the forward pass that the backward pass reads."""
        loops = [loop for stage in self.stages for loop in stage.backward]
        sources = [instruction.source for loop in loops for instruction in loop.instructions]
        read = {source.buffer for source in sources if source is not None} | {p.lhs.buffer for p in self.matmuls}
        return frozenset({NEW, OLD, *(buffer for buffer in read if not buffer.is_gradient)})


@dataclass
class Expressions:
    """Builds the instructions of a loop; equal ones are stored once, so a position is a value's identity."""

    instructions: list[Instruction] = field(default_factory=list)
    _positions: dict[Instruction, int] = field(default_factory=dict)

    def add(self, instruction: Instruction) -> int:
        """Return the position of `instruction`."""
        if instruction not in self._positions:
            self._positions[instruction] = len(self.instructions)
            self.instructions.append(instruction)
        return self._positions[instruction]

    def constant(self, number: float) -> int:
        """Return the position of a number."""
        return self.add(Instruction("constant", number=float(number)))

    def load(self, source: Slice) -> int:
        """Return the position of a load."""
        return self.add(Instruction("load", source=source))

    def apply(self, op: str, *args: int, number: float = 0.0) -> int:
        """Return the position of an operation's result."""
        return self.add(Instruction(op, args, number))

    def loop(self, width: int, stores: list[Store], replace: Callable[[int], Slice | None]) -> Loop:
        """Return the loop that computes `stores` and nothing else.

        Args:
            width: Of the loop.
            stores: What to compute, by positions here.
            replace: Where a value can be loaded from instead of being computed.
        """
        result = Expressions()
        moved: dict[int, int] = {}
        for position in self.reached([store.value for store in stores], lambda position: replace(position) is not None):
            source = replace(position)
            if source is not None:
                moved[position] = result.load(source)
                continue
            old = self.instructions[position]
            args = tuple(moved[arg] for arg in old.args)
            moved[position] = result.add(Instruction(old.op, args, old.number, old.source))
        moved_stores = tuple(Store(moved[store.value], store.target, store.accumulate) for store in stores)
        return Loop(width, tuple(result.instructions), moved_stores)

    def reached(self, roots: list[int], is_end: Callable[[int], bool]) -> list[int]:
        """Return the positions that values are computed from, themselves included, in ascending order.

        Args:
            roots: The values' positions.
            is_end: Whether what a value is computed from is left out.
        """
        reached: set[int] = set()
        waiting = list(roots)
        while waiting:
            position = waiting.pop()
            if position not in reached:
                reached.add(position)
                if not is_end(position):
                    waiting.extend(self.instructions[position].args)
        return sorted(reached)
