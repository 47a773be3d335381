r"""Householder reflections, Cayley transforms and complex unitary matrices.

A complex state z of n units is one real tensor of width 2 n: the real parts, then the imaginary parts. A complex matrix
M acts on it as the real matrix [[Re M, -Im M], [Im M, Re M]] of (2 n, 2 n), which has M's singular values, each twice.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from stablebench.models.claims.claim import Claim, Evidence, Outcome, largest_singular_value_at_most, stays_orthogonal

_SMALLEST_MODULUS = 1e-5
"""Added to |z| in quadrature, so that the derivative is finite at 0; published versions of EUNN add as much to |z|."""


def as_real(M: Tensor) -> Tensor:
    """Return the real form (2 n, 2 m) of a complex matrix (n, m)."""
    return torch.cat([torch.cat([M.real, -M.imag], dim=1), torch.cat([M.imag, M.real], dim=1)])


def complex_modrelu(z: Tensor, bias: Tensor) -> Tensor:
    """Return z relu(|z| + bias) / |z| of complex units, Arjovsky, Shah & Bengio 2016; |z| = sqrt(re^2 + im^2 + 1e-10).

    Args:
        z: Real parts, then imaginary parts, (batch, 2 n).
        bias: One threshold per unit, (n,).
    """
    real, imaginary = z.chunk(2, dim=1)
    modulus = torch.sqrt(real * real + imaginary * imaginary + _SMALLEST_MODULUS**2)
    scale = torch.relu(modulus + bias) / modulus
    return torch.cat([scale * real, scale * imaginary], dim=1)


def householder_product(U: Tensor) -> Tensor:
    """Return H_1 H_2 ... H_m with H_k = I - 2 u_k u_k^T / |u_k|^2, (n, n), for vectors u_k in the columns of U (n, m).

    With unit vectors the product is I - U S^-1 U^T, where S is upper triangular, 1/2 on the diagonal and u_j . u_k
    above it (Joffrain et al. 2006): one triangular system in place of m reflections.
    """
    U = U / torch.linalg.vector_norm(U, dim=0)
    S = torch.triu(U.T @ U, diagonal=1) + 0.5 * torch.eye(U.shape[1], dtype=U.dtype, device=U.device)
    eye = torch.eye(len(U), dtype=U.dtype, device=U.device)
    return eye - U @ torch.linalg.solve_triangular(S, U.T, upper=True)


def cayley(A: Tensor) -> Tensor:
    """Return (I + A)^-1 (I - A) of a skew-symmetric A, both (n, n); orthogonal, and without the eigenvalue -1."""
    eye = torch.eye(len(A), dtype=A.dtype, device=A.device)
    return torch.linalg.solve(eye + A, eye - A)


def random_unitary(n: int) -> Tensor:
    """Draw a Haar-distributed unitary matrix (n, n), complex: Q of a QR decomposition, R's diagonal made positive."""
    real, imaginary = torch.randn(2, n, n, dtype=torch.float64)
    Q, R = torch.linalg.qr(torch.complex(real, imaginary))
    diagonal = R.diagonal()
    narrow = torch.complex64 if torch.get_default_dtype() == torch.float32 else torch.complex128
    return (Q * (diagonal / diagonal.abs())).to(narrow)


def glorot_bound(inputs: int, outputs: int) -> float:
    """Return sqrt(6 / (inputs + outputs)), the bound of Glorot & Bengio's uniform distribution."""
    return math.sqrt(6 / (inputs + outputs))


def unitary_claims(matrix: Callable[[], Tensor], bias: Tensor) -> list[Claim]:
    """Return that a complex recurrent matrix is unitary, and that the Jacobian does not grow with complex modReLU.

    modReLU leaves the direction along z as it is and scales the one across it by (|z| + b) / |z|, which is above 1 for
    b > 0: the papers' argument, which takes its derivative for 0 or 1, is one about b <= 0.

    Args:
        matrix: Returns the real form (2 n, 2 n) of the recurrent matrix.
        bias: modReLU's thresholds, (n,).
    """

    def check(e: Evidence) -> Outcome:
        return largest_singular_value_at_most(e, 0.0, 8 * e.steps * e.weights_eps).under_hypothesis(
            bool((bias <= 0).all())
        )

    return [
        Claim("||W^H W - I|| = 0", "none", lambda e: stays_orthogonal(e, matrix()), about="weights"),
        Claim("log10 of the largest singular value of dh_T/dh_1 <= 0", "modReLU's biases <= 0", check),
    ]
