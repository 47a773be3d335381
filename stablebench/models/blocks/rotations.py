r"""Products of packed Givens rotations, Q = P_1 P_2 ... P_r: orthogonal matrices of DizzyRNN.

Each P_k rotates floor(n/2) disjoint pairs of coordinates. Q is orthogonal up to rounding for all angles. Asserted in
tests/models/test_rotations.py.
"""

import math
from typing import Any

import torch
from torch import Tensor, nn

from stablebench.errors import UserError
from stablebench.models.blocks.native_rotations import native_rotations
from stablebench.models.blocks.pairing import ring_angles, round_robin


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
        native = native_rotations(angles.dtype) if angles.device.type == "cpu" else None
        if native is not None:
            product = native.product(cos, sin, first, second, partner.shape[1])
        else:
            product = _product(*_by_coordinate(cos, sin, first, second, partner), partner)
        ctx.save_for_backward(angles, cos, sin, first, second, partner, product)
        ctx.save_for_forward(cos, sin, first, second, partner)
        return product

    @staticmethod
    def jvp(ctx: Any, moved: Tensor | None, *_: Any) -> Tensor | None:
        """Return the derivative along a direction of the angles: dM_k = P_k dM_{k+1} + dP_k M_{k+1}."""
        if moved is None:
            return None
        cos, sin, first, second, partner = ctx.saved_tensors
        zeros = cos.new_zeros(partner.shape)
        c, s = _by_coordinate(cos, sin, first, second, partner)
        dc = zeros.scatter(1, first, -sin * moved).scatter(1, second, -sin * moved).unsqueeze(2)
        ds = zeros.scatter(1, first, cos * moved).scatter(1, second, -cos * moved).unsqueeze(2)
        product = torch.eye(partner.shape[1], dtype=cos.dtype, device=cos.device)
        tangent = torch.zeros_like(product)
        for k in reversed(range(len(partner))):
            swapped = product.index_select(0, partner[k])
            tangent = c[k] * tangent + s[k] * tangent.index_select(0, partner[k]) + dc[k] * product + ds[k] * swapped
            product = c[k] * product + s[k] * swapped
        return tangent

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        angles, cos, sin, first, second, partner, product = ctx.saved_tensors
        if torch.is_grad_enabled():  # this is differentiated again: from the angles, in torch's operations
            by_coordinate = _by_coordinate(angles.cos(), angles.sin(), first, second, partner)
            rows = _row_products(*by_coordinate, partner, _product(*by_coordinate, partner), grad)
            return rows.gather(1, first) - rows.gather(1, second), None, None, None
        native = native_rotations(grad.dtype) if grad.device.type == "cpu" else None
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
