r"""The largest eigenvalue of a symmetric matrix that is known by its products with vectors.

Lanczos: the matrix in the orthonormal basis of b, A b, A^2 b ..., in which it is tridiagonal. Its largest Ritz value
theta with the residual r = |A y - theta y| of its vector y is at most r from an eigenvalue, and at most r^2 / gap where
the rest of the spectrum is further than gap from theta. The gap is taken to the second Ritz value, and the bound must
be below a thousandth of theta after two products running. As with any such method, where the first vector has next to
nothing of the largest eigenvalue's vector, it is the second largest that is seen.

Reference: Parlett. The Symmetric Eigenvalue Problem. SIAM 1998, theorems 4.5.1 and 11.7.1, chapter 13.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from stablebench.errors import UserError

_TOLERANCE = 1e-3
"""Relative error of the eigenvalue."""
_EXACT = 8
"""Rows up to which the whole matrix is built."""
_MIN_PRODUCTS, _MAX_PRODUCTS = 3, 200
_RUNNING = 2
"""Products running after which the bound is below the tolerance."""
_NOTHING = 1e-12
"""Relative size below which a new vector is rounding: the basis is closed."""


def largest_eigenvalue(product: Callable[[Tensor], Tensor], starts: Sequence[Tensor]) -> tuple[float, Tensor | None]:
    """Return the largest eigenvalue and its vector, (n); None in place of the vector where all products are 0.

    Args:
        product: A v of v, (n), float64.
        starts: The first vector is their sum, each with norm 1; a random one where that is 0 or its product is.

    Raises:
        UserError: It has not converged after 200 products.
    """
    n = len(starts[0])
    rng = torch.Generator().manual_seed(0)
    if n <= _EXACT:
        columns = torch.stack([product(row) for row in torch.eye(n, dtype=torch.float64)])
        values, vectors = torch.linalg.eigh((columns + columns.T) / 2)
        return values[-1].item(), vectors[:, -1]
    start = torch.stack([v / v.norm() if v.any() else v for v in starts]).sum(0)
    basis: list[Tensor] = []
    diagonal: list[float] = []
    off_diagonal: list[float] = []
    small = 0  # products running after which the error is small
    random = torch.randn(n, generator=rng, dtype=torch.float64)
    for candidate in (start, random):
        if candidate.any() and (after := product(candidate / candidate.norm())).any():
            basis.append(candidate / candidate.norm())
            break
    else:
        return 0.0, None
    while True:
        v = basis[-1]
        diagonal.append((v @ after).item())
        whole = torch.stack(basis)
        rest = after
        for _ in range(2):  # twice is enough for orthogonality to rounding
            rest = rest - whole.T @ (whole @ rest)
        size = rest.norm().item()
        values, vectors = _ritz(diagonal, off_diagonal)
        value = values[-1].item()
        residual = size * abs(vectors[-1, -1].item())
        gap = value - values[-2].item() if len(basis) > 1 else 0.0
        error = min(residual, residual**2 / gap) if gap > 0 else residual
        closed = size <= _NOTHING * values.abs().max().item() or len(basis) == n
        small = small + 1 if error <= _TOLERANCE * abs(value) else 0
        if closed or (len(basis) >= _MIN_PRODUCTS and small >= _RUNNING):
            return value, whole.T @ vectors[:, -1]
        if len(basis) == _MAX_PRODUCTS:
            raise UserError(f"curvature: the largest eigenvalue did not converge in {_MAX_PRODUCTS} products.")
        off_diagonal.append(size)
        basis.append(rest / size)
        after = product(basis[-1])


def _ritz(diagonal: list[float], off_diagonal: list[float]) -> tuple[Tensor, Tensor]:
    """Return the eigenvalues of a tridiagonal matrix, ascending, (k), and its eigenvectors in columns, (k, k)."""
    T = torch.diag(torch.tensor(diagonal, dtype=torch.float64))
    if off_diagonal:
        off = torch.diag(torch.tensor(off_diagonal, dtype=torch.float64), 1)
        T = T + off + off.T
    values, vectors = torch.linalg.eigh(T)
    return values, vectors
