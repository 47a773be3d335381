"""What a planned step is made of: matrix products, and loops over the units of a row between them.

One step runs stage by stage; a stage first computes its products, then its loops, each of which is a list of scalar
instructions for one unit j of one sequence. The reverse step runs the stages backwards: loops first, then the products
with the transposed matrices. Everything a loop reads or writes is a slice of a named buffer (time, batch, features):

    old, new          the states before and after the step, side by side
    drive<i>          the drives
    vector<k>         one value per unit (or one in all), the same for all rows; for all steps too, unless `by_step`
    product           results of the matrix products
    left              left operands of products that are no plain states
    saved             what the reverse loops need and cannot compute from the rest
    d_<buffer>        gradients; d_new is the adjoint that arrives from later steps, d_old the one that is handed on
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property


@dataclass(frozen=True)
class Slice:
    """Features `offset` to `offset + width` of a buffer."""

    buffer: str
    offset: int
    width: int

    @property
    def gradient(self) -> "Slice":
        """The same features of the gradient's buffer."""
        return Slice("d_" + self.buffer, self.offset, self.width)


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
class Product:
    """out (+)= left @ matrix; in reverse, d_left (+)= d_out @ matrix^T.

    Args:
        left: The left operand.
        matrix: Which of the matrices.
        out: The result, a slice of `product`.
        accumulate: Whether the result is added to another product's.
        has_gradient: Whether d_left is wanted.
        accumulate_gradient: Whether d_left is added to what is there.
    """

    left: Slice
    matrix: int
    out: Slice
    accumulate: bool = False
    has_gradient: bool = True
    accumulate_gradient: bool = False


@dataclass(frozen=True)
class Stage:
    """Products, then loops; in reverse the other way round."""

    products: tuple[Product, ...]
    forward: tuple[Loop, ...]
    reverse: tuple[Loop, ...]


@dataclass(frozen=True, eq=False)
class Program:
    """A planned step.

    Args:
        stages: In the order of the forward pass.
        widths: Features of every buffer that is used, gradients included.
        zeroed: Gradient buffers to set to zero before each reverse step.
        by_step: The matrices and vectors, `matrix<k>` and `vector<k>`, that differ from step to step.
    """

    stages: tuple[Stage, ...]
    widths: dict[str, int]
    zeroed: frozenset[str]
    by_step: frozenset[str] = frozenset()

    @property
    def products(self) -> list[Product]:
        """The products of all stages."""
        return [product for stage in self.stages for product in stage.products]

    @cached_property
    def kept(self) -> frozenset[str]:
        """The buffers of the forward pass that the reverse reads."""
        loops = [loop for stage in self.stages for loop in stage.reverse]
        sources = [instruction.source for loop in loops for instruction in loop.instructions]
        read = {source.buffer for source in sources if source is not None} | {p.left.buffer for p in self.products}
        return frozenset({"new", "old", *(buffer for buffer in read if not buffer.startswith("d_"))})


@dataclass
class Expressions:
    """Builds the instructions of a loop; equal ones are kept once, so a position is a value's identity."""

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
        for position in sorted(self._reached([store.value for store in stores], replace)):
            source = replace(position)
            if source is not None:
                moved[position] = result.load(source)
                continue
            old = self.instructions[position]
            args = tuple(moved[arg] for arg in old.args)
            moved[position] = result.add(Instruction(old.op, args, old.number, old.source))
        kept = tuple(Store(moved[store.value], store.target, store.accumulate) for store in stores)
        return Loop(width, tuple(result.instructions), kept)

    def _reached(self, roots: list[int], replace: Callable[[int], Slice | None]) -> set[int]:
        reached: set[int] = set()
        waiting = list(roots)
        while waiting:
            position = waiting.pop()
            if position not in reached:
                reached.add(position)
                if replace(position) is None:
                    waiting.extend(self.instructions[position].args)
        return reached
