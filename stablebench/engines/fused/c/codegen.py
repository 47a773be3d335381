"""Writes a program as C: one function for all steps of a sequence, one for all steps in backward.

Both take the rows of one slice of the batch, so slices can run side by side. For every buffer of `forward_buffers` or
`backward_buffers`, in this order, they get a pointer and the distances between steps and between rows, in elements.
"""

import math
from functools import cache
from pathlib import Path

from stablebench.engines.fused.operations import OPERATIONS
from stablebench.engines.fused.program import (
    MATMUL,
    NEW,
    OLD,
    OUTPUT,
    SAVED,
    Buffer,
    Instruction,
    Kind,
    Loop,
    Matmul,
    Program,
    Slice,
)

_NARROW = 16
"""Units up to which a layer of a deep network takes much of its time in calls."""
_IN_CACHE = 1 << 20
"""States of a sequence up to which they are still in a cache when backward begins."""
_SIGNATURE = "(int64_t rows, int64_t steps, int64_t {last}, void *const *at, const int64_t *time, const int64_t *row)"


def forward_buffers(program: Program) -> list[Buffer]:
    """Return the buffers that `forward` takes: those of the program, and the packed matrices."""
    return [*_values(program), *(Buffer(Kind.MATRIX, k) for k in _matrices(program)), *_packed(program)]


def backward_buffers(program: Program) -> list[Buffer]:
    """Return the buffers that `backward` takes.

    `transposed<k>` are the packed transposed matrices, `d_matrix<k>` their gradients (null where none is computed),
    `d_output` the gradients of the outputs (null if only the last one is used). `d_matmul` holds `chunk` steps.
    Matrices that differ from step to step come as they are, (steps, inner, columns), and `packed<k>` is room for one.
    """
    gradients = sorted(buffer for buffer in program.widths if buffer.is_gradient)
    matrices = [
        buffer for k in _matrices(program) for buffer in (Buffer(Kind.TRANSPOSED, k), Buffer(Kind.MATRIX, k).gradient)
    ]
    return [*_values(program), *gradients, OUTPUT.gradient, *matrices, *_packed(program)]


def _values(program: Program) -> list[Buffer]:
    return sorted(buffer for buffer in program.widths if not buffer.is_gradient)


def _packed(program: Program) -> list[Buffer]:
    return [Buffer(Kind.PACKED, k) for k in _matrices(program) if Buffer(Kind.MATRIX, k) in program.by_step]


def _matrices(program: Program) -> list[int]:
    return sorted({matmul.matrix for matmul in program.matmuls})


@cache
def text_of(file: str) -> str:
    """Return a file of this folder."""
    return (Path(__file__).parent / file).read_text(encoding="utf-8")


@cache
def products(double: bool) -> str:
    """Return the C text of the products, which does not depend on a program.

    Args:
        double: Whether it is for float64.
    """
    return "\n".join([_real(double), text_of("functions.c"), "#define PRODUCT", text_of("products.c")])


@cache
def probe() -> str:
    """Return the C text that is timed to choose flags and tile: a function `probe(repeats)`."""
    tiles = "#define TILES TILE(TILE_ROWS, TILE_VECTORS) TILE(TILE_ROWS, TILE_VECTORS - 1)"  # quickly compiled
    return "\n".join(
        [text_of("functions.c"), "#define PRODUCT static", tiles, text_of("products.c"), text_of("probe.c")]
    )


def _inlined(program: Program) -> list[str]:
    """Return the products: inlined for their sizes where they are so narrow, and packed so often, that it pays."""
    widest = max((width for matmul in program.matmuls for width in (matmul.lhs.width, matmul.out.width)), default=0)
    if program.by_step and widest <= _NARROW:
        return [f"#define NARROW {max(1, widest)}", text_of("products.c")]
    return [text_of("products.h")]


def _real(double: bool) -> str:
    return "#define DOUBLE" if double else ""


def source(program: Program, output: Slice, double: bool) -> str:
    """Return the C text of a program.

    Args:
        program: The program.
        output: Which features of `new` are the output.
        double: Whether it is for float64.
    """
    return "\n".join(
        [
            _real(double),
            text_of("functions.c"),
            "#define PRODUCT static",
            *_inlined(program),
            *_forward(program),
            *_backward(program, output),
            "",
        ]
    )


def _forward(program: Program) -> list[str]:
    lines = [f"INLINE void all_steps{_SIGNATURE.format(last='saving')}", "{", *_unpack(forward_buffers(program))]
    lines.append("    for (int64_t t = 0; t < steps; t++) {")
    for stage in program.stages:
        for p in stage.matmuls:
            lines += _matmul(program, p.matrix, p.lhs, p.out, p.accumulate)
        for loop in stage.forward:
            lines += _loop(program, loop)
    lines += ["    }", "}", "", f"void forward{_SIGNATURE.format(last='saving')}", "{"]
    lines += ["    if (saving) all_steps(rows, steps, 1, at, time, row);"]
    lines += ["    else all_steps(rows, steps, 0, at, time, row);", "}", ""]
    return lines


def _backward(program: Program, output: Slice) -> list[str]:
    d_new, d_output = Slice(NEW.gradient, output.offset, output.width), Slice(OUTPUT.gradient, 0, output.width)
    lines = [f"void backward{_SIGNATURE.format(last='chunk')}", "{", *_unpack(backward_buffers(program))]
    vectors = [buffer for buffer in sorted(program.widths) if buffer.is_vector_gradient]
    lines += [f"    real {buffer}_step[{program.widths[buffer]}] = {{0}};" for buffer in vectors]
    lines += [
        "    for (int64_t t = steps - 1; t >= 0; t--) {",
        # products fetch the states before the step, which only the weights' gradients may read, of a long sequence
        f"        const int64_t fetched = steps * rows * old_row > {_IN_CACHE} ? rows * old_row : 0;",
        "        const real *const states = old + t * old_time;",
        "        struct ahead ahead = {(const char *)states, (const char *)(states + fetched)};",
        "        if (d_output)",
    ]
    lines += _each_row(program, [d_new, d_output], output.width, [f"{_at(d_new)} += {_at(d_output)};"])
    for buffer in sorted(program.zeroed):
        whole = Slice(buffer, 0, program.widths[buffer])
        lines += _each_row(program, [whole], whole.width, [f"{_at(whole)} = 0;"])
    for stage in reversed(program.stages):
        for loop in stage.backward:
            lines += _loop(program, loop)
        for p in (p for p in stage.matmuls if p.lhs_needs_grad):
            lines += _matmul(
                program, p.matrix, p.out.gradient, p.lhs.gradient, p.accumulate_lhs_gradient, transposed=True
            )
    for buffer in vectors:  # a step's rows are summed first, and the sums of all steps in double precision
        total = f"{buffer}[{f't * {buffer}_time + ' if buffer.value in program.by_step else ''}j]"
        lines.append(f"        for (int64_t j = 0; j < {program.widths[buffer]}; j++)")
        lines.append(f"            {total} += {buffer}_step[j], {buffer}_step[j] = 0;")
    lines += ["        if (t % chunk == 0) {", "            const int64_t n = steps - t < chunk ? steps - t : chunk;"]
    lines += [_matrix_gradient(program, p) for p in program.matmuls]
    return [*lines, "        }", "    }", "}"]


def _unpack(buffers: list[Buffer]) -> list[str]:
    """Return the declarations of pointers and distances."""
    lines = []
    for i, buffer in enumerate(buffers):
        kind = "double" if buffer.is_vector_gradient else "real"
        lines.append(f"    {kind} *const {buffer} = at[{i}];")
        lines.append(f"    const int64_t {buffer}_time = time[{i}], {buffer}_row = row[{i}];")
        lines.append(f"    (void){buffer}, (void){buffer}_time, (void){buffer}_row;")
    return lines


def _step(program: Program, buffer: Buffer) -> str:
    """Return the start of a buffer at step t. Adjoints of states alternate between two places."""
    if buffer.is_vector and buffer not in program.by_step:
        return str(buffer)
    if buffer.is_vector_gradient:
        return f"{buffer}_step"
    places = {NEW.gradient: "(t + 1) % 2", OLD.gradient: "t % 2", MATMUL.gradient: "t % chunk"}
    return f"{buffer} + ({places.get(buffer, 't')}) * {buffer}_time"


def _each_row(program: Program, parts: list[Slice], width: int, body: list[str]) -> list[str]:
    """Return the loops over rows b and units j around `body`, in which `<buffer>_b` is row b of a buffer."""
    lines = ["        for (int64_t b = 0; b < rows; b++) {"]
    for buffer in sorted({part.buffer for part in parts}):
        row = "" if buffer.kind is Kind.VECTOR else f" + b * {buffer}_row"
        lines.append(f"            real *const {buffer}_b = {_step(program, buffer)}{row};")
    lines += ["#pragma omp simd", f"            for (int64_t j = 0; j < {width}; j++) {{"]
    return [*lines, *(f"                {line}" for line in body), "            }", "        }"]


def _at(part: Slice) -> str:
    """Return an element of row b: feature j of a slice, or the one that all units share."""
    return f"{part.buffer}_b[{part.offset}{'' if part.is_shared else ' + j'}]"


def _loop(program: Program, loop: Loop) -> list[str]:
    body = [f"const real v{i} = {_expression(instruction)};" for i, instruction in enumerate(loop.instructions)]
    for store in loop.stores:
        condition = "if (saving) " if store.target.buffer == SAVED else ""
        body.append(f"{condition}{_at(store.target)} {'+=' if store.accumulate else '='} v{store.value};")
    loaded = [instruction.source for instruction in loop.instructions if instruction.source is not None]
    return _each_row(program, [*loaded, *(store.target for store in loop.stores)], loop.width, body)


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


def _matmul(
    program: Program, matrix: int, lhs: Slice, out: Slice, accumulate: bool, *, transposed: bool = False
) -> list[str]:
    """Return the lines for out (+)= lhs @ matrix, or its transpose."""
    packed, lines = Buffer(Kind.TRANSPOSED if transposed else Kind.MATRIX, matrix), []
    if Buffer(Kind.MATRIX, matrix) in program.by_step:
        row, column = f"{packed}_row", "1"
        if transposed:
            row, column = column, row
        at = f"{packed} + t * {packed}_time"
        packed = Buffer(Kind.PACKED, matrix)
        lines = [f"        pack({lhs.width}, {out.width}, {at}, {row}, {column}, {packed});"]
    return [
        *lines,
        f"        multiply(rows, {lhs.width}, {out.width}, {_at_step(program, lhs)}, {lhs.buffer}_row, {packed}, "
        f"{_at_step(program, out)}, {out.buffer}_row, {int(accumulate)}, {'&ahead' if transposed else 0});",
    ]


def _matrix_gradient(program: Program, matmul: Matmul) -> str:
    lhs, d_out, matrix = matmul.lhs, matmul.out.gradient, Buffer(Kind.MATRIX, matmul.matrix)
    gradient = matrix.gradient
    target = f"{gradient} + t * {gradient}_time" if matrix in program.by_step else gradient
    return (
        f"            if ({gradient}) multiply_transposed(n, rows, {lhs.width}, {d_out.width}, "
        f"{_at_step(program, lhs)}, {lhs.buffer}_time, {lhs.buffer}_row, {d_out.buffer} + {d_out.offset}, "
        f"{d_out.buffer}_time, {d_out.buffer}_row, {target}, {gradient}_row);"
    )


def _at_step(program: Program, part: Slice) -> str:
    return f"{_step(program, part.buffer)} + {part.offset}"
