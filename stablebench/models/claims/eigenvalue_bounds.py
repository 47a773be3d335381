r"""What the uRNN poster proves of h_t = phi(W h_{t-1} + ...): bounds on dh_T/dh_1 from eigenvalues and slopes.

With |phi'| in [alpha, beta] and the eigenvalues of W between |lambda_n| and |lambda_1| in size, over N one-step
Jacobians diag(phi') W,

    (alpha |lambda_n|)^N <= ||dh_T/dh_1|| <= (beta |lambda_1|)^N.

The poster states both for every diagonalisable W. The lower one holds for every W at all, for a norm is at least the
geometric mean of the singular values, |det|^(1/n). The upper one needs ||W|| = |lambda_1|, which normal matrices have:
[[.9, 10], [0, .8]] is diagonalisable, and its fifth power has norm 26.
"""

import math
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from stablebench.models.blocks.activations import Activation
from stablebench.models.claims.claim import (
    DECADE,
    Claim,
    Evidence,
    Outcome,
    largest_singular_value_at_least,
    largest_singular_value_at_most,
)

SLOPES: dict[Activation, tuple[float, float]] = {
    "tanh": (0, 1),
    "relu": (0, 1),
    "abs": (1, 1),
    "leaky_relu": (0.01, 1),
    "identity": (1, 1),
}
"""alpha and beta: the smallest and largest |phi'|."""
_DEFECTIVE = 1e10
"""Condition number of the eigenvectors from which on W counts as not diagonalisable."""


@dataclass
class RecurrentSpectrum:
    """What the theorem takes of a matrix.

    Args:
        W: The matrix (n, n).
    """

    W: Tensor

    @cached_property
    def _eigen(self) -> tuple[Tensor, Tensor]:
        values, vectors = torch.linalg.eig(self.W.detach().double())
        return values.abs(), vectors

    @property
    def ends(self) -> tuple[float, float]:
        """|lambda_n| and |lambda_1|."""
        return self._eigen[0].min().item(), self._eigen[0].max().item()

    @cached_property
    def condition(self) -> float:
        """The condition number of the eigenvectors: 1 for a normal matrix, infinite for one that has no basis."""
        values = torch.linalg.svdvals(self._eigen[1])
        return (values[0] / values[-1]).item()

    @cached_property
    def departure(self) -> float:
        """||W^T W - W W^T|| / ||W||^2, which is 0 for a normal matrix."""
        W = self.W.detach().double()
        size = torch.linalg.matrix_norm(W, 2).item()
        return torch.linalg.matrix_norm(W.T @ W - W @ W.T, 2).item() / size**2 if size else 0.0

    def normal(self, evidence: Evidence) -> bool:
        """Return whether the matrix is normal, up to the rounding of its entries."""
        return self.departure <= max(1e-12, len(self.W) * evidence.weights_eps)


def eigenvalue_claims(spectrum: RecurrentSpectrum, activation: Activation) -> list[Claim]:
    """Return the theorem as printed, its upper bound for the matrices that have it, and its lower bound."""
    least, most = SLOPES[activation]

    def upper(e: Evidence) -> Outcome:
        return largest_singular_value_at_most(e, e.steps * _log(spectrum.ends[1] * most), rounding(e))

    def printed(e: Evidence) -> Outcome:
        return upper(e).under_hypothesis(spectrum.condition < _DEFECTIVE)

    def lower(e: Evidence) -> Outcome:
        low = e.steps * _log(spectrum.ends[0] * least) if e.steps else 0.0
        return largest_singular_value_at_least(e, low, rounding(e)).under_hypothesis(not at_kink(e, activation))

    bound = f"log10 ||dh_T/dh_1|| <= N log10({most:g} |lambda_1|)"
    return [
        Claim(f"{bound} (poster's theorem, upper bound as printed)", "W diagonalisable", printed),
        Claim(f"{bound} (upper bound)", "W normal", lambda e: upper(e).under_hypothesis(spectrum.normal(e))),
        Claim(
            f"log10 ||dh_T/dh_1|| >= N log10({least:g} |lambda_n|) (poster's theorem, lower bound)",
            "none; with abs no unit at exactly 0",
            lower,
        ),
        table_claim(spectrum, activation),
    ]


def table_claim(spectrum: RecurrentSpectrum, activation: Activation) -> Claim:
    """Return the cell of the poster's table that the matrix is in: what the gradient does; log10 of growth a step.

    Vacuous for the cells that say `may`.
    """
    least, most = SLOPES[activation]

    def check(e: Evidence) -> Outcome:
        slack = max(1e-9, 8 * e.weights_eps)
        low, high = _log(spectrum.ends[0] * least), _log(spectrum.ends[1] * most)
        steps = max(e.steps, 1)
        rates = (e.log_jacobian_norms[0] / steps, e.log_jacobian_norms[1] / steps)
        says = table(low, high, slack)
        holds = {
            "vanishes": rates[1] < 0,
            "constant": -slack <= rates[0] and rates[1] <= slack,
            "explodes": rates[0] > 0,
        }.get(says, True)
        return Outcome(
            (rates[0] / DECADE, rates[1] / DECADE),
            (low / DECADE, high / DECADE),
            holds,
            vacuous=says.startswith("may"),
            applies=(spectrum.normal(e) or says == "explodes") and e.steps > 0 and not at_kink(e, activation),
            remark=f"the table says: {says}",
        )

    return Claim(
        f"the gradient does what the poster's table says for {least:g} |lambda_n| and {most:g} |lambda_1| against 1: "
        "log10 of its growth a step",
        "W normal, or explodes; with abs no unit at exactly 0",
        check,
    )


def table(low: float, high: float, slack: float) -> str:
    """Return what the poster's table says.

    Args:
        low: Logarithm of alpha |lambda_n|.
        high: Logarithm of beta |lambda_1|.
        slack: Distance from 0 that counts as none.
    """
    if high < -slack:
        return "vanishes"
    if low > slack:
        return "explodes"
    shrinks, grows = low < -slack, high > slack
    if shrinks:
        return "may vanish or explode" if grows else "may vanish"
    return "may explode" if grows else "constant"


def _log(x: float) -> float:
    return math.log(x) if x > 0 else -math.inf


def rounding(e: Evidence) -> float:
    """Return by how much rounding of W may move the logarithm of a bound over N steps."""
    return 8 * e.steps * e.weights_eps


def at_kink(e: Evidence, activation: Activation) -> bool:
    """Return whether a unit is where the activation has no derivative."""
    return activation == "abs" and bool((e.states[2:] == 0).any())
