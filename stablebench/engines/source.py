"""Writes a program as C: one function for all steps of a sequence, one for all steps in reverse.

Both take the rows of one slice of the batch, so slices can run side by side. For every buffer of `forward_buffers` or
`reverse_buffers`, in this order, they get a pointer and the distances between steps and between rows, in elements.
"""

import math
from functools import cache
from pathlib import Path

from stablebench.engines.operations import OPERATIONS
from stablebench.engines.program import Instruction, Loop, Product, Program, Slice

_SIGNATURE = "(int64_t rows, int64_t steps, int64_t {last}, void *const *at, const int64_t *time, const int64_t *row)"


def forward_buffers(program: Program) -> list[str]:
    """Return the buffers that `forward` takes: those of the program, and the packed matrices."""
    return [*sorted(_plain(program)), *(f"matrix{k}" for k in _matrices(program))]


def reverse_buffers(program: Program) -> list[str]:
    """Return the buffers that `reverse` takes.

    `transposed<k>` are the packed transposed matrices, `d_matrix<k>` their gradients (null where none is wanted),
    `d_output` the gradients of the outputs (null if only the last one is used). `d_product` holds `chunk` steps.
    """
    gradients = [buffer for buffer in program.widths if buffer.startswith("d_")]
    matrices = [name.format(k) for k in _matrices(program) for name in ("transposed{}", "d_matrix{}")]
    return [*sorted(_plain(program)), *sorted(gradients), "d_output", *matrices]


def _plain(program: Program) -> list[str]:
    return [buffer for buffer in program.widths if not buffer.startswith("d_")]


def _matrices(program: Program) -> list[int]:
    return sorted({product.matrix for product in program.products})


@cache
def kernels() -> str:
    """Return the C text that does not depend on the program."""
    return (Path(__file__).parent / "kernels.c").read_text(encoding="utf-8")


def source(program: Program, output: Slice, double: bool) -> str:
    """Return the C text of a program.

    Args:
        program: The program.
        output: Which features of `new` are the output.
        double: Whether it is for float64.
    """
    return "\n".join(
        [
            "#define DOUBLE" if double else "",
            kernels(),
            *_forward(program),
            *_reverse(program, output),
            "",
        ]
    )


def _forward(program: Program) -> list[str]:
    lines = [f"INLINE void all_steps{_SIGNATURE.format(last='saving')}", "{", *_unpack(forward_buffers(program))]
    lines.append("    for (int64_t t = 0; t < steps; t++) {")
    for stage in program.stages:
        lines += [_product(p, p.left, f"matrix{p.matrix}", p.out, p.accumulate) for p in stage.products]
        for loop in stage.forward:
            lines += _loop(loop)
    lines += ["    }", "}", "", f"void forward{_SIGNATURE.format(last='saving')}", "{"]
    lines += ["    if (saving) all_steps(rows, steps, 1, at, time, row);"]
    lines += ["    else all_steps(rows, steps, 0, at, time, row);", "}", ""]
    return lines


def _reverse(program: Program, output: Slice) -> list[str]:
    d_new, d_output = Slice("d_new", output.offset, output.width), Slice("d_output", 0, output.width)
    lines = [f"void reverse{_SIGNATURE.format(last='chunk')}", "{", *_unpack(reverse_buffers(program))]
    vectors = [buffer for buffer in sorted(program.widths) if buffer.startswith("d_vector")]
    lines += [f"    real {buffer}_step[{program.widths[buffer]}] = {{0}};" for buffer in vectors]
    lines += ["    for (int64_t t = steps - 1; t >= 0; t--) {", "        if (d_output)"]
    lines += _each_row([d_new, d_output], output.width, [f"{_at(d_new)} += {_at(d_output)};"])
    for buffer in sorted(program.zeroed):
        whole = Slice(buffer, 0, program.widths[buffer])
        lines += _each_row([whole], whole.width, [f"{_at(whole)} = 0;"])
    for stage in reversed(program.stages):
        for loop in stage.reverse:
            lines += _loop(loop)
        for p in (p for p in stage.products if p.has_gradient):
            lines.append(_product(p, p.out.gradient, f"transposed{p.matrix}", p.left.gradient, p.accumulate_gradient))
    for buffer in vectors:  # a step's rows are summed first, and the sums of all steps in double precision
        width = program.widths[buffer]
        lines.append(
            f"        for (int64_t j = 0; j < {width}; j++) {buffer}[j] += {buffer}_step[j], {buffer}_step[j] = 0;"
        )
    lines += ["        if (t % chunk == 0) {", "            const int64_t n = steps - t < chunk ? steps - t : chunk;"]
    lines += [_matrix_gradient(p) for p in program.products]
    return [*lines, "        }", "    }", "}"]


def _unpack(buffers: list[str]) -> list[str]:
    """Return the declarations of pointers and distances."""
    lines = []
    for i, buffer in enumerate(buffers):
        kind = "double" if buffer.startswith("d_vector") else "real"
        lines.append(f"    {kind} *const {buffer} = at[{i}];")
        lines.append(f"    const int64_t {buffer}_time = time[{i}], {buffer}_row = row[{i}];")
        lines.append(f"    (void){buffer}, (void){buffer}_time, (void){buffer}_row;")
    return lines


def _step(buffer: str) -> str:
    """Return the start of a buffer at step t. Adjoints of states alternate between two places."""
    if buffer.startswith("vector"):
        return buffer
    if buffer.startswith("d_vector"):
        return f"{buffer}_step"
    step = {"d_new": "(t + 1) % 2", "d_old": "t % 2", "d_product": "t % chunk"}.get(buffer, "t")
    return f"{buffer} + ({step}) * {buffer}_time"


def _each_row(parts: list[Slice], width: int, body: list[str]) -> list[str]:
    """Return the loops over rows b and units j around `body`, in which `<buffer>_b` is row b of a buffer."""
    lines = ["        for (int64_t b = 0; b < rows; b++) {"]
    for buffer in sorted({part.buffer for part in parts}):
        row = "" if "vector" in buffer else f" + b * {buffer}_row"
        lines.append(f"            real *const {buffer}_b = {_step(buffer)}{row};")
    lines += ["#pragma omp simd", f"            for (int64_t j = 0; j < {width}; j++) {{"]
    return [*lines, *(f"                {line}" for line in body), "            }", "        }"]


def _at(part: Slice) -> str:
    """Return an element of row b: feature j of a slice, or the one that all units share."""
    shared = part.width == 1 and part.buffer.startswith("vector")
    return f"{part.buffer}_b[{part.offset}{'' if shared else ' + j'}]"


def _loop(loop: Loop) -> list[str]:
    body = [f"const real v{i} = {_expression(instruction)};" for i, instruction in enumerate(loop.instructions)]
    for store in loop.stores:
        condition = "if (saving) " if store.target.buffer == "saved" else ""
        body.append(f"{condition}{_at(store.target)} {'+=' if store.accumulate else '='} v{store.value};")
    loaded = [instruction.source for instruction in loop.instructions if instruction.source is not None]
    return _each_row([*loaded, *(store.target for store in loop.stores)], loop.width, body)


def _expression(instruction: Instruction) -> str:
    if instruction.op == "load":
        assert instruction.source is not None  # every load has one
        return _at(instruction.source)
    if instruction.op == "constant":
        return _number(instruction.number)
    args = [f"v{arg}" for arg in instruction.args]
    return OPERATIONS[instruction.op].c.format(*args, number=_number(instruction.number))


def _number(number: float) -> str:
    assert math.isfinite(number)  # the trace refuses others
    return f"(real){number.hex()}"


def _product(product: Product, left: Slice, matrix: str, out: Slice, accumulate: bool) -> str:
    """Return the call for out (+)= left @ matrix, in reverse with the roles of left and out exchanged."""
    return (
        f"        multiply(rows, {left.width}, {out.width}, {_step(left.buffer)} + {left.offset}, {left.buffer}_row, "
        f"{matrix}, {_step(out.buffer)} + {out.offset}, {out.buffer}_row, {int(accumulate)});"
    )


def _matrix_gradient(product: Product) -> str:
    left, d_out, k = product.left, product.out.gradient, product.matrix
    return (
        f"            if (d_matrix{k}) multiply_transposed(n, rows, {left.width}, {d_out.width}, "
        f"{_step(left.buffer)} + {left.offset}, {left.buffer}_time, {left.buffer}_row, d_product + {d_out.offset}, "
        f"d_product_time, d_product_row, d_matrix{k}, d_matrix{k}_row);"
    )
