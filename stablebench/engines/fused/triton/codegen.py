"""Writes a program as two Triton kernels: one for all steps of a sequence, one for all steps in reverse.

A Triton program owns `ROWS` rows of the batch from the first step to the last. Within a step every value has a place
in memory, a slice of a buffer; most are handed on in registers all the same, because what is read is exactly what was
stored. Where it is not, where parts overlap, or where a state is too wide for registers, the value goes through
memory, and a barrier stands between the threads that write it and those that read it.

Slices are padded to powers of two, as Triton's tensors must be. What a loop computes behind a slice's end is
arbitrary, NaN included; it is never stored, and is set to zero before it enters a product or a sum.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Literal, TypeAlias

from stablebench.engines.fused.program import Instruction, Loop, Product, Program, Slice, Stage

Precision: TypeAlias = Literal["float32", "tf32", "bf16"]

ROWS = 16
"""Rows of the batch that a Triton program owns, the fewest that tensor cores multiply."""
_LEAST = 16
"""Units that a tensor has at least; `tl.dot` asks for it."""
_CARRIED = 512
"""Units of the states that are kept in registers from step to step: 16 rows of them are 8192 numbers."""


@dataclass(frozen=True)
class _Sizes:
    """What depends on the precision of the products.

    Args:
        widest: Units that are worked on at once; a wider loop is done in pieces.
        inner: Rows of a matrix in a tile, where a product is done tile by tile.
        unrolled: Elements of all matrices up to which products are written out instead of done tile by tile.
        resident: Elements of all matrices up to which they stay in registers for the whole sequence.
    """

    widest: int
    inner: int
    unrolled: int
    resident: int


# float32 products run on ordinary units; written out, each thread holds a column for every row of a matrix.
_SIZES: dict[Precision, _Sizes] = {
    "float32": _Sizes(widest=64, inner=16, unrolled=4 << 10, resident=0),
    "tf32": _Sizes(widest=128, inner=32, unrolled=64 << 10, resident=16 << 10),
    "bf16": _Sizes(widest=128, inner=32, unrolled=64 << 10, resident=32 << 10),
}

TEXTS: dict[str, str] = {
    "add": "{0} + {1}",
    "sub": "{0} - {1}",
    "mul": "{0} * {1}",
    "div": "{0} / {1}",
    "neg": "-{0}",
    "abs": "tl.abs({0})",
    "sign": "tl.where({0} > 0, 1.0, tl.where({0} < 0, -1.0, 0.0))",
    "relu": "tl.where({0} <= 0, 0.0, {0})",
    "leaky_relu": "tl.where({0} > 0, {0}, {0} * {number})",
    "tanh": "tanh({0})",
    "sigmoid": "sigmoid({0})",
    "exp": "tl.exp({0})",
    "log": "tl.log({0})",
    "sqrt": "tl.sqrt_rn({0})",
    "softplus": "softplus({0})",
    "log_sigmoid": "log_sigmoid({0})",
    "maximum": "tl.where(({0} > {1}) | ({0} != {0}), {0}, {1})",
    "minimum": "tl.where(({0} < {1}) | ({0} != {0}), {0}, {1})",
    "round": "rounded({0})",
    "detach": "{0}",
    "relu_reverse": "tl.where({1} <= 0, 0.0, {0})",
    "leaky_relu_reverse": "tl.where({1} > 0, {0}, {0} * {number})",
    "tanh_reverse": "{0} * (1 - {1} * {1})",
    "sigmoid_reverse": "{0} * (1 - {1}) * {1}",
    "maximum_reverse": "tl.where({1} < {2}, 0.0, tl.where({1} == {2}, {0} * 0.5, {0}))",
    "softplus_reverse": "tl.where({1} > 20, {0}, {0} * sigmoid({1}))",
}
"""The operations of `fused.operations` in Triton: the arguments as {0}, {1}, the number as {number}."""

# Coefficients for |x| < 0.625: S. Moshier, Cephes Mathematical Library, tanhf.c.
_HEAD = '''\
"""Generated from a model's step."""

import triton
import triton.language as tl


@triton.jit
def sigmoid(x):
    return 1 / (1 + tl.exp(-x))


@triton.jit
def tanh(x):
    a = tl.abs(x)
    s = x * x
    p = -5.70498872745e-3 * s + 2.06390887954e-2
    p = ((p * s - 5.37397155531e-2) * s + 1.33314422036e-1) * s - 3.33332819422e-1
    large = 1 - 2 / (tl.exp(2 * a) + 1)
    return tl.where(a < 0.625, p * s * x + x, tl.where(x < 0, -large, large))


@triton.jit
def log_one_plus(x):
    u = 1 + x
    return tl.log(u) + (x - (u - 1)) / u


@triton.jit
def softplus(x):
    return tl.where(x > 20, x, tl.where(x <= 0, 0.0, x) + log_one_plus(tl.exp(-tl.abs(x))))


@triton.jit
def log_sigmoid(x):
    return tl.where(x < 0, x, 0.0) - log_one_plus(tl.exp(-tl.abs(x)))


@triton.jit
def rounded(x):
    a = tl.abs(x)
    whole = (a + 8388608.0) - 8388608.0
    return tl.where(a < 8388608.0, tl.where(x < 0, -whole, whole), x)
'''


@dataclass(frozen=True)
class KernelSource:
    """A kernel's text and how it is called.

    Args:
        text: A function `forward` or `reverse`.
        buffers: Of these it takes the start, and the distances between steps and between rows.
        vectors: Of these it takes the start.
        matrices: Which matrices it takes, dense; transposed ones for `reverse`.
        sums: Where the sums over rows and steps go, side by side: slices of gradients of vectors.
        warps: Groups of 32 threads that a Triton program has.
    """

    text: str
    buffers: tuple[str, ...]
    vectors: tuple[str, ...]
    matrices: tuple[int, ...]
    sums: tuple[Slice, ...]
    warps: int


def source(program: Program, output: Slice, precision: Precision) -> tuple[KernelSource, KernelSource]:
    """Return the two kernels of a program.

    Args:
        program: The program.
        output: Which features of `new` are the output.
        precision: Of the products.
    """
    narrow = _narrow(program, _SIZES[precision].widest)
    return _forward(narrow, precision), _reverse(narrow, output, precision)


def module(*kernels: KernelSource) -> str:
    """Return the text of a Python module with these kernels."""
    return "\n\n".join([_HEAD, *(kernel.text for kernel in kernels)])


def padded(width: int) -> int:
    """Return how many units a tensor of `width` units has."""
    return max(_LEAST, 1 << (width - 1).bit_length())


def _narrow(program: Program, widest: int) -> Program:
    """Return the program with its loops cut into pieces of at most `widest` units."""

    def cut(loops: tuple[Loop, ...]) -> tuple[Loop, ...]:
        return tuple(piece for loop in loops for piece in _pieces(loop, widest))

    stages = tuple(Stage(s.products, cut(s.forward), cut(s.reverse)) for s in program.stages)
    return Program(stages, program.widths, program.zeroed)


def _pieces(loop: Loop, widest: int) -> Iterable[Loop]:
    for start in range(0, loop.width, widest):
        width = min(widest, loop.width - start)

        def moved(part: Slice, start: int = start, width: int = width) -> Slice:
            return part if _is_shared(part) else Slice(part.buffer, part.offset + start, width)

        instructions = tuple(i if i.source is None else replace(i, source=moved(i.source)) for i in loop.instructions)
        stores = tuple(replace(store, target=moved(store.target)) for store in loop.stores)
        yield Loop(width, instructions, stores)


def _is_shared(part: Slice) -> bool:
    return part.width == 1 and part.buffer.startswith("vector")


def _overlap(a: Slice, b: Slice) -> bool:
    return a.buffer == b.buffer and a.offset < b.offset + b.width and b.offset < a.offset + a.width


class _Writer:
    """Writes the body of one time step.

    Args:
        program: The program, its loops cut.
        precision: Of the products.
        carried: What is in registers when a step begins.
        stored: Buffers whose values must reach memory, and on which condition ("" for always). None for all.
    """

    def __init__(
        self, program: Program, precision: Precision, carried: Iterable[Slice], stored: dict[str, str] | None
    ) -> None:
        self.program, self.precision, self.sizes = program, precision, _SIZES[precision]
        self.stored = stored
        self.before: list[str] = []
        self.body: list[str] = []
        self.values = {part: _carried_name(part) for part in carried}
        self.vectors: dict[Slice, str] = {}
        self.matrices: dict[tuple[str, int, int, int, int], str] = {}
        self.sums: dict[Slice, str] = {}
        self.widths: set[int] = set()
        self.used: set[Slice] = set()
        self.from_memory: set[str] = set()
        self.unsettled: list[tuple[Slice, bool]] = []
        """What was written (True) to memory or read from it since the last barrier."""
        self.touched: set[str] = set()
        self.count = 0
        elements = sum(padded(p.left.width) * padded(p.out.width) for p in program.products)
        self.unrolled, self.resident = elements <= self.sizes.unrolled, elements <= self.sizes.resident

    # -- values --------------------------------------------------------------------------------------------------

    def new(self, expression: str) -> str:
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

    def address(self, part: Slice) -> str:
        self.touched.add(part.buffer)
        return f"{part.buffer} + {part.buffer}_rows + ({self.columns(part.width)} + {part.offset})[None, :]"

    def load(self, part: Slice) -> str:
        self.widths.add(part.width)
        return f"tl.load({self.address(part)}, mask=inside & in{part.width}, other=0.0)"

    def read(self, part: Slice) -> str:
        """Return the name of a slice's value."""
        if part in self.values:
            self.used.add(part)
            return self.values[part]
        if part.buffer.startswith("vector"):
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
        if any((writing or wrote) and _overlap(part, other) for other, wrote in self.unsettled):
            self.body.append("tl.debug_barrier()")
            self.unsettled.clear()
        self.unsettled.append((part, writing))

    def vector(self, part: Slice) -> str:
        if part not in self.vectors:
            name = self.vectors[part] = f"{part.buffer}_{part.offset}_{part.width}"
            if _is_shared(part):
                self.before.append(f"{name} = tl.load({part.buffer} + {part.offset})")
            else:
                columns = self.columns(part.width)
                mask = f"mask={columns} < {part.width}, other=0.0"
                self.before.append(f"{name} = tl.load({part.buffer} + {columns} + {part.offset}, {mask})[None, :]")
        return self.vectors[part]

    def write(self, part: Slice, value: str) -> None:
        """Give a slice its value."""
        for other in [other for other in self.values if _overlap(other, part)]:
            del self.values[other]
        self.values[part] = value
        condition = "" if self.stored is None else self.stored.get(part.buffer)
        if condition is None:
            return
        self.settle(part, writing=True)
        self.widths.add(part.width)
        store = f"tl.store({self.address(part)}, {value}, mask=inside & in{part.width})"
        self.body += [store] if not condition else [f"if {condition}:", f"    {store}"]

    def add_to_sum(self, part: Slice, value: str) -> None:
        """Add the sum over the rows to a gradient of a vector."""
        name = self.sums.setdefault(part, f"{part.buffer}_{part.offset}_{part.width}")
        self.widths.add(part.width)
        self.body.append(f"{name} += tl.sum(tl.where(inside & in{part.width}, {value}, 0.0), axis=0)")

    # -- loops ---------------------------------------------------------------------------------------------------

    def loop(self, loop: Loop) -> None:
        values: list[str] = []
        shape = f"({ROWS}, {padded(loop.width)})"
        for instruction in loop.instructions:
            values.append(self.instruction(instruction, values, shape))
        for store in loop.stores:
            value, target = values[store.value], store.target
            if target.buffer.startswith("d_vector"):
                self.add_to_sum(target, value)
            elif store.accumulate:
                self.write(target, self.new(f"{self.read(target)} + {value}"))
            else:
                self.write(target, value)

    def instruction(self, instruction: Instruction, values: list[str], shape: str) -> str:
        if instruction.source is not None:
            value = self.read(instruction.source)
            vector = instruction.source.buffer.startswith("vector")
            return self.new(f"tl.broadcast_to({value}, {shape})") if vector else value
        if instruction.op == "constant":
            return self.new(f"tl.full({shape}, {_number(instruction.number)}, tl.float32)")
        args = [values[arg] for arg in instruction.args]
        return self.new(TEXTS[instruction.op].format(*args, number=_number(instruction.number)))

    # -- products ------------------------------------------------------------------------------------------------

    def multiply(self, left: Slice, matrix: str, columns: int, part: Slice, start: int, before: str | None) -> str:
        """Return the name of left @ matrix[:, start : start + part.width].

        Args:
            left: The left operand.
            matrix: The matrix's name.
            columns: How many it has.
            part: Where the product belongs.
            start: The first column.
            before: What to add it to.
        """
        pieces = self.tiling(left) if self.unrolled else None
        if pieces is None and left.width > self.sizes.inner:
            return self.multiply_by_tiles(left, matrix, columns, part, start, before)
        for piece in pieces or [left]:
            value = self.as_operand(piece)
            block = self.block(matrix, columns, piece.offset - left.offset, piece.width, start, part.width)
            before = self.new(self.dot(value, block, before))
        assert before is not None  # there is a piece
        return before

    def tiling(self, part: Slice) -> list[Slice] | None:
        """Return what is in registers that makes up a slice."""
        found, at, end = [], part.offset, part.offset + part.width
        while at < end:
            fits = [v for v in self.values if v.buffer == part.buffer and v.offset == at and at + v.width <= end]
            if not fits:
                return None
            found.append(max(fits, key=lambda v: v.width))
            at += found[-1].width
        return found

    def as_operand(self, part: Slice) -> str:
        value = self.read(part)
        if padded(part.width) != part.width:
            self.widths.add(part.width)
            value = self.new(f"tl.where(in{part.width}, {value}, 0.0)")
        return self.new(f"{value}.to(tl.bfloat16)") if self.precision == "bf16" else value

    def dot(self, left: str, right: str, before: str | None) -> str:
        added = "" if before is None else f", {before}"
        precision = {"float32": "ieee", "tf32": "tf32", "bf16": "ieee"}[self.precision]
        return f'tl.dot({left}, {right}{added}, input_precision="{precision}")'

    def block(self, matrix: str, columns: int, row: int, rows: int, start: int, width: int) -> str:
        """Return the name of a block of a matrix; where matrices stay in registers, it is loaded ahead of all steps."""
        key = (matrix, row, rows, start, width)
        inner, outer = self.columns(rows), self.columns(width)
        address = f"{matrix} + ({inner} + {row})[:, None] * {columns} + ({outer} + {start})[None, :]"
        load = f"tl.load({address}, mask=({inner} < {rows})[:, None] & in{width}, other=0.0)"
        if not self.resident:
            return self.new(load)
        if key not in self.matrices:
            self.matrices[key] = "_".join(str(k) for k in key)
            self.before.append(f"{self.matrices[key]} = {load}")
        return self.matrices[key]

    def multiply_by_tiles(
        self, left: Slice, matrix: str, columns: int, part: Slice, start: int, before: str | None
    ) -> str:
        self.settle(left, writing=False)
        self.touched.add(left.buffer)
        total = self.new(f"tl.zeros({self.tensor(part)}, tl.float32)" if before is None else before)
        tile = self.sizes.inner
        c, inner = self.columns(part.width), self.columns(tile)
        self.widths.add(part.width)
        cast = ".to(tl.bfloat16)" if self.precision == "bf16" else ""
        rest = f"({inner} < {left.width} - k)"
        self.body += [
            f"for k in range(0, {left.width}, {tile}):",
            f"    rows_tile = tl.load({left.buffer} + {left.buffer}_rows + ({inner} + (k + {left.offset}))[None, :], "
            f"mask=inside & {rest}[None, :], other=0.0){cast}",
            f"    matrix_tile = tl.load({matrix} + ({inner} + k)[:, None] * {columns} + ({c} + {start})[None, :], "
            f"mask={rest}[:, None] & in{part.width}, other=0.0)",
            f"    {total} = {self.dot('rows_tile', 'matrix_tile', total)}",
        ]
        return total

    # -- the whole -----------------------------------------------------------------------------------------------

    def kernel(self, name: str, extra: list[str], start: list[str], end: list[str], after: list[str]) -> KernelSource:
        """Return the kernel.

        Args:
            name: Of the function.
            extra: Its last arguments.
            start: Lines ahead of the steps.
            end: Lines at the end of each step.
            after: Lines behind the last step.
        """
        buffers = sorted(self.touched | ({"d_new", "d_old"} if name == "reverse" else set()))
        vectors = sorted({part.buffer for part in self.vectors})
        matrices = sorted({p.matrix for p in self.program.products})
        arguments = ["batch", "steps"]
        for buffer in buffers:
            arguments += [buffer, f"{buffer}_time", f"{buffer}_row"]
        arguments += [*vectors, *(f"matrix{k}" for k in matrices), *extra]
        moved = [b for b in buffers if b not in ("d_new", "d_old")]
        lines = [f"rows = tl.program_id(0) * {ROWS} + tl.arange(0, {ROWS})", "inside = (rows < batch)[:, None]"]
        lines += [f"c{n} = tl.arange(0, {n})" for n in sorted({padded(w) for w in self.widths})]
        lines += [f"in{w} = (c{padded(w)} < {w})[None, :]" for w in sorted(self.widths)]
        lines += [f"{b}_rows = rows.to(tl.int64)[:, None] * {b}_row" for b in buffers]
        lines += [*self.before, *start, "for _ in tl.range(0, steps, 1, num_stages=1):"]
        lines += [f"    {line}" for line in [*self.body, *end, *(f"{b} += {b}_time" for b in moved)]]
        text = "\n".join(
            ["@triton.jit", f"def {name}({', '.join(arguments)}):", *(f"    {line}" for line in [*lines, *after]), ""]
        )
        widest = max(padded(w) for w in self.widths)
        warps = 4 if widest <= 64 else 8
        return KernelSource(text, tuple(buffers), tuple(vectors), tuple(matrices), tuple(self.sums), warps)


class _Forward(_Writer):
    def compute(self, part: Slice) -> str:
        return self.product(part) if part.buffer == "product" else super().compute(part)

    def product(self, part: Slice) -> str:
        """Return the name of a slice of products, at the moment when it is first read."""
        total = None
        for p in self.program.products:
            if _overlap(p.out, part):
                start = part.offset - p.out.offset
                total = self.multiply(p.left, f"matrix{p.matrix}", p.out.width, part, start, total)
        assert total is not None  # every slot has a product
        return total

    def step(self) -> None:
        for stage in self.program.stages:
            for loop in stage.forward:
                self.loop(loop)


def _forward(program: Program, precision: Precision) -> KernelSource:
    first = _Forward(program, precision, (), None)
    first.step()
    after = [Slice("old", part.offset, part.width) for part in first.values if part.buffer == "new"]
    if sum(part.width for part in after) > _CARRIED:
        after = []
    second = _Forward(program, precision, after, None)
    second.step()
    carried = [part for part in after if part in second.used]
    stored = {"left": "saving", "saved": "saving"} | dict.fromkeys([*second.from_memory, "new"], "")
    writer = _Forward(program, precision, carried, stored)
    writer.step()
    start = [f"{_carried_name(part)} = {writer.load(part)}" for part in carried]
    end = _hand_on({part: writer.values[Slice("new", part.offset, part.width)] for part in carried})
    if writer.from_memory & {"old", "left", "new"}:
        end.append("tl.debug_barrier()")
    return writer.kernel("forward", ["saving: tl.constexpr"], start, end, [])


class _Reverse(_Writer):
    """Writes a step of the reverse.

    Args:
        program: The program, its loops cut.
        precision: Of the products.
        carried: Parts of `d_new` that are in registers when a step begins.
        stored: As in `_Writer`.
        output: Which features of `new` are the output.
    """

    def __init__(
        self,
        program: Program,
        precision: Precision,
        carried: Iterable[Slice],
        stored: dict[str, str] | None,
        output: Slice,
    ) -> None:
        super().__init__(program, precision, (), stored)
        self.output = output
        self.carried = set(carried)
        self.adjoints: set[Slice] = set()
        """What is read of `d_new`."""
        self.cuts: dict[str, set[int]] = {}
        for loop in (loop for stage in program.stages for loop in stage.reverse):
            loads = [i.source for i in loop.instructions if i.source is not None]
            for part in [*loads, *(store.target for store in loop.stores)]:
                buffer = part.buffer.replace("d_new", "d_old")
                self.cuts.setdefault(buffer, set()).update((part.offset, part.offset + part.width))

    def compute(self, part: Slice) -> str:
        if part.buffer != "d_new":
            return super().compute(part)
        self.adjoints.add(part)
        if part in self.carried:
            value = _carried_name(part)
        else:
            value = super().compute(part)
        if not _overlap(part, Slice("d_new", self.output.offset, self.output.width)):
            return value
        # The output's gradient may cover a part of the slice alone.
        shift, width = part.offset - self.output.offset, self.output.width
        c = self.columns(part.width)
        self.widths.add(part.width)
        mask = f"inside & in{part.width}"
        if shift < 0 or shift + part.width > width:
            mask += f" & ({c} >= {-shift})[None, :] & ({c} < {width - shift})[None, :]"
        total = self.new(value)
        self.touched.add("d_output")
        address = f"d_output + d_output_rows + ({c} + {shift})[None, :]"
        self.body += ["if every:", f"    {total} += tl.load({address}, mask={mask}, other=0.0)"]
        return total

    def parts_of(self, target: Slice) -> list[Slice]:
        """Return a slice in the pieces that loops read and write."""
        end = target.offset + target.width
        cuts = {cut for cut in self.cuts.get(target.buffer, set()) if target.offset < cut < end}
        found = []
        for start, stop in pairwise(sorted({target.offset, end, *cuts})):
            for at in range(start, stop, self.sizes.widest):
                found.append(Slice(target.buffer, at, min(self.sizes.widest, stop - at)))
        return found

    def step(self) -> None:
        for buffer in sorted(self.program.zeroed):
            for part in self.parts_of(Slice(buffer, 0, self.program.widths[buffer])):
                self.write(part, self.new(f"tl.zeros({self.tensor(part)}, tl.float32)"))
        for stage in reversed(self.program.stages):
            for loop in stage.reverse:
                self.loop(loop)
            for p in (p for p in stage.products if p.has_gradient):
                self.product(p)

    def product(self, p: Product) -> None:
        for part in self.parts_of(p.left.gradient):
            before = self.read(part) if p.accumulate_gradient else None
            start = part.offset - p.left.offset
            value = self.multiply(p.out.gradient, f"matrix{p.matrix}", p.left.width, part, start, before)
            self.write(part, value)


def _reverse(program: Program, output: Slice, precision: Precision) -> KernelSource:
    first = _Reverse(program, precision, (), None, output)
    first.step()
    width = program.widths["d_old"]
    after = first.tiling(Slice("d_old", 0, width))
    carried = [Slice("d_new", part.offset, part.width) for part in after or []]
    if width > _CARRIED or not first.adjoints <= set(carried):
        carried = []
    second = _Reverse(program, precision, carried, None, output)
    second.step()
    stored = {"d_product": "keeping"} | {buffer: "" for buffer in program.widths if buffer.startswith("d_drive")}
    stored |= dict.fromkeys(second.from_memory, "")
    if not carried:
        stored["d_old"] = ""
    writer = _Reverse(program, precision, carried, stored, output)
    writer.step()
    start = [f"{_carried_name(part)} = {writer.load(part)}" for part in carried]
    start += [f"{name} = tl.zeros(({padded(part.width)},), tl.float32)" for part, name in writer.sums.items()]
    end = _hand_on({part: writer.values[Slice("d_old", part.offset, part.width)] for part in carried})
    if not carried or any(buffer.startswith("d_") for buffer in writer.from_memory):
        end.append("tl.debug_barrier()")
    end += ["d_free = d_new", "d_new = d_old", "d_old = d_free"]  # their rows are equally far apart
    after_all = [
        f"tl.store({writer.address(part)}, {_carried_name(part)}, mask=inside & in{part.width})" for part in carried
    ]
    total, at = sum(part.width for part in writer.sums), 0
    for part, name in writer.sums.items():
        c = writer.columns(part.width)
        after_all.append(f"tl.store(sums + tl.program_id(0) * {total} + {c} + {at}, {name}, mask={c} < {part.width})")
        at += part.width
    extra = ["sums", "every: tl.constexpr", "keeping: tl.constexpr"]
    return writer.kernel("reverse", extra, start, end, after_all)


def _carried_name(part: Slice) -> str:
    return f"carried_{part.offset}_{part.width}"


def _hand_on(values: dict[Slice, str]) -> list[str]:
    """Return the lines that give the carried parts their values for the next step; a value may be another part's."""
    names = {part: f"next_{part.offset}_{part.width}" for part in values}
    return [
        *(f"{names[part]} = {value}" for part, value in values.items()),
        *(f"{_carried_name(part)} = {name}" for part, name in names.items()),
    ]


def _number(number: float) -> str:
    assert math.isfinite(number)  # the trace refuses others
    return repr(float(number))
