"""Runs a program as compiled C on the CPU: one call per sequence and direction, matmuls included.

With more than one thread the rows of the batch are shared out; sequences do not depend on each other, so the threads
never wait for one another.
"""

import ctypes
import threading
from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

from stablebench.engines.fused.c.codegen import backward_buffers, forward_buffers, products, source
from stablebench.engines.fused.c.tuning import Tuning
from stablebench.engines.fused.program import MATMUL, NEW, Buffer, Kind, Program, Slice
from stablebench.process import c_library as library

_FUNCTIONS = ("forward", "backward", "use_products")
"""Of a program's library."""
_PRODUCTS = ("multiply", "multiply_transposed", "pack", "packed_size")
"""Of the library that all programs of one type call; the first three in the order of `use_products`."""
_SUMMED_ROWS = 128
"""Rows of a product with a transposed matrix that are summed before the sum is added to memory."""
_SLACK = 64
"""Elements that may be read behind the last row of the matmuls' gradients: a whole panel of the widest vectors."""
_MIN_ROWS_PER_THREAD = 8
"""Rows of a thread at least, as many as a tile has."""
_MIN_OPERATIONS_PER_THREAD = 2e8
"""Multiplications and additions of a thread at least, some 5 ms: less is sooner done than shared out."""


class Native:
    """A program in C.

    Args:
        program: The program.
        output: Which features of `new` are the output.
        dtype: float32 or float64.
        tuning: Flags and tile.

    Raises:
        library.CompilerError: There is no compiler, it refused, or what it made cannot be loaded.
    """

    def __init__(self, program: Program, output: Slice, dtype: torch.dtype, tuning: Tuning) -> None:
        self.program = program
        self.dtype = dtype
        double = dtype == torch.float64
        self._products = library.load(products(double), *_PRODUCTS, more_flags=tuning.flags)
        self._products.packed_size.restype = ctypes.c_int64
        self._library = library.load(source(program, output, double), *_FUNCTIONS, more_flags=tuning.flags)
        called = [ctypes.cast(getattr(self._products, name), ctypes.c_void_p) for name in _PRODUCTS[:3]]
        self._library.use_products((ctypes.c_void_p * len(called))(*called))
        self._forward_buffers, self._backward_buffers = forward_buffers(program), backward_buffers(program)

    def forward(self, buffers: dict[Buffer, Tensor], matrices: list[Tensor], *, saving: bool) -> None:
        """Run all steps.

        Args:
            buffers: `OLD`, `NEW`, projections, `MATMUL_LHS` and `SAVED`, each (time, batch, features) with a dense last
                axis, and vectors, (features) or (time, features).
            matrices: The matrices, each (inner, columns) or (time, inner, columns).
            saving: Whether to fill `SAVED`.
        """
        steps, batch, _ = buffers[NEW].shape
        arrays = dict(buffers)
        if MATMUL in self.program.widths:
            arrays[MATMUL] = self._scratch(1, batch, MATMUL)[0].expand(steps, -1, -1)
        packed = self._operands(Kind.MATRIX, matrices)
        rows = self._shares(batch, steps)

        def run(first: int, last: int) -> None:
            single = packed | self._packing_space(matrices)
            call = _Arguments(self._forward_buffers, arrays, single, first)
            self._library.forward(_long(last - first), _long(steps), _long(saving), *call.arrays)

        _in_threads(run, rows)

    def backward(
        self, buffers: dict[Buffer, Tensor], matrices: list[Tensor], needs_grad: list[bool]
    ) -> list[Tensor | None]:
        """Run all steps backward.

        Args:
            buffers: As in `forward`, and the gradients: of `NEW` and `OLD` both the same (2, batch, states), whose part
                time % 2 holds the adjoint of the last states; of `OUTPUT` if every output has a gradient; of
                `MATMUL_LHS`; of projections; of vectors, in float64, zeros. All others are overwritten.
            matrices: The matrices.
            needs_grad: Which of them need a gradient.

        Returns:
            The matrices' gradients.
        """
        steps, batch, _ = buffers[NEW].shape
        rows = self._shares(batch, steps)
        chunk = max(1, _SUMMED_ROWS // batch) if len(rows) == 1 and not self.program.by_step else 1
        arrays = dict(buffers)
        if MATMUL.gradient in self.program.widths:
            arrays[MATMUL.gradient] = self._scratch(min(chunk, steps), batch, MATMUL.gradient)
        packed = self._operands(Kind.TRANSPOSED, matrices)
        sums = [
            [
                torch.zeros(m.shape, dtype=m.dtype) if need else None
                for m, need in zip(matrices, needs_grad, strict=True)
            ]
            for _ in rows
        ]
        vectors = [{name: buffers[name].clone() for name in buffers if name.is_vector_gradient} for _ in rows]

        def run(first: int, last: int) -> None:
            own = rows.index((first, last))
            single = packed | vectors[own] | self._packing_space(matrices)
            single |= {Buffer(Kind.MATRIX, k).gradient: s for k, s in enumerate(sums[own]) if s is not None}
            call = _Arguments(self._backward_buffers, arrays, single, first)
            self._library.backward(_long(last - first), _long(steps), _long(chunk), *call.arrays)

        _in_threads(run, rows)
        for name in vectors[0]:
            buffers[name].add_(sum(v[name] for v in vectors))
        return [_sum([s[k] for s in sums]) for k in range(len(matrices))]

    def _shares(self, batch: int, steps: int) -> list[tuple[int, int]]:
        """Return the rows of each thread, (first, behind the last)."""
        operations = 2.0 * batch * steps * sum(p.lhs.width * p.out.width for p in self.program.matmuls)
        threads = min(
            torch.get_num_threads(), batch // _MIN_ROWS_PER_THREAD, int(operations / _MIN_OPERATIONS_PER_THREAD)
        )
        threads = max(1, threads)
        return [(batch * i // threads, batch * (i + 1) // threads) for i in range(threads)]

    def _scratch(self, steps: int, batch: int, buffer: Buffer) -> Tensor:
        width = self.program.widths[buffer]
        return torch.empty(steps * batch * width + _SLACK, dtype=self.dtype)[:-_SLACK].view(steps, batch, width)

    def _operands(self, kind: Literal[Kind.MATRIX, Kind.TRANSPOSED], matrices: list[Tensor]) -> dict[Buffer, Tensor]:
        """Return the matrices as the library takes them: packed, or as they are where they differ from step to step."""
        operands = {}
        for index in {p.matrix: None for p in self.program.matmuls}:
            matrix = matrices[index]
            if Buffer(Kind.MATRIX, index) in self.program.by_step:
                operands[Buffer(kind, index)] = matrix.contiguous()
            else:
                operands[Buffer(kind, index)] = self._packed(matrix if kind is Kind.MATRIX else matrix.T)
        return operands

    def _packing_space(self, matrices: list[Tensor]) -> dict[Buffer, Tensor]:
        """Return space for one packed matrix, or its transpose, of each that differs from step to step."""
        return {
            Buffer(Kind.PACKED, k): torch.empty(max(self._packed_size(i, c), self._packed_size(c, i)), dtype=self.dtype)
            for k, (i, c) in enumerate(tuple(matrix.shape[-2:]) for matrix in matrices)
            if Buffer(Kind.MATRIX, k) in self.program.by_step
        }

    def _packed_size(self, inner: int, columns: int) -> int:
        return self._products.packed_size(_long(inner), _long(columns))

    def _packed(self, matrix: Tensor) -> Tensor:
        inner, columns = matrix.shape
        packed = torch.empty(self._packed_size(inner, columns), dtype=self.dtype)
        row, column = (_long(n) for n in matrix.stride())
        self._products.pack(_long(inner), _long(columns), _pointer(matrix), row, column, _pointer(packed))
        return packed


class _Arguments:
    """Pointers to and distances within the buffers, from row `first` of the batch on; they must outlive it.

    Args:
        names: The buffers in the order of the C function; one that is missing is null.
        batched: Buffers (time, batch, features), and vectors.
        single: Buffers that all rows share: vectors and matrices, (features) or (rows, columns), or with the time in
            front; and packed ones.
        first: The row.
    """

    def __init__(
        self, names: list[Buffer], batched: dict[Buffer, Tensor], single: dict[Buffer, Tensor], first: int
    ) -> None:
        n = len(names)
        self.arrays = (ctypes.c_void_p * n)(), (ctypes.c_int64 * n)(), (ctypes.c_int64 * n)()
        at, time, row = self.arrays
        for i, name in enumerate(names):
            buffer = single[name] if name in single else batched.get(name)
            if buffer is None:
                continue
            at[i], time[i] = buffer.data_ptr(), buffer.stride(0)
            if buffer.dim() > 1:
                row[i] = buffer.stride(-2)
            if name not in single and name.kind is not Kind.VECTOR:
                at[i] += first * row[i] * buffer.element_size()


def _long(n: int) -> ctypes.c_int64:
    return ctypes.c_int64(n)


def _pointer(tensor: Tensor) -> ctypes.c_void_p:
    return ctypes.c_void_p(tensor.data_ptr())


def _sum(parts: list[Tensor | None]) -> Tensor | None:
    first, *others = parts
    for part in others:
        if first is not None and part is not None:
            first += part
    return first


def _in_threads(run: Callable[[int, int], None], rows: list[tuple[int, int]]) -> None:
    threads = [threading.Thread(target=run, args=share) for share in rows[1:]]
    for thread in threads:
        thread.start()
    run(*rows[0])
    for thread in threads:
        thread.join()
