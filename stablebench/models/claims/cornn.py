r"""What is said of coRNN's chain (`stablebench.models.claims.oscillator`), a class each proposition.

All but the last are those of its paper.

What is assumed, with the number that the paper gives it:

    (52), (49)  2 epsilon - gamma dt >= 1, or 2 epsilon - (gamma + epsilon^2) dt >= 1 (explicit)
    (8), (53)   eta = delta dt max(gamma + ||W||, ||W2||) <= dt^r for an r in [1/2, 1], in the infinity norm

(8) is (53) for gamma = epsilon = 1, implicit damping and the constant 1, which stands here for (53)'s unnamed C: so the
condition is eta <= dt^(1/2), and dt^r is max(eta, dt). The statements about all entries of a parameter are measured
with the loss (6) and targets of size 1 away from the states, the worst there are of their size.

Propositions D.1 to D.3 are about the differential equation, not about this chain; D.1 and D.2 are what 3.1 (F.1) and
E.1 say of it for dt -> 0. See `stablebench.report.paper_checks.check` for D.3.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any

import torch

from stablebench.models.claims.claim import Claim, Evidence, Proposition
from stablebench.models.claims.oscillator import (
    Oscillators,
    largest_gradient_entry,
    largest_one_step_norm,
    log10_product_norm,
    long_term_share,
)

_VACUOUS_DECADES = 10.0
"""Decades of growth from which on a bound on it says nothing."""
_CONSTANT_DECADES = 2.0
"""Decades, up and down, that stand for the unnamed constants of an order."""
_GRADIENT_SAMPLES = 4
"""Sequences that the gradient of the loss is taken of."""
_FORGOTTEN = 1e-3
"""Share of the gradient at the end that counts as nothing."""


def cornn_claims(c: Oscillators) -> list[Claim]:
    """Return the paper's propositions as claims."""
    norm = cache(lambda evidence: log10_product_norm(c, c.slopes(evidence, 1)[1:, 0]))
    propositions = [
        SharperEnergyBound(c),
        PrintedEnergyBound(c),
        EnergyBoundInUnitTime(c),
        DistanceOfSequences(c),
        OneStepJacobian(c),
        ProductOfJacobians(c, norm),
        ApproximatedProduct(c, norm),
        GradientOfTheLoss(c),
        GradientOfLongAgo(c),
        MemoryHorizon(c),
    ]
    return [proposition.claim() for proposition in propositions]


@dataclass(frozen=True)
class _OfOscillators(Proposition):
    """A proposition about a chain of oscillators.

    Args:
        c: The chain.
    """

    c: Oscillators


class _EnergyBound(_OfOscillators):
    """A bound of 1 on a share of energy, for |phi| <= 1 and D >= 1."""

    hypothesis = "|phi| <= 1; (49), (52): D >= 1 (D = {surplus:.3g})"
    limit = 1.0

    def hypothesis_in_numbers(self) -> str:
        """Return the hypothesis with this chain's D."""
        return self.hypothesis.format(surplus=self.c.surplus)

    def applies(self, evidence: Evidence) -> bool:
        """Return whether D >= 1 and |phi| <= 1."""
        return self.c.surplus >= 1 and self.c.bounded


class SharperEnergyBound(_EnergyBound):
    """gamma y'y + z'z <= m t_n / D."""

    statement = "energy gamma y'y + z'z over its bound hidden t dt / D, largest of all t (propositions 3.1 and F.1)"
    hypothesis = "|phi| <= 1, as for tanh; D > 0 (D = {surplus:.3g})"

    def measure(self, evidence: Evidence) -> float:
        """Return the largest energy over its bound."""
        return (self.c.energy_shares(evidence.states) * self.c.surplus).max().item()

    def applies(self, evidence: Evidence) -> bool:
        """Return whether D > 0 and |phi| <= 1."""
        return self.c.surplus > 0 and self.c.bounded


class PrintedEnergyBound(_EnergyBound):
    """gamma y'y + z'z <= m t_n."""

    statement = "energy gamma y'y + z'z over hidden t dt, largest of all t (3.1, equation 5; F.1, equation 50)"

    def measure(self, evidence: Evidence) -> float:
        """Return the largest energy over its bound."""
        return self.c.energy_shares(evidence.states).max().item()


class EnergyBoundInUnitTime(_EnergyBound):
    """gamma y'y + z'z <= m, as t_N <= 1."""

    statement = "energy gamma y'y + z'z over hidden, largest of all t (3.1, the last step of equation 5)"
    hypothesis = f"{_EnergyBound.hypothesis}; N dt <= 1"

    def measure(self, evidence: Evidence) -> float:
        """Return the largest energy over m."""
        return self.c.energies(evidence.states).max().item() / self.c.units

    def applies(self, evidence: Evidence) -> bool:
        """Return whether the energy bound applies, in unit time."""
        return super().applies(evidence) and self.c.in_unit_time(evidence)

    def remark(self, evidence: Evidence) -> str:
        """Return N dt."""
        return f"N dt = {(evidence.steps + 1) * self.c.dt:.3g}"


class DistanceOfSequences(_EnergyBound):
    """The energy of the difference of two sequences is <= 4 m t_n."""

    statement = "the same energy of the difference of two sequences over 4 hidden t dt, largest of all t (E.1)"
    hypothesis = f"{_EnergyBound.hypothesis}; two sequences"

    def measure(self, evidence: Evidence) -> float:
        """Return the largest energy of differences over its bound."""
        differences = evidence.states - evidence.states.roll(1, dims=1)
        return (self.c.energy_shares(differences) / 4).max().item()

    def applies(self, evidence: Evidence) -> bool:
        """Return whether the energy bound applies to more than one sequence."""
        return super().applies(evidence) and evidence.states.shape[1] > 1


class _OfSmallWeights(_OfOscillators):
    """A proposition whose hypothesis is about the size of the weights."""

    def remark(self, evidence: Evidence) -> str:
        """Return eta, dt^(1/2) and N dt."""
        return self.c.weights_remark(evidence)


class _JacobianBound(_OfSmallWeights):
    """A bound on Jacobians under (8), or (53) with the constant 1."""

    hypothesis = "(8), or (53) with the constant 1: eta <= dt^(1/2); |phi'| <= 1"

    def applies(self, evidence: Evidence) -> bool:
        """Return whether (8) is met."""
        return self.c.small_weights


class OneStepJacobian(_JacobianBound):
    """||dX_t/dX_{t-1}|| <= 1 + 3 dt^r."""

    statement = "largest infinity norm of a one-step Jacobian <= 1 + 3 dt^r (equation 13)"

    def measure(self, evidence: Evidence) -> float:
        """Return the largest infinity norm over steps and samples."""
        return largest_one_step_norm(self.c, self.c.slopes(evidence)[1:]) if evidence.steps else 1.0

    def bound(self, evidence: Evidence) -> float:
        """Return 1 + 3 dt^r."""
        return 1 + 3 * self.c.step_power


@dataclass(frozen=True)
class ProductOfJacobians(_JacobianBound):
    """||dX_T/dX_1|| <= (1 + 3 dt^r)^N.

    Args:
        c: The chain.
        norm: Returns log10 of the infinity norm of dX_T/dX_1 of the first sequence.
    """

    norm: Callable[[Evidence], float]

    statement = "log10 of the infinity norm of dX_T/dX_1 of the first sequence <= N log10(1 + 3 dt^r) (equation 14)"
    slack = 1e-9

    def measure(self, evidence: Evidence) -> float:
        """Return log10 of the norm."""
        return self.norm(evidence)

    def bound(self, evidence: Evidence) -> float:
        """Return N log10(1 + 3 dt^r)."""
        return evidence.steps * math.log10(1 + 3 * self.c.step_power)

    def is_vacuous(self, measured: Any, bound: Any) -> bool:
        """Return whether it allows growth by ten decades."""
        return bound > _VACUOUS_DECADES


class ApproximatedProduct(ProductOfJacobians):
    """||dX_T/dX_1|| <= 1 + 3 N dt^r, as the paper approximates (14)."""

    statement = "the same norm <= log10(1 + 3 N dt^r) (equation 14 as it is approximated, terms in dt^2r left out)"
    hypothesis = f"{_JacobianBound.hypothesis}; N dt <= 1"

    def bound(self, evidence: Evidence) -> float:
        """Return log10(1 + 3 N dt^r)."""
        return math.log10(1 + 3 * evidence.steps * self.c.step_power)

    def applies(self, evidence: Evidence) -> bool:
        """Return whether (8) is met, in unit time."""
        return super().applies(evidence) and self.c.in_unit_time(evidence)


class GradientOfTheLoss(_OfSmallWeights):
    """|dE/dtheta| <= 3/2 (m + m^(1/2)), or with the constants of F.2."""

    statement = (
        "largest entry of dE/dtheta of the loss (6), targets -sign(y), V's entries over max(1, |u|) <= "
        "3/2 (hidden + hidden^(1/2)) (3.2), or 3 C (hidden + hidden^(1/2)) / (2 gamma), C = eta / dt^(1/2) (F.2)"
    )
    hypothesis = "(8) for gamma = epsilon = 1 and implicit damping, (49) and (53) for explicit; N dt <= 1"

    def measure(self, evidence: Evidence) -> float:
        """Return the largest entry."""
        return largest_gradient_entry(self.c, evidence.inputs[:_GRADIENT_SAMPLES])

    def bound(self, evidence: Evidence) -> float:
        """Return the bound of 3.2 for the form (4), else that of F.2."""
        c = self.c
        factor = 1.0 if c.is_form_4 else c.eta / math.sqrt(c.dt) / c.gamma
        return 1.5 * factor * (c.units + math.sqrt(c.units))

    def applies(self, evidence: Evidence) -> bool:
        """Return whether the conditions of 3.2, or of F.2, are met, in unit time."""
        c = self.c
        condition = c.small_weights if c.is_form_4 else c.damping == "explicit" and c.surplus >= 1
        return condition and c.bounded and c.in_unit_time(evidence)


class GradientOfLongAgo(_OfSmallWeights):
    """The part of dE_n/dW that comes from long ago is O(delta dt t_n |y_n| |y_k|)."""

    statement = (
        "log10 of the largest entry of dE_n^(k)/dW over sech^2(t_k^(1/2) (1 + dt)) delta dt t_n |y_n| |y_k|, least and "
        "largest of n/20 <= k <= n/10, zero targets: a constant (3.3, F.3; none is named, here 1/100 ... 100)"
    )
    hypothesis = (
        "(8) with r = 1: eta <= dt; N dt <= 1, n >= 20; with the sizes that y has, for the printed y_n = O(t_n^(1/2)) "
        "is excluded by the zero inputs and b = 0 that are assumed with it"
    )
    limit = (-_CONSTANT_DECADES, _CONSTANT_DECADES)

    def measure(self, evidence: Evidence) -> tuple[float, float]:
        """Return the ends of log10 of the contributions against their order."""
        return long_term_share(self.c, evidence)

    def holds(self, measured: Any, bound: Any, evidence: Evidence) -> bool:
        """Return whether both ends lie within."""
        return bound[0] <= measured[0] and measured[1] <= bound[1]

    def applies(self, evidence: Evidence) -> bool:
        """Return whether eta <= dt, in unit time, for 20 steps or more."""
        c, n = self.c, evidence.steps + 1
        return n >= 20 and c.eta <= c.dt * (1 + 1e-9) and c.bounded and c.in_unit_time(evidence)


class MemoryHorizon(_OfOscillators):
    """A loss is felt for at most (2 / damping) ln(1 / share) of time, as the gradient falls at half the damping's rate.

    Munigety, Between Amnesia and Chaos (2026), arXiv 2606.09929, states it for networks of damped oscillators, whose
    damping coefficient is coRNN's epsilon. Of one oscillator alone it follows from the step's determinant, `kept`: the
    moduli of its complex eigenvalues are kept^(1/2). The ratio of the axes of its orbits is what is not said, and added
    here. Coupling can feed the oscillators, so that a network may remember for longer: then it is violated.
    """

    statement = (
        f"largest lag at which ||dL/dX_t|| is at least {_FORGOTTEN:g} of that at the loss <= 2 ln(ratio / "
        f"{_FORGOTTEN:g}) / -ln kept, kept = 1 - epsilon dt (explicit) or 1 / (1 + epsilon dt), ratio that of an "
        f"orbit's axes: the memory horizon (2 / epsilon) ln(1 / {_FORGOTTEN:g}) of arXiv 2606.09929, for this chain"
    )
    hypothesis = "an oscillator alone oscillates, its step has complex eigenvalues; the chain is longer than the bound"

    def measure(self, evidence: Evidence) -> float:
        """Return the lag, in steps, of the sequence that remembers the longest."""
        longest = 0
        for norms in evidence.last_loss_log_norms:
            end = int(norms.isfinite().nonzero().max()) if norms.isfinite().any() else 0
            felt = (norms[: end + 1] >= norms[end] + math.log(_FORGOTTEN)).nonzero()
            longest = max(longest, end - int(felt.min())) if len(felt) else longest
        return float(longest)

    def bound(self, evidence: Evidence) -> float:
        """Return the horizon in steps; infinite where an oscillator alone does not oscillate, or loses nothing."""
        kept = self.c.kept
        if not 0 < kept < 1 or self._ratio is None:
            return math.inf
        return 2 * math.log(self._ratio / _FORGOTTEN) / -math.log(kept)

    def applies(self, evidence: Evidence) -> bool:
        """Return whether the chain reaches beyond the horizon."""
        return evidence.steps + 1 > self.bound(evidence)

    def remark(self, evidence: Evidence) -> str:
        """Return the regime and the horizon in continuous time."""
        regime = "oscillates" if self._ratio is not None else "is overdamped"
        horizon = -2 * math.log(_FORGOTTEN) / (self.c.epsilon * self.c.dt)
        return f"an oscillator alone {regime}; (2 / epsilon) ln(1 / {_FORGOTTEN:g}) is {horizon:.4g} steps"

    @cached_property
    def _ratio(self) -> float | None:
        """Ratio of the longest to the shortest axis of the ellipse on which an undamped oscillator moves; None: none.

        It is the condition number of the eigenvectors of the step of (y, z) without its input and coupling.
        """
        c, force = self.c, self.c.delta * self.c.dt * self.c.gamma
        step = torch.tensor([[1 - c.dt * force, c.dt * c.kept], [-force, c.kept]], dtype=torch.float64)
        values, vectors = torch.linalg.eig(step)
        if not (values.imag.abs() > 1e-12).all():
            return None
        return torch.linalg.cond(vectors).item()
