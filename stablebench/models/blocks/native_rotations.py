"""Packed Givens rotations in C: the binding of `rotations.c`."""

import ctypes
import logging
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from stablebench.process.c_library import CompilerError, load

_log = logging.getLogger(__name__)


class NativeRotations:
    """`rotations.c`, compiled: one call in place of some thousand torch operations on small tensors.

    Args:
        dtype: float32 or float64.

    Raises:
        CompilerError: There is no compiler, or it refused.
    """

    def __init__(self, dtype: torch.dtype) -> None:
        text = (Path(__file__).parent / "rotations.c").read_text(encoding="utf-8")
        real = "double" if dtype == torch.float64 else "float"
        self._library = load(f"typedef {real} real;\n{text}", "rotate", "rotate_reverse")

    def product(self, cos: Tensor, sin: Tensor, first: Tensor, second: Tensor, n: int) -> Tensor:
        """Return P_1 ... P_r, (n, n)."""
        product = cos.new_empty(n, n)
        self._call(self._library.rotate, n, first, second, cos.contiguous(), sin.contiguous(), product)
        return product

    def angle_gradients(
        self, cos: Tensor, sin: Tensor, first: Tensor, second: Tensor, product: Tensor, grad: Tensor
    ) -> Tensor:
        """Return the gradient in the angles, (rounds, pairs)."""
        total = torch.zeros(first.shape, dtype=torch.float64)
        arrays = [cos.contiguous(), sin.contiguous(), product, grad.contiguous(), total]
        self._call(self._library.rotate_reverse, len(product), first, second, *arrays)
        return total.to(grad.dtype)

    def _call(self, function: Any, n: int, first: Tensor, *arrays: Tensor) -> None:
        sizes = [ctypes.c_int64(size) for size in (n, *first.shape)]
        if not function(*sizes, *(ctypes.c_void_p(array.data_ptr()) for array in (first, *arrays))):
            raise MemoryError(f"no memory for the rotations of {n} coordinates")


@cache
def native_rotations(dtype: torch.dtype) -> NativeRotations | None:
    """Return the compiled rotations; without a compiler None and a warning: torch computes them then."""
    if dtype not in (torch.float32, torch.float64):
        return None
    try:
        return NativeRotations(dtype)
    except CompilerError as error:
        _log.warning("Rotations are computed with torch's operations, which is slower: %s", error)
        return None


def compiled_rotations(dtype: torch.dtype) -> bool:
    """Return whether compiled code computes the rotations of a dtype on a CPU; it rounds differently from torch."""
    return native_rotations(dtype) is not None
