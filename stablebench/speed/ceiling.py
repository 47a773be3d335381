"""The machine's ceiling: how many operations a second a large product of torch's does.

Torch multiplies with MKL, and with oneDNN where it is asked to. MKL leaves AVX-512 unused on AMD's processors, at half
of what oneDNN reaches there, so the faster of the two counts.
"""

import time
from collections.abc import Callable

import torch
from torch import Tensor

SIZE = 1024
"""Rows, inner and columns: 0.01 to 0.1 s a product on a core of a present-day processor."""
_REPEATS = 30


@torch.no_grad()
def ceiling(device: str) -> float:
    """Return the floating-point operations a second of a large product, the best of several, in torch's precision.

    Args:
        device: `cpu` or `cuda`; a CPU runs it with as many threads as torch has been set to.
    """
    a, b = torch.randn(SIZE, SIZE, device=device), torch.randn(SIZE, SIZE, device=device)
    products = [lambda: torch.mm(a, b)]
    if (in_onednn := _product_of_onednn(a, b)) is not None:
        products.append(in_onednn)
    return 2 * SIZE**3 / min(_seconds(product, device) for product in products)


def _product_of_onednn(a: Tensor, b: Tensor) -> Callable[[], Tensor] | None:
    if a.device.type != "cpu" or a.dtype != torch.float32 or not torch.backends.mkldnn.is_available():
        return None
    left, right = a.to_mkldnn(), b.to_mkldnn()
    return lambda: torch.nn.functional.linear(left, right)


def _seconds(product: Callable[[], Tensor], device: str) -> float:
    best = float("inf")
    for _ in range(_REPEATS):
        began = time.perf_counter()
        product()
        if device == "cuda":
            torch.cuda.synchronize()
        best = min(best, time.perf_counter() - began)
    return best
