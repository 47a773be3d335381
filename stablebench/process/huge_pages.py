"""Large buffers in large pages."""

import ctypes
import mmap
import sys
from functools import cache
from typing import Any

import torch
from torch import Tensor

_LARGE = 4 << 20
"""Bytes from which it pays; large pages have 2 MiB on most machines."""


def empty(*shape: int, like: Tensor) -> Tensor:
    """Return an uninitialised tensor of the dtype and on the device of `like`.

    The C library asks the kernel for fresh memory whenever a tensor is larger than 32 MiB, and the kernel clears it
    page by page as it is touched. In pages of 4 KiB that takes longer than running an LSTM over it; so ask for large
    ones.
    """
    tensor = torch.empty(shape, dtype=like.dtype, device=like.device)
    size = tensor.numel() * tensor.element_size()
    advise = _advise()
    if advise is not None and tensor.device.type == "cpu" and size >= _LARGE:
        start = -(-tensor.data_ptr() // mmap.PAGESIZE) * mmap.PAGESIZE
        stop = (tensor.data_ptr() + size) // mmap.PAGESIZE * mmap.PAGESIZE
        # Its answer does not matter: without large pages all works as before.
        advise(ctypes.c_void_p(start), ctypes.c_size_t(stop - start), mmap.MADV_HUGEPAGE)
    return tensor


@cache
def _advise() -> Any:
    if sys.platform != "linux" or not hasattr(mmap, "MADV_HUGEPAGE"):
        return None
    return getattr(ctypes.CDLL(None), "madvise", None)
