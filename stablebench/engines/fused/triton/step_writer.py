"""Writes the body of one time step as Triton: values in registers and in memory, and the loops over units."""

import math
from collections.abc import Iterable

from stablebench.engines.fused.operations import OPERATIONS
from stablebench.engines.fused.program import Buffer, Instruction, Loop, Program, Slice
from stablebench.engines.fused.triton.kernel_text import ROWS, SIZES, Precision, padded


def overlap(a: Slice, b: Slice) -> bool:
    """Return whether two slices share features."""
    return a.buffer == b.buffer and a.offset < b.offset + b.width and b.offset < a.offset + a.width


def carried_name(part: Slice) -> str:
    """Return the name of a part of the states that is in registers from step to step."""
    return f"carried_{part.offset}_{part.width}"


class StepWriter:
    """Writes the body of one time step.

    Args:
        program: The program, its loops cut.
        precision: Of the matmuls.
        carried: What is in registers when a step begins.
        stored: Buffers whose values must reach memory, and on which condition ("" for always). None for all.
    """

    def __init__(
        self, program: Program, precision: Precision, carried: Iterable[Slice], stored: dict[Buffer, str] | None
    ) -> None:
        self.program, self.precision, self.sizes = program, precision, SIZES[precision]
        self.stored = stored
        self.before: list[str] = []
        self.body: list[str] = []
        self.values = {part: carried_name(part) for part in carried}
        self.vectors: dict[Slice, str] = {}
        self.matrices: dict[tuple[str, int, int, int, int], str] = {}
        self.sums: dict[Slice, str] = {}
        self.widths: set[int] = set()
        self.used: set[Slice] = set()
        self.from_memory: set[Buffer] = set()
        self.unsettled: list[tuple[Slice, bool]] = []
        """What was written (True) to memory or read from it since the last barrier."""
        self.touched: set[Buffer] = set()
        self.count = 0
        elements = sum(padded(p.lhs.width) * padded(p.out.width) for p in program.matmuls)
        self.unrolled, self.resident = elements <= self.sizes.unrolled, elements <= self.sizes.resident

    def new(self, expression: str) -> str:
        """Add a line that names an expression, and return the name."""
        self.count += 1
        self.body.append(f"v{self.count} = {expression}")
        return f"v{self.count}"

    def tensor(self, part: Slice) -> str:
        """Return the shape of a slice."""
        return f"({ROWS}, {padded(part.width)})"

    def columns(self, width: int) -> str:
        """Return the name of 0, 1, ..., padded to cover a width."""
        self.widths.add(width)
        return f"c{padded(width)}"

    def mask(self, part: Slice) -> str:
        """Return which elements of a slice there are: its features, of the rows of the batch."""
        self.widths.add(part.width)
        return f"inside & in{part.width}"

    def address(self, part: Slice) -> str:
        """Return the addresses of a slice."""
        self.touched.add(part.buffer)
        return f"{part.buffer} + {part.buffer}_rows + ({self.columns(part.width)} + {part.offset})[None, :]"

    def load(self, part: Slice) -> str:
        """Return the text that loads a slice."""
        return f"tl.load({self.address(part)}, mask={self.mask(part)}, other=0.0)"

    def read(self, part: Slice) -> str:
        """Return the name of a slice's value."""
        if part in self.values:
            self.used.add(part)
            return self.values[part]
        if part.buffer.is_vector:
            return self.vector(part)
        self.values[part] = self.compute(part)
        return self.values[part]

    def compute(self, part: Slice) -> str:
        """Return the name of a value that is in no register."""
        self.settle(part, writing=False)
        return self.new(self.load(part))

    def settle(self, part: Slice, *, writing: bool) -> None:
        """Let no thread read a slice before the others have written it, nor write before they have read or written."""
        if not writing:
            self.from_memory.add(part.buffer)
        if any((writing or wrote) and overlap(part, other) for other, wrote in self.unsettled):
            self.body.append("tl.debug_barrier()")
            self.unsettled.clear()
        self.unsettled.append((part, writing))

    def vector(self, part: Slice) -> str:
        """Return the name of a slice of a vector, loaded before the first step."""
        if part not in self.vectors:
            name = self.vectors[part] = f"{part.buffer}_{part.offset}_{part.width}"
            if part.is_shared:
                self.before.append(f"{name} = tl.load({part.buffer} + {part.offset})")
            else:
                columns = self.columns(part.width)
                mask = f"mask={columns} < {part.width}, other=0.0"
                self.before.append(f"{name} = tl.load({part.buffer} + {columns} + {part.offset}, {mask})[None, :]")
        return self.vectors[part]

    def write(self, part: Slice, value: str) -> None:
        """Give a slice its value."""
        for other in [other for other in self.values if overlap(other, part)]:
            del self.values[other]
        self.values[part] = value
        condition = "" if self.stored is None else self.stored.get(part.buffer)
        if condition is None:
            return
        self.settle(part, writing=True)
        store = f"tl.store({self.address(part)}, {value}, mask={self.mask(part)})"
        self.body += [store] if not condition else [f"if {condition}:", f"    {store}"]

    def add_to_sum(self, part: Slice, value: str) -> None:
        """Add the sum over the rows to a gradient of a vector."""
        name = self.sums.setdefault(part, f"{part.buffer}_{part.offset}_{part.width}")
        self.body.append(f"{name} += tl.sum(tl.where({self.mask(part)}, {value}, 0.0), axis=0)")

    def tiling(self, part: Slice) -> list[Slice] | None:
        """Return what is in registers that makes up a slice."""
        pieces, at, end = [], part.offset, part.offset + part.width
        while at < end:
            fits = [v for v in self.values if v.buffer == part.buffer and v.offset == at and at + v.width <= end]
            if not fits:
                return None
            pieces.append(max(fits, key=lambda v: v.width))
            at += pieces[-1].width
        return pieces

    def loop(self, loop: Loop) -> None:
        """Write a loop over units, all of them at once."""
        values: list[str] = []
        shape = f"({ROWS}, {padded(loop.width)})"
        for instruction in loop.instructions:
            values.append(self.instruction(instruction, values, shape))
        for store in loop.stores:
            value, target = values[store.value], store.target
            if target.buffer.is_vector_gradient:
                self.add_to_sum(target, value)
            elif store.accumulate:
                self.write(target, self.new(f"{self.read(target)} + {value}"))
            else:
                self.write(target, value)

    def instruction(self, instruction: Instruction, values: list[str], shape: str) -> str:
        """Return the name of an instruction's result."""
        if instruction.source is not None:
            value = self.read(instruction.source)
            vector = instruction.source.buffer.is_vector
            return self.new(f"tl.broadcast_to({value}, {shape})") if vector else value
        if instruction.op == "constant":
            return self.new(f"tl.full({shape}, {number_text(instruction.number)}, tl.float32)")
        args = [values[arg] for arg in instruction.args]
        return self.new(OPERATIONS[instruction.op].triton.format(*args, number=number_text(instruction.number)))


def number_text(number: float) -> str:
    """Return a number as Python text."""
    assert math.isfinite(number)  # the trace refuses others
    return repr(float(number))
