"""A trained matrix that is whole, or a product of two thin ones: FastRNN, FastGRNN."""

import torch
from torch import Tensor, nn

from stablebench.errors import UserError


class Factored(nn.Module):
    """A matrix (rows, columns) of entries scale * N(0, 1), or M1 M2^T with M1 (rows, rank) and M2 (columns, rank).

    Both factors are drawn with `scale` too, as in the authors' code of FastGRNN.

    Args:
        rows: Its rows.
        columns: Its columns.
        rank: None for a whole matrix.
        scale: Standard deviation at the start.
        argument: What the user calls `rank`, for errors.
    """

    def __init__(self, rows: int, columns: int, rank: int | None, *, scale: float, argument: str) -> None:
        super().__init__()
        if rank is not None and rank > min(rows, columns):
            raise UserError(
                f"`{argument}` must be <= {min(rows, columns)} for a matrix of {rows} x {columns}, got {rank}; "
                "leave it out for a whole matrix."
            )
        shapes = [(rows, columns)] if rank is None else [(rows, rank), (columns, rank)]
        self.factors = nn.ParameterList([nn.Parameter(scale * torch.randn(shape)) for shape in shapes])

    def transposed(self) -> tuple[Tensor, ...]:
        """Return the matrices that rows are multiplied by from the right, one after the other."""
        if len(self.factors) == 1:
            return (self.factors[0].T,)
        return self.factors[1], self.factors[0].T

    def forward(self) -> Tensor:
        """Return the matrix, (rows, columns)."""
        return applied(None, self.transposed()).T


def applied(x: Tensor | None, matrices: tuple[Tensor, ...]) -> Tensor:
    """Return x M_1 M_2 ..., (..., columns of the last); without x the product of the matrices alone."""
    first, rest = (x, matrices) if x is not None else (matrices[0], matrices[1:])
    for matrix in rest:
        first = first @ matrix
    return first
