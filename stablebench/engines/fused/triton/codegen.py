"""Writes a program as two Triton kernels: one for all steps of a sequence, one for all steps in backward.

A Triton program owns `ROWS` rows of the batch from the first step to the last. Within a step every value has a place
in memory, a slice of a buffer; most are handed on in registers all the same, because what is read is exactly what was
stored. Where it is not, where parts overlap, or where a state is too wide for registers, the value goes through
memory, and a barrier stands between the threads that write it and those that read it.

Slices are padded to powers of two, as Triton's tensors must be. What a loop computes behind a slice's end is
arbitrary, NaN included; it is never stored, and is set to zero before it enters a matmul or a sum.
"""

from collections.abc import Iterable
from itertools import pairwise

from stablebench.engines.fused.program import (
    MATMUL,
    MATMUL_LHS,
    NEW,
    OLD,
    OUTPUT,
    SAVED,
    Buffer,
    Kind,
    Matmul,
    Program,
    Slice,
)
from stablebench.engines.fused.triton.kernel_text import ROWS, SIZES, KernelSource, Precision, narrow, padded
from stablebench.engines.fused.triton.matmul_text import multiply
from stablebench.engines.fused.triton.step_writer import StepWriter, carried_name, overlap

_CARRIED = 512
"""Units of the states that stay in registers from step to step: 16 rows of them are 8192 numbers."""


def source(program: Program, output: Slice, precision: Precision) -> tuple[KernelSource, KernelSource]:
    """Return the two kernels of a program.

    Args:
        program: The program.
        output: Which features of `new` are the output.
        precision: Of the matmuls.
    """
    pieces = narrow(program, SIZES[precision].widest)
    return _forward(pieces, precision), _backward(pieces, output, precision)


def _kernel(
    writer: StepWriter, name: str, extra: list[str], start: list[str], end: list[str], after: list[str]
) -> KernelSource:
    """Return the kernel of a step.

    Args:
        writer: Wrote the step.
        name: Of the function.
        extra: Its last arguments.
        start: Lines before the steps.
        end: Lines at the end of each step.
        after: Lines after the last step.
    """
    buffers = sorted(writer.touched | ({NEW.gradient, OLD.gradient} if name == "backward" else set()))
    vectors = sorted({part.buffer for part in writer.vectors})
    matrices = sorted({p.matrix for p in writer.program.matmuls})
    arguments = ["batch", "steps"]
    for buffer in buffers:
        arguments += [str(buffer), f"{buffer}_time", f"{buffer}_row"]
    arguments += [*map(str, vectors), *(f"matrix{k}" for k in matrices), *extra]
    moved = [b for b in buffers if b not in (NEW.gradient, OLD.gradient)]
    lines = [f"rows = tl.program_id(0) * {ROWS} + tl.arange(0, {ROWS})", "inside = (rows < batch)[:, None]"]
    lines += [f"c{n} = tl.arange(0, {n})" for n in sorted({padded(w) for w in writer.widths})]
    lines += [f"in{w} = (c{padded(w)} < {w})[None, :]" for w in sorted(writer.widths)]
    lines += [f"{b}_rows = rows.to(tl.int64)[:, None] * {b}_row" for b in buffers]
    lines += [*writer.before, *start, "for _ in tl.range(0, steps, 1, num_stages=1):"]
    lines += [f"    {line}" for line in [*writer.body, *end, *(f"{b} += {b}_time" for b in moved)]]
    text = "\n".join(
        ["@triton.jit", f"def {name}({', '.join(arguments)}):", *(f"    {line}" for line in [*lines, *after]), ""]
    )
    widest = max(padded(w) for w in writer.widths)
    warps = 4 if widest <= 64 else 8
    return KernelSource(text, tuple(buffers), tuple(vectors), tuple(matrices), tuple(writer.sums), warps)


class _Forward(StepWriter):
    def compute(self, part: Slice) -> str:
        return self.matmul(part) if part.buffer == MATMUL else super().compute(part)

    def matmul(self, part: Slice) -> str:
        """Return the name of a slice of matmuls, at the moment when it is first read."""
        total = None
        for p in self.program.matmuls:
            if overlap(p.out, part):
                start = part.offset - p.out.offset
                total = multiply(self, p.lhs, f"matrix{p.matrix}", p.out.width, part, start, total)
        assert total is not None  # every slot has a matmul
        return total

    def step(self) -> None:
        for stage in self.program.stages:
            for loop in stage.forward:
                self.loop(loop)


def _forward(program: Program, precision: Precision) -> KernelSource:
    first = _Forward(program, precision, (), None)
    first.step()
    after = [Slice(OLD, part.offset, part.width) for part in first.values if part.buffer == NEW]
    if sum(part.width for part in after) > _CARRIED:
        after = []
    second = _Forward(program, precision, after, None)
    second.step()
    carried = [part for part in after if part in second.used]
    stored = {MATMUL_LHS: "saving", SAVED: "saving"} | dict.fromkeys([*second.from_memory, NEW], "")
    writer = _Forward(program, precision, carried, stored)
    writer.step()
    start = [f"{carried_name(part)} = {writer.load(part)}" for part in carried]
    end = _hand_on({part: writer.values[Slice(NEW, part.offset, part.width)] for part in carried})
    if writer.from_memory & {OLD, MATMUL_LHS, NEW}:
        end.append("tl.debug_barrier()")
    return _kernel(writer, "forward", ["saving: tl.constexpr"], start, end, [])


class _Backward(StepWriter):
    """Writes a step of the backward.

    Args:
        program: The program, its loops cut.
        precision: Of the matmuls.
        carried: Parts of the gradient of `NEW` that are in registers when a step begins.
        stored: As in `StepWriter`.
        output: Which features of `new` are the output.
    """

    def __init__(
        self,
        program: Program,
        precision: Precision,
        carried: Iterable[Slice],
        stored: dict[Buffer, str] | None,
        output: Slice,
    ) -> None:
        super().__init__(program, precision, (), stored)
        self.output = output
        self.carried = set(carried)
        self.adjoints: set[Slice] = set()
        """What is read of the gradient of `NEW`."""
        self.cuts: dict[Buffer, set[int]] = {}
        for loop in (loop for stage in program.stages for loop in stage.backward):
            loads = [i.source for i in loop.instructions if i.source is not None]
            for part in [*loads, *(store.target for store in loop.stores)]:
                buffer = OLD.gradient if part.buffer == NEW.gradient else part.buffer
                self.cuts.setdefault(buffer, set()).update((part.offset, part.offset + part.width))

    def compute(self, part: Slice) -> str:
        if part.buffer != NEW.gradient:
            return super().compute(part)
        self.adjoints.add(part)
        value = carried_name(part) if part in self.carried else super().compute(part)
        if not overlap(part, Slice(NEW.gradient, self.output.offset, self.output.width)):
            return value
        # The output's gradient may cover only a part of the slice.
        shift, width = part.offset - self.output.offset, self.output.width
        c = self.columns(part.width)
        mask = self.mask(part)
        if shift < 0 or shift + part.width > width:
            mask += f" & ({c} >= {-shift})[None, :] & ({c} < {width - shift})[None, :]"
        total = self.new(value)
        self.touched.add(OUTPUT.gradient)
        address = f"d_output + d_output_rows + ({c} + {shift})[None, :]"
        self.body += ["if every:", f"    {total} += tl.load({address}, mask={mask}, other=0.0)"]
        return total

    def parts_of(self, target: Slice) -> list[Slice]:
        """Return a slice in the pieces that loops read and write."""
        end = target.offset + target.width
        cuts = {cut for cut in self.cuts.get(target.buffer, set()) if target.offset < cut < end}
        parts = []
        for start, stop in pairwise(sorted({target.offset, end, *cuts})):
            for at in range(start, stop, self.sizes.widest):
                parts.append(Slice(target.buffer, at, min(self.sizes.widest, stop - at)))
        return parts

    def step(self) -> None:
        for buffer in sorted(self.program.zeroed):
            for part in self.parts_of(Slice(buffer, 0, self.program.widths[buffer])):
                self.write(part, self.new(f"tl.zeros({self.tensor(part)}, tl.float32)"))
        for stage in reversed(self.program.stages):
            for loop in stage.backward:
                self.loop(loop)
            for p in (p for p in stage.matmuls if p.lhs_needs_grad):
                self.matmul(p)

    def matmul(self, p: Matmul) -> None:
        for part in self.parts_of(p.lhs.gradient):
            before = self.read(part) if p.accumulate_lhs_gradient else None
            start = part.offset - p.lhs.offset
            value = multiply(self, p.out.gradient, f"matrix{p.matrix}", p.lhs.width, part, start, before)
            self.write(part, value)


def _backward(program: Program, output: Slice, precision: Precision) -> KernelSource:
    first = _Backward(program, precision, (), None, output)
    first.step()
    width = program.widths[OLD.gradient]
    after = first.tiling(Slice(OLD.gradient, 0, width))
    carried = [Slice(NEW.gradient, part.offset, part.width) for part in after or []]
    if width > _CARRIED or not first.adjoints <= set(carried):
        carried = []
    second = _Backward(program, precision, carried, None, output)
    second.step()
    stored = {MATMUL.gradient: "keeping"} | {
        buffer: "" for buffer in program.widths if buffer.kind is Kind.PROJECTION and buffer.is_gradient
    }
    stored |= dict.fromkeys(second.from_memory, "")
    if not carried:
        stored[OLD.gradient] = ""
    writer = _Backward(program, precision, carried, stored, output)
    writer.step()
    start = [f"{carried_name(part)} = {writer.load(part)}" for part in carried]
    start += [f"{name} = tl.zeros(({padded(part.width)},), tl.float32)" for part, name in writer.sums.items()]
    end = _hand_on({part: writer.values[Slice(OLD.gradient, part.offset, part.width)] for part in carried})
    if not carried or any(buffer.is_gradient for buffer in writer.from_memory):
        end.append("tl.debug_barrier()")
    end += ["d_free = d_new", "d_new = d_old", "d_old = d_free"]  # their rows are equally far apart
    after_all = [
        f"tl.store({writer.address(part)}, {carried_name(part)}, mask={writer.mask(part)})" for part in carried
    ]
    total, at = sum(part.width for part in writer.sums), 0
    for part, name in writer.sums.items():
        c = writer.columns(part.width)
        after_all.append(f"tl.store(sums + tl.program_id(0) * {total} + {c} + {at}, {name}, mask={c} < {part.width})")
        at += part.width
    extra = ["sums", "every: tl.constexpr", "keeping: tl.constexpr"]
    return _kernel(writer, "backward", extra, start, end, after_all)


def _hand_on(values: dict[Slice, str]) -> list[str]:
    """Return the lines that give the carried parts their values for the next step; a value may be another part's."""
    names = {part: f"next_{part.offset}_{part.width}" for part in values}
    return [
        *(f"{names[part]} = {value}" for part, value in values.items()),
        *(f"{carried_name(part)} = {name}" for part, name in names.items()),
    ]
