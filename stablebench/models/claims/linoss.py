"""What Rusch & Rus and Boyer et al. prove of linear oscillators: where the eigenvalues of a step lie."""

import torch
from torch import Tensor

from stablebench.models.claims.claim import DECADE, Claim, Evidence, Outcome, at_most


def _moduli(M: Tensor) -> Tensor:
    """Return |lambda| of both eigenvalues of each matrix, (n, 2), in float64."""
    return torch.linalg.eigvals(M.detach().double().cpu()).abs()


def linoss_im_claims(M: Tensor, S: Tensor) -> list[Claim]:
    """Return the claims of the implicit scheme: |lambda|^2 = S = 1 / (1 + k^2 A).

    Args:
        M: The matrices of a step, (n, 2, 2).
        S: (n,).
    """
    largest, expected = _moduli(M).max().item(), S.detach().double().cpu().sqrt().max().item()
    return [
        Claim(
            "largest |lambda| of a step = (1 + k^2 A)^(-1/2) <= 1 (proposition 3.1)",
            "A >= 0, by construction",
            lambda e: at_most(largest, min(1.0, expected) + 1e-7 + 8 * e.weights_eps),
            about="weights",
        )
    ]


def linoss_imex_claims(M: Tensor, squared: Tensor) -> list[Claim]:
    """Return the claims of the implicit-explicit scheme: |lambda| = 1, and a symplectic step.

    Args:
        M: The matrices of a step, (n, 2, 2).
        squared: k^2 A, (n,).
    """
    off = (_moduli(M) - 1).abs().max().item()
    met = bool((squared < 4).all())

    def circle(e: Evidence) -> Outcome:
        return at_most(off, 1e-7 + 8 * e.weights_eps).under_hypothesis(met)  # a double eigenvalue 1 is found to 1e-8

    def paired(e: Evidence) -> Outcome:
        smallest, largest = e.log_singular_values
        return at_most(abs(smallest + largest) / DECADE, 1e-7 * max(1.0, largest) + 8 * e.steps * e.weights_eps)

    return [
        Claim("largest ||lambda| - 1| of a step = 0 (proposition 3.2)", "k^2 A < 4", circle, about="weights"),
        Claim("|log10 of the smallest plus the largest singular value of dh_T/dh_1| = 0 (symplectic)", "none", paired),
    ]


def damped_claims(M: Tensor, S: Tensor) -> list[Claim]:
    """Return the claims of the damped scheme: |lambda|^2 = S = 1 / (1 + k G), where eigenvalues are complex.

    Args:
        M: The matrices of a step, (n, 2, 2).
        S: (n,).
    """
    expected = S.detach().double().cpu().sqrt()
    largest = (_moduli(M) / expected[:, None]).log().abs().max().item()
    return [
        Claim(
            "largest |ln(|lambda| (1 + k G)^(1/2))| of a step = 0",
            "(sqrt(1 + k G) - 1)^2 <= k^2 A <= (sqrt(1 + k G) + 1)^2, by construction",
            lambda e: at_most(largest, 1e-6 + 8 * e.weights_eps**0.5),  # a double eigenvalue moves with the root
            about="weights",
        ),
        Claim(
            "largest |lambda| of a step = (1 + k G)^(-1/2) <= 1",
            "G >= 0, by construction",
            lambda e: at_most(expected.max().item(), 1.0 + e.weights_eps),
            about="weights",
        ),
    ]
