r"""Orthogonal matrices that several models are built from: drawn once, or parametrised and trained.

    random_orthogonal    Q of the QR decomposition of a matrix with U(-1, 1) entries: roaRNN's O
    PackedRotations      P_1 P_2 ... P_r, each P_k a packing of floor(n/2) disjoint Givens rotations: DizzyRNN
    SkewExponential      expm(A), A skew: expRNN, nnRNN; and the starts of A by angles of 2 x 2 blocks

Their matrices are orthogonal up to rounding whatever the parameters are. Asserted in tests/models/test_orthogonal.py.
"""

import ctypes
import logging
import math
from functools import cache
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from stablebench.errors import UserError
from stablebench.process.c_library import CompilerError, load

_log = logging.getLogger(__name__)

BlockInit = Literal["henaff", "cayley"]


def random_orthogonal(n: int, rng: torch.Generator) -> Tensor:
    """Return the orthogonal factor of the QR decomposition of a matrix with U(-1, 1) entries, (n, n).

    Signs are left as the decomposition gives them, so the matrix is not Haar distributed (Ceni, section II-C): it is a
    product of n - 1 reflections, so its determinant is (-1)^(n - 1) and it has the eigenvalue 1, for even n also -1;
    and its first entry is negative for n > 1. It is computed in float64 for either precision, so that both get the same
    matrix.

    Args:
        n: Its size.
        rng: Source of randomness.
    """
    entries = torch.rand(n, n, generator=rng, dtype=torch.float64) * 2 - 1
    return torch.linalg.qr(entries).Q.to(torch.get_default_dtype())


def round_robin(n: int, rounds: int) -> Tensor:
    """Return pairings of n coordinates in the circle method's order, (rounds, floor(n/2), 2), the smaller one first.

    One coordinate stays, the others move on by one place a round, and opposite places are a pair. All n - 1 rounds (n
    for odd n, where each round leaves out another coordinate) pair every two coordinates exactly once.

    Args:
        n: Number of coordinates, >= 2.
        rounds: 1 to n - 1, to n for odd n.
    """
    places = n + n % 2  # odd n: whoever meets the empty place is left out
    moving = torch.arange(1, places)
    order = torch.stack([torch.cat([torch.zeros(1, dtype=torch.long), moving.roll(k)]) for k in range(rounds)])
    pairs = torch.stack([order[:, : places // 2], order.flip(1)[:, : places // 2]], dim=2)
    return pairs[pairs.amax(dim=2) < n].view(rounds, n // 2, 2).sort(dim=2).values


def ring_angles(n: int, rotations: int) -> Tensor:
    """Return angles (rotations, floor(n/2)) whose product moves every coordinate to the next place of one ring.

    A quarter turn swaps a pair up to a sign. The pairs of two rounds together form one path or ring through all
    coordinates, and swapping along both moves every second coordinate forwards and the others backwards: one cycle of
    n for a path (odd n), two of n/2 for a ring. Leaving one pair of the second round as it is opens the ring.

    Args:
        n: Number of coordinates, >= 3.
        rotations: Rounds, >= 2.

    Raises:
        UserError: There are fewer than two rounds, or two coordinates, which have only one.
    """
    if rotations < 2:
        raise UserError(f"`angle_start` ring needs at least 2 `rotations` and 3 units, got {rotations} and {n}.")
    angles = torch.zeros(rotations, n // 2)
    angles[:2] = math.pi / 2
    if n % 2 == 0:
        angles[1, 0] = 0.0
    return angles


class PackedRotations(nn.Module):
    r"""The orthogonal matrix Q = P_1 P_2 ... P_r of packed Givens rotations in round-robin order.

    P_k turns each pair a < b of round k by its own angle theta: with y = P_k x,

        y_a =  cos(theta) x_a + sin(theta) x_b
        y_b = -sin(theta) x_a + cos(theta) x_b

    Args:
        n: Size of Q, >= 2.
        rotations: r, at most n - 1 (n for odd n); by default all, and then every two coordinates are turned once.
        angle_range: The angles start uniform in [-angle_range, angle_range], in radians, around their centres.
        ring: Centres of the start: 0, or quarter turns in the first two rounds such that |Q| is a cyclic permutation
            of all coordinates (see `ring_angles`); needs two rotations.
    """

    first: Tensor
    second: Tensor
    partner: Tensor

    def __init__(self, n: int, rotations: int | None = None, angle_range: float = math.pi, ring: bool = False) -> None:
        super().__init__()
        most = n - 1 + n % 2
        if n < 2:
            raise UserError(f"`hidden` must be >= 2 (a rotation turns two coordinates), got {n}.")
        rotations = most if rotations is None else rotations
        if not 1 <= rotations <= most:
            raise UserError(
                f"`rotations` must be in 1 ... {most} for a width of {n} (then every two coordinates have met), "
                f"got {rotations}."
            )
        centres = ring_angles(n, rotations) if ring else torch.zeros(rotations, n // 2)
        self.angles = nn.Parameter(centres + torch.empty(rotations, n // 2).uniform_(-angle_range, angle_range))
        first, second = round_robin(n, rotations).unbind(2)
        partner = torch.arange(n).repeat(rotations, 1).scatter(1, first, second).scatter(1, second, first)
        for name, indices in (("first", first), ("second", second), ("partner", partner)):
            self.register_buffer(name, indices.contiguous(), persistent=False)

    def forward(self) -> Tensor:
        """Return Q, (n, n)."""
        product: Tensor = _RotationProduct.apply(self.angles, self.first, self.second, self.partner)  # pyright: ignore
        return product


class _RotationProduct(torch.autograd.Function):
    """P_1 ... P_r from its angles in O(r n^2) operations and O(n^2) memory, forward and backward.

    Backward undoes one packed rotation after the other, M_{k+1} = P_k^T M_k, instead of keeping all r of them. With
    M_k = P_k ... P_r and G_k = dL/dM_k = P_{k-1}^T ... P_1^T dL/dQ, the derivative in the angle of the pair (a, b) of
    round k is G_a . M_b - G_b . M_a, rows of G_k and M_k, because dy_a = y_b dtheta and dy_b = -y_a dtheta.
    """

    @staticmethod
    def forward(ctx: Any, angles: Tensor, first: Tensor, second: Tensor, partner: Tensor) -> Tensor:
        cos, sin = angles.cos(), angles.sin()
        native = _native_rotations(angles.dtype) if angles.device.type == "cpu" else None
        if native is not None:
            product = native.product(cos, sin, first, second, partner.shape[1])
        else:
            product = _product(*_by_coordinate(cos, sin, first, second, partner), partner)
        ctx.save_for_backward(cos, sin, first, second, partner, product)
        return product

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        cos, sin, first, second, partner, product = ctx.saved_tensors
        native = _native_rotations(grad.dtype) if grad.device.type == "cpu" else None
        if native is not None:
            return native.angle_gradients(cos, sin, first, second, product, grad), None, None, None
        rows = _row_products(*_by_coordinate(cos, sin, first, second, partner), partner, product, grad)
        return rows.gather(1, first) - rows.gather(1, second), None, None, None


def _by_coordinate(
    cos: Tensor, sin: Tensor, first: Tensor, second: Tensor, partner: Tensor
) -> tuple[list[Tensor], list[Tensor]]:
    """Return for each round what a coordinate and its partner are multiplied by, each (n, 1)."""
    c = cos.new_ones(partner.shape).scatter(1, first, cos).scatter(1, second, cos)
    s = sin.new_zeros(partner.shape).scatter(1, first, sin).scatter(1, second, -sin)
    return list(c.unsqueeze(2).unbind()), list(s.unsqueeze(2).unbind())


def _product(c: list[Tensor], s: list[Tensor], partner: Tensor) -> Tensor:
    product = torch.eye(partner.shape[1], dtype=c[0].dtype, device=partner.device)
    for c_k, s_k, partner_k in reversed(list(zip(c, s, partner.unbind(), strict=True))):
        product = torch.addcmul(c_k * product, s_k, product.index_select(0, partner_k))
    return product


def _row_products(c: list[Tensor], s: list[Tensor], partner: Tensor, product: Tensor, grad: Tensor) -> Tensor:
    """Return G_i . M_j for each coordinate i and its partner j in every round, (rounds, n)."""
    n = len(product)
    both = torch.cat([grad, product], dim=1)  # G_k and M_k side by side, turned back together
    products = []
    for c_k, s_k, partner_k in zip(c, s, partner.unbind(), strict=True):
        swapped = both.index_select(0, partner_k)
        products.append((both[:, :n] * swapped[:, n:]).sum(1))
        both = torch.addcmul(c_k * both, s_k, swapped, value=-1)
    return torch.stack(products)


class _NativeRotations:
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
def _native_rotations(dtype: torch.dtype) -> _NativeRotations | None:
    """Return the compiled rotations, or None where there are none: then torch does it, which is said."""
    if dtype not in (torch.float32, torch.float64):
        return None
    try:
        return _NativeRotations(dtype)
    except CompilerError as error:
        _log.warning("Rotations are computed with torch's operations, which is slower: %s", error)
        return None


def compiled_rotations(dtype: torch.dtype) -> bool:
    """Return whether compiled code computes rotations of a type on a CPU: it rounds differently, which is recorded."""
    return _native_rotations(dtype) is not None


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


_TAYLOR = [1 / math.factorial(k) for k in range(17)]
_LARGEST_NORM = {torch.float32: 2.7, torch.float64: 0.82}
"""Spectral norms up to which the Taylor polynomial of degree 16 has a remainder below the rounding unit."""


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
