"""What the nnRNN paper proves of W = P (Lambda + T) P^T: eigenvalues on a circle, polynomial growth, Fisher memory."""

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from stablebench.models.claims.claim import DECADE, Claim, Evidence, Proposition
from stablebench.models.claims.polynomial_growth import fitted_degree, log_binomial_bound, log_power_norm


def nnrnn_claims(form: Tensor, lower: Tensor, gamma: Tensor, below_blocks: bool) -> list[Claim]:
    """Return section 4 and propositions 1 and 2 of the paper as claims.

    Args:
        form: The Schur form Lambda + T, (n, n).
        lower: T, (n, n).
        gamma: The moduli of the blocks, (ceil(n / 2)).
        below_blocks: Whether T is 0 inside the blocks.
    """
    propositions = (EigenvalueModuli, PowerBound, PolynomialGrowth, FisherMemoryBound)
    return [proposition(form, lower, gamma, below_blocks).claim() for proposition in propositions]


@dataclass(frozen=True)
class _OfSchurForm(Proposition):
    """A statement about a Schur form; see `nnrnn_claims` for the arguments."""

    form: Tensor
    lower: Tensor
    gamma: Tensor
    below_blocks: bool
    about = "weights"


class EigenvalueModuli(_OfSchurForm):
    """The moduli of W's eigenvalues are |gamma|, whatever T is."""

    statement = "the moduli of W's eigenvalues are |gamma|: largest difference (section 4)"
    hypothesis = "none; an entry of T inside a block breaks it"
    limit = 1e-10  # what rounding may do

    def measure(self, evidence: Evidence) -> float:
        """Return the largest difference of the sorted moduli."""
        # of the transpose, which is in real Schur form already: nothing is lost to non-normality
        measured = torch.linalg.eigvals(self.form.T).abs().sort().values
        pairs = len(self.form) // 2
        moduli = torch.cat([self.gamma[:pairs].repeat_interleave(2), self.gamma[pairs:]]).abs().sort().values
        return (measured - moduli).abs().max().item()


class _Growth(_OfSchurForm):
    """Proposition 2: powers of W grow as a polynomial at most."""

    hypothesis = "|gamma| = 1, T below the blocks"

    def applies(self, evidence: Evidence) -> bool:
        """Return whether all eigenvalues lie on the unit circle."""
        return (self.gamma.abs() - 1).abs().max().item() <= evidence.weights_eps and self.below_blocks


class PowerBound(_Growth):
    """||W^N|| is at most a sum of binomials."""

    statement = "log10 ||W^N|| <= log10 sum over l < blocks of C(N, l) ||T||^l, N the chain's steps (proposition 2)"

    def measure(self, evidence: Evidence) -> float:
        """Return log10 ||W^N||."""
        return log_power_norm(self.form, evidence.steps) / DECADE

    def bound(self, evidence: Evidence) -> float:
        """Return log10 of the sum."""
        norm = torch.linalg.matrix_norm(self.lower, 2).item()
        return log_binomial_bound(evidence.steps, len(self.gamma), norm) / DECADE

    def holds(self, measured: Any, bound: Any, evidence: Evidence) -> bool:
        """Return whether the norm is within the bound, up to rounding of the weights."""
        return measured <= bound + evidence.steps * 2 * evidence.weights_eps + 1e-9

    def is_vacuous(self, measured: Any, bound: Any) -> bool:
        """Return whether it allows growth by ten decades."""
        return bound > 10


class PolynomialGrowth(_Growth):
    """||W^t|| grows as a polynomial of degree blocks - 1 at most."""

    statement = (
        "||W^t|| grows as a polynomial: its degree, the median slope of log ||W^t|| over log t from "
        "t = 64 blocks to 2^8 times that, <= 65/64 (blocks - 1) (proposition 2)"
    )
    slack = 1e-6

    def measure(self, evidence: Evidence) -> float:
        """Return the fitted degree."""
        return fitted_degree(self.form, 64 * len(self.gamma))

    def bound(self, evidence: Evidence) -> float:
        """Return the largest degree."""
        return 65 / 64 * (len(self.gamma) - 1)


class FisherMemoryBound(_OfSchurForm):
    """Proposition 1: the Fisher memory of a strictly lower triangular form is at least that of a delay line."""

    statement = "Fisher memory of the Schur form at least its bound, lags below hidden: least share (proposition 1)"
    hypothesis = "strictly lower triangular, so gamma = 0, and one weight under the whole diagonal"
    limit = 1.0

    @property
    def _has_one_weight(self) -> bool:
        line = self.form.diagonal(-1)
        return len(line) > 0 and line[0].item() > 0 and bool((line == line[0]).all())

    def measure(self, evidence: Evidence) -> float:
        """Return the least share over lags; NaN without one weight under the diagonal."""
        return evidence.fisher_memory_share(self.form.tril(-1)) if self._has_one_weight else math.nan

    def holds(self, measured: Any, bound: Any, evidence: Evidence) -> bool:
        """Return whether the share reaches the bound, up to rounding."""
        return measured >= bound - 1e-9

    def is_vacuous(self, measured: Any, bound: Any) -> bool:
        """Return whether the memory is ten decades above its bound."""
        return measured > 1e10

    def applies(self, evidence: Evidence) -> bool:
        """Return whether the form is strictly lower triangular with one weight under the diagonal."""
        return self._has_one_weight and not self.form.triu().any()
