r"""Orthogonal matrices expm(A) of skew-symmetric A, and initial A with random angles: expRNN, dtriv, scoRNN, nnRNN.

They are orthogonal up to rounding for all A. Asserted in tests/models/test_skew_exponential.py.
"""

import math
from typing import Literal

import torch
from torch import Tensor, nn

BlockInit = Literal["henaff", "cayley"]
"""Distribution of the angles of 2 x 2 blocks; see `block_angles`."""
_TAYLOR = [1 / math.factorial(k) for k in range(17)]
_LARGEST_NORM = {torch.float32: 2.7, torch.float64: 0.82}
"""Spectral norms up to which the Taylor polynomial of degree 16 has a remainder below the rounding unit."""


class SkewExponential(nn.Module):
    r"""The orthogonal matrix expm(A) of a skew-symmetric A, det = 1.

    Only the n (n - 1) / 2 entries above the diagonal of A are parameters, so an optimiser's update, its moments and
    the number of parameters are those of the free entries.

    Args:
        n: Size of A.
        angles: A starts block-diagonal, blocks [[0, t], [-t, 0]] with these angles t in radians, (floor(n/2)).
    """

    above: Tensor

    def __init__(self, n: int, angles: Tensor) -> None:
        super().__init__()
        self.n = n
        rows, columns = torch.triu_indices(n, n, offset=1)
        start = torch.zeros(n, n, dtype=angles.dtype)
        even = torch.arange(0, n - 1, 2)
        start[even, even + 1] = angles
        self.upper = nn.Parameter(start[rows, columns])
        self.register_buffer("above", rows * n + columns, persistent=False)

    def skew(self) -> Tensor:
        """Return A, (n, n)."""
        upper = filled(self.n, self.above, self.upper)
        return upper - upper.T

    def forward(self) -> Tensor:
        """Return expm(A), (n, n)."""
        return skew_exponential(self.skew())


def filled(n: int, places: Tensor, entries: Tensor) -> Tensor:
    """Return the matrix (n, n) with `entries` (any,) at `places` (any,), which count row by row, and 0 elsewhere."""
    return entries.new_zeros(n * n).index_copy(0, places, entries).view(n, n)


def skew_exponential(A: Tensor) -> Tensor:
    """Return expm(A) of a skew-symmetric A, both (n, n), for gradients of any order.

    Scaling and squaring of the Taylor polynomial of degree 16 in 6 products (Paterson & Stockmeyer 1973), with the
    spectral norm of A bounded by sqrt(||A^2||_1). `torch.matrix_exp` bounds it by ||A||_1, which is far larger, and its
    gradient takes the exponential of a matrix of twice the size: in all it is 3 to 6 times slower.
    """
    square = A @ A
    excess = math.sqrt(square.detach().abs().sum(0).amax().item()) / _LARGEST_NORM[A.dtype]
    squarings = math.ceil(math.log2(excess)) if 1 < excess < math.inf else 0  # infinity and NaN end as NaN
    scale = 2.0**-squarings
    A, A2 = scale * A, scale**2 * square
    A3, A4 = A2 @ A, A2 @ A2
    eye = torch.eye(len(A), dtype=A.dtype, device=A.device)

    def cubic(k: int) -> Tensor:
        linear = torch.add(_TAYLOR[k] * eye, A, alpha=_TAYLOR[k + 1])
        return torch.add(torch.add(linear, A2, alpha=_TAYLOR[k + 2]), A3, alpha=_TAYLOR[k + 3])

    result = torch.add(cubic(12), A4, alpha=_TAYLOR[16])
    for k in (8, 4, 0):
        result = torch.addmm(cubic(k), result, A4)
    for _ in range(squarings):
        result = result @ result
    return result


def block_angles(init: BlockInit, count: int) -> Tensor:
    """Draw the angles of 2 x 2 blocks that a skew matrix starts from, (count), in radians.

    Args:
        init: `henaff`: U(-pi, pi) (Henaff, Szlam & LeCun 2016). `cayley`: tan(t/2) = sqrt((1 - cos t) / (1 + cos t))
            with t ~ U(0, pi/2) (Helfrich, Willmott & Ye 2018), taken for the angle itself as in expRNN, so in [0, 1).
        count: Number of blocks.
    """
    if init == "henaff":
        return torch.empty(count).uniform_(-math.pi, math.pi)
    t = torch.empty(count).uniform_(0, math.pi / 2)
    return torch.sqrt((1 - t.cos()) / (1 + t.cos()))
