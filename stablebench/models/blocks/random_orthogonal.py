"""Fixed random matrices that keep lengths: A^T A = I, or A A^T = I where there are more columns than rows.

    random_orthogonal         Q of the QR decomposition of a square matrix with U(-1, 1) entries: roaRNN's O
    random_semi_orthogonal    from the QR decomposition of matrices with U(-1, 1) entries
    random_semi_permutation   columns, or rows, are different unit vectors

The last two are drawn many at once (Ceni, arXiv:2210.01245, section II-C and appendix C). Asserted in
tests/models/test_random_orthogonal.py.
"""

import torch
from torch import Tensor


def random_orthogonal(n: int, rng: torch.Generator) -> Tensor:
    """Return the orthogonal factor of the QR decomposition of a matrix with U(-1, 1) entries, (n, n).

    Signs are left as the decomposition gives them, so the matrix is not Haar distributed (Ceni, section II-C). It is a
    product of n - 1 reflections: its determinant is (-1)^(n - 1), and it has the eigenvalue 1, for even n also -1. Its
    first entry is negative for n > 1. It is computed in float64, so that both precisions get the same matrix.

    Args:
        n: Rows and columns of the matrix.
        rng: Source of randomness.
    """
    return random_semi_orthogonal(1, n, n, rng)[0]


def random_semi_orthogonal(count: int, rows: int, columns: int, rng: torch.Generator) -> Tensor:
    """Return the orthogonal factors of QR decompositions of matrices with U(-1, 1) entries, (count, rows, columns).

    Signs are left as the decomposition gives them, so square ones are not Haar distributed. A wide matrix has no such
    factor of its shape; it is the transpose of a tall one's. All is computed in float64, so that both precisions get
    the same matrices.

    Args:
        count: Number of matrices.
        rows: Rows of each.
        columns: Columns of each.
        rng: Source of randomness.
    """
    tall = max(rows, columns), min(rows, columns)
    entries = torch.rand(count, *tall, generator=rng, dtype=torch.float64) * 2 - 1
    Q = torch.linalg.qr(entries).Q.to(torch.get_default_dtype())
    return (Q if rows >= columns else Q.mT).contiguous()


def random_semi_permutation(count: int, rows: int, columns: int, rng: torch.Generator) -> Tensor:
    """Return matrices of 0 and 1 with one 1 in every column, or in every row of a wide one, (count, rows, columns).

    Args:
        count: Number of matrices.
        rows: Rows of each.
        columns: Columns of each.
        rng: Source of randomness.
    """
    most, least = max(rows, columns), min(rows, columns)
    keys = torch.rand(count, most, generator=rng, dtype=torch.float64)
    places = keys.argsort(dim=1)[:, :least]  # a random permutation of each, cut short
    P = torch.zeros(count, most, least).scatter_(1, places[:, None, :], 1.0)
    return (P if rows >= columns else P.mT).contiguous()
