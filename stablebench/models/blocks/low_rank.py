"""A trained matrix that is full, or a product of two thin ones: FastRNN, FastGRNN."""

import torch
from torch import Tensor, nn

from stablebench.errors import UserError


class Factored(nn.Module):
    """A matrix (rows, columns) of entries scale * N(0, 1), or M1 M2^T with M1 (rows, rank) and M2 (columns, rank).

    Both factors are drawn with `scale` too, as in the authors' code of FastGRNN.

    Args:
        rows: Number of rows.
        columns: Number of columns.
        rank: Columns of the factors, >= 1 and <= min(rows, columns); None for a full matrix.
        scale: Standard deviation of the initial entries, > 0.
        argument: The argument's name for the user, for errors.
    """

    def __init__(self, rows: int, columns: int, rank: int | None, *, scale: float, argument: str) -> None:
        super().__init__()
        if rank is not None and rank > min(rows, columns):
            raise UserError(
                f"`{argument}` must be <= {min(rows, columns)} for a matrix of {rows} x {columns}, got {rank}; "
                "leave it out for a full matrix."
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
    """Return x M_1 M_2 ..., (..., columns of the last); without x the product of the matrices."""
    first, rest = (x, matrices) if x is not None else (matrices[0], matrices[1:])
    for matrix in rest:
        first = first @ matrix
    return first
