"""Fixed rectangular matrices that keep lengths: A^T A = I, or A A^T = I where there are more columns than rows.

    random_semi_orthogonal    from the QR decomposition of matrices with U(-1, 1) entries
    random_semi_permutation   columns, or rows, are different unit vectors

Both are drawn many at once (Ceni, arXiv:2210.01245, section II-C and appendix C). Asserted in
tests/models/test_semi_orthogonal.py.
"""

import torch
from torch import Tensor


def random_semi_orthogonal(count: int, rows: int, columns: int, rng: torch.Generator) -> Tensor:
    """Return the orthogonal factors of QR decompositions of matrices with U(-1, 1) entries, (count, rows, columns).

    Signs are left as the decomposition gives them, so square ones are not Haar distributed. A wide matrix has no such
    factor of its shape; it is the transpose of a tall one's. All is computed in float64, so that both precisions get
    the same matrices.

    Args:
        count: How many.
        rows: Of each.
        columns: Of each.
        rng: Source of randomness.
    """
    tall = max(rows, columns), min(rows, columns)
    entries = torch.rand(count, *tall, generator=rng, dtype=torch.float64) * 2 - 1
    Q = torch.linalg.qr(entries).Q.to(torch.get_default_dtype())
    return (Q if rows >= columns else Q.mT).contiguous()


def random_semi_permutation(count: int, rows: int, columns: int, rng: torch.Generator) -> Tensor:
    """Return matrices of 0 and 1 with one 1 in every column, or in every row of a wide one, (count, rows, columns).

    Args:
        count: How many.
        rows: Of each.
        columns: Of each.
        rng: Source of randomness.
    """
    most, least = max(rows, columns), min(rows, columns)
    keys = torch.rand(count, most, generator=rng, dtype=torch.float64)
    places = keys.argsort(dim=1)[:, :least]  # a random permutation of each, cut short
    P = torch.zeros(count, most, least).scatter_(1, places[:, None, :], 1.0)
    return (P if rows >= columns else P.mT).contiguous()
