"""The floor under a model's time: its matrix products and nothing else, one library call each.

An update of a recurrent network has to do these products, so whatever an engine takes beyond them is overhead: the
work between the products, memory, and dispatch. Compiled code can still come out below the floor, where its own
products are faster than the library's for the shape.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from stablebench.engines.fused.plan import StepPlan
from stablebench.engines.fused.program import Kind


@dataclass(frozen=True)
class BareProduct:
    """A product out = left @ matrix of every step, and what its derivative costs.

    Args:
        batch: Rows of a step.
        steps: Steps.
        inner: Columns of the left side.
        columns: Columns of the matrix.
        recurrent: Whether a step has to wait for the one before; else the product is one over all steps.
        left_gradient: Whether d_out @ matrix^T is computed.
        matrix_gradient: Whether left^T @ d_out is computed, which is one product over all steps and rows.
    """

    batch: int
    steps: int
    inner: int
    columns: int
    recurrent: bool
    left_gradient: bool
    matrix_gradient: bool

    @property
    def shapes(self) -> list[tuple[int, int, int]]:
        """The matrix products of forward and backward, each (rows, inner, columns), one for each call."""
        calls, rows = (self.steps, self.batch) if self.recurrent else (1, self.steps * self.batch)
        shapes = [(rows, self.inner, self.columns)] * calls
        shapes += [(rows, self.columns, self.inner)] * (calls * self.left_gradient)
        return shapes + [(self.inner, self.steps * self.batch, self.columns)] * self.matrix_gradient

    @property
    def flops(self) -> int:
        """Floating-point operations of forward and backward, a multiplication and an addition counted as two."""
        return sum(2 * math.prod(shape) for shape in self.shapes)


def bare_products(plan: StepPlan, matrices: Sequence[Tensor], batch: int, steps: int) -> list[BareProduct]:
    """Return the products of a planned step.

    Products of the inputs are recognised where the inputs stand on their left; what is multiplied once more before
    it meets the state counts as recurrent.

    Args:
        plan: The plan.
        matrices: Its matrices, each (inner, columns), under autograd.
        batch: Rows of a step.
        steps: Steps.
    """
    return [
        BareProduct(
            batch,
            steps,
            p.lhs.width,
            p.out.width,
            recurrent=p.lhs.buffer.kind is not Kind.PROJECTION,
            left_gradient=p.lhs_needs_grad,
            matrix_gradient=matrices[p.matrix].requires_grad,
        )
        for p in plan.program.matmuls
    ]


class Floor:
    """The products of a model on buffers that are there before.

    Args:
        plan: The model's plan.
        matrices: Its matrices, each (inner, columns), under autograd.
        batch: Rows of a step.
        steps: Steps.
    """

    def __init__(self, plan: StepPlan, matrices: Sequence[Tensor], batch: int, steps: int) -> None:
        self.products = bare_products(plan, matrices, batch, steps)
        self._operands = [
            _Operands(product, matrices[p.matrix].detach())
            for product, p in zip(self.products, plan.program.matmuls, strict=True)
        ]
        self._steps = steps

    @torch.no_grad()
    def run(self) -> None:
        """Do the products of forward and backward."""
        whole = [o for o in self._operands if not o.product.recurrent]
        recurrent = [o for o in self._operands if o.product.recurrent]
        for o in whole:
            torch.mm(o.lefts[0], o.matrix, out=o.out)
        for t in range(self._steps):
            for o in recurrent:
                torch.mm(o.lefts[t], o.matrix, out=o.out)
        for t in reversed(range(self._steps)):
            for o in recurrent:
                if o.product.left_gradient:
                    torch.mm(o.d_outs[t], o.transposed, out=o.d_left)
        for o in whole:
            if o.product.left_gradient:
                torch.mm(o.d_outs[0], o.transposed, out=o.d_left)
        for o in self._operands:
            if o.product.matrix_gradient:
                torch.mm(o.all_lefts.T, o.all_d_outs, out=o.d_matrix)


class _Operands:
    """The operands of one product: what a matrix's gradient is made of is there for every step, the rest once."""

    def __init__(self, product: BareProduct, matrix: Tensor) -> None:
        calls, rows = (product.steps, product.batch) if product.recurrent else (1, product.steps * product.batch)
        buffered = calls if product.matrix_gradient else 1
        self.product, self.matrix, self.transposed = product, matrix, matrix.T
        lefts = torch.randn(buffered, rows, product.inner, dtype=matrix.dtype, device=matrix.device)
        d_outs = torch.randn(buffered, rows, product.columns, dtype=matrix.dtype, device=matrix.device)
        self.lefts, self.d_outs = lefts.expand(calls, -1, -1).unbind(0), d_outs.expand(calls, -1, -1).unbind(0)
        self.all_lefts, self.all_d_outs = lefts.flatten(0, 1), d_outs.flatten(0, 1)
        self.out = matrix.new_empty(rows, product.columns)
        self.d_left = matrix.new_empty(rows, product.inner)
        self.d_matrix = matrix.new_empty(product.inner, product.columns)
