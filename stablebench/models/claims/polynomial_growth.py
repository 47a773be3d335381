"""How fast the powers of a matrix grow whose eigenvalues all have modulus 1, and which is not normal."""

import math

import numpy
import torch
from torch import Tensor

_OCTAVES = 8
"""The fit goes over lengths t up to 2^8 times the first."""


def log_power_norm(matrix: Tensor, exponent: int) -> float:
    """Return the natural logarithm of the spectral norm of matrix^exponent, of any size.

    Args:
        matrix: A matrix (n, n).
        exponent: >= 0.
    """
    return _power(matrix, exponent)[1]


def fitted_degree(matrix: Tensor, first: int) -> float:
    """Return the degree of growth of ||matrix^t||: the median of the slopes of log||matrix^t|| over log t.

    Theil and Sen's fit, the median over all pairs of t = first 2^k, k = 0 ... 8: single lengths at which parts cancel
    do not move it. -inf for a matrix with a power of 0.

    Args:
        matrix: A matrix (n, n).
        first: The shortest length, >= 1.
    """
    power, log = _power(matrix, first)
    log_norms = [log]
    for _ in range(_OCTAVES):
        power, log = _scaled(power @ power, 2 * log)
        log_norms.append(log)
    logs = numpy.array(log_norms)
    if not numpy.isfinite(logs).all():
        return -math.inf
    i, j = numpy.triu_indices(len(logs), 1)
    return float(numpy.median((logs[j] - logs[i]) / ((j - i) * math.log(2))))


def log_binomial_bound(exponent: int, blocks: int, norm: float) -> float:
    """Return log sum_l C(exponent, l) norm^l over l = 0 ... blocks - 1.

    It bounds log||(Lambda + T)^exponent|| for Lambda block diagonal with blocks of norm 1 and T below them of that
    norm: a product with more than blocks - 1 factors T is 0.
    """
    if not norm:
        return 0.0
    logs = [
        math.lgamma(exponent + 1) - math.lgamma(k + 1) - math.lgamma(exponent - k + 1) + k * math.log(norm)
        for k in range(min(blocks, exponent + 1))
    ]
    return float(numpy.logaddexp.reduce(logs))


def _power(matrix: Tensor, exponent: int) -> tuple[Tensor, float]:
    """Return a power of the matrix over its norm, and the norm's logarithm."""
    power, log = torch.eye(len(matrix), dtype=matrix.dtype), 0.0
    factor, factor_log = _scaled(matrix, 0.0)
    while exponent:
        if exponent % 2:
            power, log = _scaled(power @ factor, log + factor_log)
        factor, factor_log = _scaled(factor @ factor, 2 * factor_log)
        exponent //= 2
    return power, log


def _scaled(matrix: Tensor, log: float) -> tuple[Tensor, float]:
    """Return the matrix over its norm, and the logarithm of what it was the multiple of."""
    norm = torch.linalg.matrix_norm(matrix, 2).item()
    return (matrix / norm, log + math.log(norm)) if norm else (matrix, -math.inf)
