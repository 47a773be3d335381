"""Matmuls of a Triton kernel: written out where the matrices are small, else done tile by tile."""

from stablebench.engines.fused.program import Slice
from stablebench.engines.fused.triton.kernel_text import padded
from stablebench.engines.fused.triton.step_writer import StepWriter


def multiply(
    writer: StepWriter, lhs: Slice, matrix: str, columns: int, part: Slice, start: int, before: str | None
) -> str:
    """Return the name of lhs @ matrix[:, start : start + part.width].

    Args:
        writer: Writes the step.
        lhs: The left operand.
        matrix: The matrix's name.
        columns: How many it has.
        part: Where the matmul belongs.
        start: The first column.
        before: What to add it to.
    """
    pieces = writer.tiling(lhs) if writer.unrolled else None
    if pieces is None and lhs.width > writer.sizes.inner:
        return _multiply_by_tiles(writer, lhs, matrix, columns, part, start, before)
    for piece in pieces or [lhs]:
        value = _operand(writer, piece)
        block = _block(writer, matrix, columns, piece.offset - lhs.offset, piece.width, start, part.width)
        before = writer.new(_dot(writer, value, block, before))
    assert before is not None  # there is a piece
    return before


def _operand(writer: StepWriter, part: Slice) -> str:
    value = writer.read(part)
    if padded(part.width) != part.width:
        writer.widths.add(part.width)
        value = writer.new(f"tl.where(in{part.width}, {value}, 0.0)")
    return writer.new(f"{value}.to(tl.bfloat16)") if writer.precision == "bf16" else value


def _dot(writer: StepWriter, lhs: str, right: str, before: str | None) -> str:
    added = "" if before is None else f", {before}"
    precision = {"float32": "ieee", "tf32": "tf32", "bf16": "ieee"}[writer.precision]
    return f'tl.dot({lhs}, {right}{added}, input_precision="{precision}")'


def _block(writer: StepWriter, matrix: str, columns: int, row: int, rows: int, start: int, width: int) -> str:
    """Return the name of a block of a matrix; where matrices stay in registers, it is loaded ahead of all steps."""
    key = (matrix, row, rows, start, width)
    inner, outer = writer.columns(rows), writer.columns(width)
    address = f"{matrix} + ({inner} + {row})[:, None] * {columns} + ({outer} + {start})[None, :]"
    load = f"tl.load({address}, mask=({inner} < {rows})[:, None] & in{width}, other=0.0)"
    if not writer.resident:
        return writer.new(load)
    if key not in writer.matrices:
        writer.matrices[key] = "_".join(str(k) for k in key)
        writer.before.append(f"{writer.matrices[key]} = {load}")
    return writer.matrices[key]


def _multiply_by_tiles(
    writer: StepWriter, lhs: Slice, matrix: str, columns: int, part: Slice, start: int, before: str | None
) -> str:
    writer.settle(lhs, writing=False)
    writer.touched.add(lhs.buffer)
    total = writer.new(f"tl.zeros({writer.tensor(part)}, tl.float32)" if before is None else before)
    tile = writer.sizes.inner
    c, inner = writer.columns(part.width), writer.columns(tile)
    writer.widths.add(part.width)
    cast = ".to(tl.bfloat16)" if writer.precision == "bf16" else ""
    rest = f"({inner} < {lhs.width} - k)"
    writer.body += [
        f"for k in range(0, {lhs.width}, {tile}):",
        f"    rows_tile = tl.load({lhs.buffer} + {lhs.buffer}_rows + ({inner} + (k + {lhs.offset}))[None, :], "
        f"mask=inside & {rest}[None, :], other=0.0){cast}",
        f"    matrix_tile = tl.load({matrix} + ({inner} + k)[:, None] * {columns} + ({c} + {start})[None, :], "
        f"mask={rest}[:, None] & in{part.width}, other=0.0)",
        f"    {total} = {_dot(writer, 'rows_tile', 'matrix_tile', total)}",
    ]
    return total
