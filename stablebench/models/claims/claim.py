"""What a paper proves of its model, as something that can be measured: `RecurrentModel.claims` returns these.

A claim checks itself against the evidence that the gradient probe gathers (`stablebench.probes`) and says what it
measured, what the paper's bound is, and whether its hypothesis is met. A new claim is one `Claim` in the model's file:

    def claims(self) -> list[Claim]:
        return [Claim("||W^T W - I|| = 0", "none", lambda e: stays_orthogonal(e, self.W), about="weights")]

A longer proof is a file of this folder with one `Proposition` for each statement.
"""

import abc
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal, Protocol

import torch
from torch import Tensor

Verdict = Literal["holds", "violated", "not applicable", "vacuous"]
Value = float | tuple[float, float]
"""A number, or the two ends of an interval."""

DECADE = math.log(10)
"""What divides a natural logarithm into one to base 10."""
_ROUNDING = 1e-9
"""What rounding of a long product in float64 may move the logarithm of a singular value."""
_VACUOUS_DECADES = 10.0
"""Decades that an interval may span before its claim counts as vacuous."""


class Evidence(Protocol):
    """What is measured on one chain, in float64; each part is computed when it is first needed."""

    @property
    def steps(self) -> int:
        """One-step Jacobians in dh_T/dh_1: T - 1."""
        ...

    @property
    def weights_eps(self) -> float:
        """Rounding unit of the precision that the weights were drawn or trained in."""
        ...

    @property
    def states(self) -> Tensor:
        """The states h_0 ... h_T, (T + 1, samples, size)."""
        ...

    @property
    def inputs(self) -> Tensor:
        """The encoded inputs of the first layer, (samples, T, in); of a deep network (samples, in)."""
        ...

    @property
    def last_loss_log_norms(self) -> Tensor:
        """Natural logarithms of ||dL/dh_t|| for a loss read from h_E only, (samples, E + 1); -inf for zeros."""
        ...

    @property
    def last_loss_log_input_norms(self) -> Tensor:
        """Natural logarithms of ||dL/dx_t||, t = 1 ... E, for that loss, (samples, E); recurrent networks only."""
        ...

    @property
    def log_singular_values(self) -> tuple[float, float]:
        """Natural logarithms of the smallest and the largest singular value of dh_T/dh_1 over the samples."""
        ...

    @property
    def log_jacobian_norms(self) -> tuple[float, float]:
        """Natural logarithms of the least and the greatest norm ||dh_T/dh_1|| over the samples."""
        ...

    def fisher_memory_share(self, theta: Tensor) -> float:
        """Return the least ratio, over lags k < n, of the Fisher memory curve of a linear chain to its lower bound.

        The bound is proposition 1 of the nnRNN paper; the signal enters at the first unit.

        Args:
            theta: The chain's matrix (n, n), n >= 2, strictly lower triangular with one weight below the diagonal.
        """
        ...


@dataclass(frozen=True)
class Outcome:
    """What came out of a check.

    Args:
        measured: The number that the claim is about, or the ends of the measured interval.
        bound: What it must not exceed, or the interval that it must lie in.
        holds: Whether it does.
        vacuous: Whether the bound says nothing.
        applies: Whether the hypothesis is met.
        remark: What the hypothesis depends on in this chain, if anything.
    """

    measured: Value
    bound: Value
    holds: bool
    vacuous: bool = False
    applies: bool = True
    remark: str = ""

    def under_hypothesis(self, met: bool) -> "Outcome":
        """Return the same outcome, which applies only if this hypothesis is met as well."""
        return replace(self, applies=self.applies and met)

    given = under_hypothesis
    """What version 0.1 called it; users' own models may still do so."""


@dataclass(frozen=True)
class Claim:
    """A statement of a paper about its model.

    Args:
        claim: The statement, with its place in the paper.
        hypothesis: What it presupposes.
        check: Measures it. It measures also where the hypothesis is not met.
        about: `weights`: one layer's matrices, so it is checked in every layer of a stack. `chain`: the whole chain of
            states; proved for a single layer, and not applicable to a stack.
    """

    claim: str
    hypothesis: str
    check: Callable[[Evidence], Outcome]
    about: Literal["weights", "chain"] = "chain"


@dataclass(frozen=True)
class Proposition(abc.ABC):
    """A claim whose parts are methods: what is stated, what is assumed, what is measured and what it must not exceed.

    Subclasses set `statement`, `hypothesis` and perhaps `about`, which are those of `Claim`, and `limit` or `bound`.
    """

    statement: ClassVar[str]
    hypothesis: ClassVar[str]
    about: ClassVar[Literal["weights", "chain"]] = "chain"
    limit: ClassVar[Value]
    """What `bound` returns, where it is the same for all chains."""
    slack: ClassVar[float] = 0.0
    """By how much rounding may lead beyond the bound."""

    @abc.abstractmethod
    def measure(self, evidence: Evidence) -> Value:
        """Return the number that the statement is about, or the ends of the measured interval."""

    def bound(self, evidence: Evidence) -> Value:
        """Return what the number must not exceed, or the interval that it must lie in."""
        return self.limit

    def holds(self, measured: Any, bound: Any, evidence: Evidence) -> bool:
        """Return whether the number keeps the bound, up to `slack`; NaN does not."""
        return measured <= bound + self.slack

    def is_vacuous(self, measured: Any, bound: Any) -> bool:
        """Return whether the bound is so wide that it says nothing."""
        return False

    def applies(self, evidence: Evidence) -> bool:
        """Return whether the hypothesis is met."""
        return True

    def remark(self, evidence: Evidence) -> str:
        """Return the numbers that the hypothesis depends on in this chain, if any."""
        return ""

    def check(self, evidence: Evidence) -> Outcome:
        """Return the outcome on one chain."""
        measured, bound = self.measure(evidence), self.bound(evidence)
        holds = self.holds(measured, bound, evidence)
        return Outcome(
            measured, bound, holds, self.is_vacuous(measured, bound), self.applies(evidence), self.remark(evidence)
        )

    def hypothesis_in_numbers(self) -> str:
        """Return the hypothesis with the numbers of this model, where it has some."""
        return self.hypothesis

    def claim(self) -> Claim:
        """Return it as a claim."""
        return Claim(self.statement, self.hypothesis_in_numbers(), self.check, self.about)


def at_most(measured: float, bound: float) -> Outcome:
    """Return the outcome of `measured <= bound`; NaN does not hold."""
    return Outcome(measured, bound, measured <= bound)


def singular_values_within(evidence: Evidence, low: float, high: float, tolerance: float = 0.0) -> Outcome:
    """Return whether all singular values of dh_T/dh_1 lie in [exp(low), exp(high)], in log10.

    Vacuous if the interval spans more than ten decades.

    Args:
        evidence: The measurements.
        low: Natural logarithm of the lower end.
        high: Natural logarithm of the upper end.
        tolerance: By how much rounding of the weights may move a logarithm.
    """
    smallest, largest = evidence.log_singular_values
    slack = tolerance + _ROUNDING
    return Outcome(
        (smallest / DECADE, largest / DECADE),
        (low / DECADE, high / DECADE),
        low - slack <= smallest and largest <= high + slack,
        vacuous=high - low > _VACUOUS_DECADES * DECADE,
    )


def largest_singular_value_at_most(evidence: Evidence, high: float, tolerance: float = 0.0) -> Outcome:
    """Return whether the singular values of dh_T/dh_1 are <= exp(high), in log10; vacuous beyond 10^10."""
    largest = evidence.log_singular_values[1]
    holds = largest <= high + tolerance + _ROUNDING
    return Outcome(largest / DECADE, high / DECADE, holds, vacuous=high > _VACUOUS_DECADES * DECADE)


def largest_singular_value_at_least(evidence: Evidence, low: float, tolerance: float = 0.0) -> Outcome:
    """Return whether the largest singular value of dh_T/dh_1 is >= exp(low), in log10; vacuous below 10^-10.

    Of each sample: it is the least of them that is compared.
    """
    least = evidence.log_jacobian_norms[0]
    holds = low - tolerance - _ROUNDING <= least
    return Outcome(least / DECADE, low / DECADE, holds, vacuous=low < -_VACUOUS_DECADES * DECADE)


def smallest_singular_value_at_least(evidence: Evidence, low: float, tolerance: float = 0.0) -> Outcome:
    """Return whether the singular values of dh_T/dh_1 are >= exp(low), in log10; vacuous below 10^-10."""
    smallest = evidence.log_singular_values[0]
    holds = low - tolerance - _ROUNDING <= smallest
    return Outcome(smallest / DECADE, low / DECADE, holds, vacuous=low < -_VACUOUS_DECADES * DECADE)


def gradient_norm_kept(evidence: Evidence, *, kink: bool, tolerance: float = 1e-10) -> Outcome:
    """Return whether ||dL/dh_t|| is the same for all t, by its largest relative change against the last one.

    Args:
        evidence: The measurements.
        kink: Whether the activation is abs, whose derivative is 0 at 0: the claim is then about no t before the last
            step that leaves a unit at exactly 0.
        tolerance: The largest relative change that counts as none.
    """
    norms = evidence.last_loss_log_norms
    samples, end = len(norms), norms.shape[1] - 1
    last = end - norms.isfinite().flip(1).int().argmax(1)  # where each sample's loss is read
    at_zero = (evidence.states[1 : end + 1, :samples] == 0).any(2) & kink  # h_t = abs(z) is 0 where z is
    later = at_zero.flip(0).cumsum(0).flip(0).bool()  # [t]: one of the steps t + 1 ... end
    before = last.new_tensor(range(end)) < last[:, None]
    changes = (norms[:, :end] - norms.gather(1, last[:, None])).expm1().abs()[before & ~later.T]
    remark = ""
    if later.any():
        remark = f"unmet before t = {int(later.sum(0).max())} in {int(later.any(0).sum())} of {samples} samples"
    change = changes.max().item() if changes.numel() else 0.0
    return replace(at_most(change, tolerance), applies=changes.numel() > 0, remark=remark)


def input_gradient_norm_is_the_states(evidence: Evidence, tolerance: float = 1e-10) -> Outcome:
    """Return whether ||dL/dx_t|| = ||dL/dh_{t-1}|| for all t, by the largest relative difference.

    Where both are 0 they are equal.
    """
    inputs = evidence.last_loss_log_input_norms
    states = evidence.last_loss_log_norms[:, : inputs.shape[1]]
    differences = (inputs - states).expm1().abs()[inputs != states]
    return at_most(differences.max().item() if differences.numel() else 0.0, tolerance)


def states_grow_at_most(evidence: Evidence, units: slice, inside: float, growth: float = 0.0) -> Outcome:
    """Return whether |h_t| - max(inside, |h_{t-1}|) is at most `growth` in every unit and step, by the largest.

    Args:
        evidence: The measurements.
        units: Which units of the state.
        inside: Within which |h_t| is free.
        growth: By how much it may be larger.
    """
    sizes = evidence.states[:, :, units].abs()
    largest = (sizes[1:] - sizes[:-1].clamp(min=inside)).max().item()
    return Outcome(largest, growth, largest <= growth + _ROUNDING * max(1.0, inside))


def stays_orthogonal(evidence: Evidence, W: Tensor) -> Outcome:
    """Return whether the spectral norm of W^T W - I is rounding, for W (n, n)."""
    W = W.detach()
    deviation = torch.linalg.matrix_norm(W.T @ W - torch.eye(len(W), dtype=W.dtype, device=W.device), 2).item()
    return at_most(deviation, max(1e-12, len(W) * evidence.weights_eps))
