"""What Triton kernels are made of: sizes, the functions that every module starts with, and loops of fitting width."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

from stablebench.engines.fused.program import Buffer, Loop, Program, Slice, Stage

Precision: TypeAlias = Literal["float32", "tf32", "bf16"]

ROWS = 16
"""Rows of the batch that a Triton program owns, the fewest that tensor cores multiply."""
MIN_TENSOR_WIDTH = 16
"""Units that a tensor has at least; `tl.dot` asks for it."""


@dataclass(frozen=True)
class TileSizes:
    """What depends on the precision of the matmuls.

    Args:
        widest: Units that are worked on at once; a wider loop is done in pieces.
        inner: Rows of a matrix in a tile, where a matmul is done tile by tile.
        unrolled: Elements of all matrices up to which matmuls are written out instead of done tile by tile.
        resident: Elements of all matrices up to which they stay in registers for the whole sequence.
    """

    widest: int
    inner: int
    unrolled: int
    resident: int


# float32 matmuls run on ordinary units; written out, each thread holds a column for every row of a matrix.
SIZES: dict[Precision, TileSizes] = {
    "float32": TileSizes(widest=64, inner=16, unrolled=4 << 10, resident=0),
    "tf32": TileSizes(widest=128, inner=32, unrolled=64 << 10, resident=16 << 10),
    "bf16": TileSizes(widest=128, inner=32, unrolled=64 << 10, resident=32 << 10),
}

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
        text: A function `forward` or `backward`.
        buffers: Of these it takes the start, and the distances between steps and between rows.
        vectors: Of these it takes the start.
        matrices: Which matrices it takes, dense; transposed ones for `backward`.
        sums: Where the sums over rows and steps go, side by side: slices of gradients of vectors.
        warps: Groups of 32 threads that a Triton program has.
    """

    text: str
    buffers: tuple[Buffer, ...]
    vectors: tuple[Buffer, ...]
    matrices: tuple[int, ...]
    sums: tuple[Slice, ...]
    warps: int


def module(*kernels: KernelSource) -> str:
    """Return the text of a Python module with these kernels."""
    return "\n\n".join([_HEAD, *(kernel.text for kernel in kernels)])


def padded(width: int) -> int:
    """Return how many units a tensor of `width` units has."""
    return max(MIN_TENSOR_WIDTH, 1 << (width - 1).bit_length())


def narrow(program: Program, widest: int) -> Program:
    """Return the program with its loops cut into pieces of at most `widest` units."""

    def cut(loops: tuple[Loop, ...]) -> tuple[Loop, ...]:
        return tuple(piece for loop in loops for piece in _pieces(loop, widest))

    stages = tuple(Stage(s.matmuls, cut(s.forward), cut(s.backward)) for s in program.stages)
    return Program(stages, program.widths, program.zeroed)


def _pieces(loop: Loop, widest: int) -> Iterable[Loop]:
    for start in range(0, loop.width, widest):
        width = min(widest, loop.width - start)

        def moved(part: Slice, start: int = start, width: int = width) -> Slice:
            return part if part.is_shared else Slice(part.buffer, part.offset + start, width)

        instructions = tuple(i if i.source is None else replace(i, source=moved(i.source)) for i in loop.instructions)
        stores = tuple(replace(store, target=moved(store.target)) for store in loop.stores)
        yield Loop(width, instructions, stores)
