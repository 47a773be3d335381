"""Powers of two: scaling by them is exact, so long products keep every bit and neither overflow nor underflow."""

import torch
from torch import Tensor

_BIAS = 1023
"""Bias of the exponent in float64."""
LOWEST_EXPONENT = 1 - _BIAS
"""Below this `power_of_two` is 0."""


def power_of_two(k: Tensor) -> Tensor:
    """Return 2^k in float64 for integers k: 0 below -1022, and no more than 2^1023.

    Written into the exponent's bits; `torch.ldexp` goes through the default dtype and overflows there.
    """
    return ((k + _BIAS).clamp(0, 2 * _BIAS) << 52).view(torch.float64)


def exponent(x: Tensor) -> Tensor:
    """Return the integer k with 2^(k-1) <= |x| < 2^k; 0 where x is 0."""
    return torch.frexp(x).exponent.long()
