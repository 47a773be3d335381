"""What the roaRNN paper proves of h_t = alpha phi(W h_{t-1} + ...) + (1 - alpha) O h_{t-1}: theorem 3.1, remark 3.1."""

import abc
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from stablebench.models.claims.claim import Claim, Evidence, Outcome, Proposition, singular_values_within


def roarnn_claims(alpha: float, W: Tensor, bounded: bool, largest_from_corners: Callable[[], float]) -> list[Claim]:
    """Return theorem 3.1 for the chain's own number of steps N, before its limit and as printed, and remark 3.1.

    Args:
        alpha: The share of the Elman step, in (0, 1].
        W: Its matrix (n, n).
        bounded: Whether |phi| <= 1.
        largest_from_corners: Returns what `from_corners` does.
    """
    return [
        FiniteInterval(alpha, W).claim(),
        PrintedInterval(alpha, W).claim(),
        Cube(bounded, largest_from_corners).claim(),
    ]


@dataclass(frozen=True)
class _SingularValueInterval(abc.ABC):
    """An interval for the singular values of dh_T/dh_1; phi' lies in [0, r], r = 1 for relu and tanh."""

    alpha: float
    W: Tensor

    statement: ClassVar[str]
    hypothesis: ClassVar[str] = "rho < N / (1 + r s), that is alpha (1 + r s) < 1, with s = ||W|| and r = 1"

    @property
    def shrink(self) -> float:
        """Alpha (1 + s)."""
        return self.alpha * (1 + torch.linalg.matrix_norm(self.W, 2).item())

    @property
    def grow(self) -> float:
        """Alpha (s - 1)."""
        return self.alpha * (torch.linalg.matrix_norm(self.W, 2).item() - 1)

    @abc.abstractmethod
    def ends(self, steps: int) -> tuple[float, float]:
        """Return natural logarithms of the ends for N steps."""

    def check(self, evidence: Evidence) -> Outcome:
        """Return whether all singular values lie in the interval."""
        outcome = singular_values_within(
            evidence, *self.ends(evidence.steps), 2 * evidence.steps * evidence.weights_eps
        )
        return outcome.under_hypothesis(self.shrink < 1)

    def claim(self) -> Claim:
        """Return it as a claim."""
        return Claim(self.statement, self.hypothesis, self.check)


class FiniteInterval(_SingularValueInterval):
    """Theorem 3.1 before its limit."""

    statement = (
        "log10 of the singular values of dh_T/dh_1 within N log10(1 - alpha (1 + r s)) ... "
        "N log10(1 + alpha (r s - 1)) (theorem 3.1 before its limit)"
    )

    def ends(self, steps: int) -> tuple[float, float]:
        """Return N ln(1 - alpha (1 + s)) and N ln(1 + alpha (s - 1))."""
        low = math.log1p(-self.shrink) if self.shrink < 1 else -math.inf
        return steps * low if steps else 0.0, steps * math.log1p(self.grow)


class PrintedInterval(_SingularValueInterval):
    """Theorem 3.1 as printed, the limit of long chains."""

    statement = (
        "log10 of the singular values of dh_T/dh_1 within -rho (1 + r s) / ln 10 ... rho (r s - 1) / ln 10, "
        "rho = alpha N (theorem 3.1 as printed)"
    )

    def ends(self, steps: int) -> tuple[float, float]:
        """Return -rho (1 + s) and rho (s - 1), rho = alpha N."""
        return -steps * self.shrink, steps * self.grow


@dataclass(frozen=True)
class Cube(Proposition):
    """Remark 3.1: the states stay in the cube."""

    bounded: bool
    largest_from_corners: Callable[[], float]

    statement = "h_t stays within [-1, 1]: largest |h_t| one step after a corner of the cube, x_t = 0 (remark 3.1)"
    hypothesis = "phi bounded by 1, as tanh is"
    about = "weights"

    def measure(self, evidence: Evidence) -> float:
        """Return the largest |h_t| one step after a corner."""
        return self.largest_from_corners()

    def bound(self, evidence: Evidence) -> float:
        """Return 1, up to rounding of the weights."""
        return 1 + 2 * evidence.weights_eps

    def applies(self, evidence: Evidence) -> bool:
        """Return whether |phi| <= 1."""
        return self.bounded


def from_corners(O: Tensor, step: Callable[[Tensor], Tensor]) -> float:  # noqa: E741 - the paper's name
    """Return the largest |h_t| that one step without input reaches from a corner of the cube [-1, 1]^n.

    A unit's corner is the one that its row of O turns all into that unit.

    Args:
        O: The orthogonal map (n, n).
        step: Returns h_t for x_t = 0 and h_{t-1}, (rows, n).
    """
    corners = torch.where(O < 0, -1.0, 1.0).to(O)
    return step(torch.cat([corners, -corners])).abs().max().item()
