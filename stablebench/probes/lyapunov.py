"""Lyapunov exponents: how fast nearby states part or come together, per step, in every direction.

The exponents are those of the chain as it is driven by its inputs, over the steps that it has: finite-time ones, from
the QR method. They are logarithms of the diagonal of R, not of singular values (`stablebench.probes.jacobian`).
"""

import math
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from stablebench.probes.jacobian import SingularValues

Dynamics = Literal["contracting", "marginal", "chaotic", "undecided"]
_LEAST_PART = 10
"""Steps that a part of the chain must have for its exponents to be compared with the other parts'."""


@dataclass(frozen=True)
class LyapunovSpectrum:
    """Finite-time Lyapunov exponents.

    Args:
        exponents: Natural logarithm per step, (samples, size), the largest first; -inf for directions that die.
        standard_error: Of the largest exponent's mean over samples and parts of the chain; None for a short chain.
        steps: One-step Jacobians that they are taken over.
        largest_by_part: The largest exponent of each part of the chain, from its end to its start, mean over samples.
    """

    exponents: Tensor
    standard_error: float | None
    steps: int
    largest_by_part: tuple[float, ...] = ()

    @property
    def largest(self) -> float:
        """The largest exponent, mean over the samples."""
        return self.exponents[:, 0].mean().item()

    @property
    def converged(self) -> bool:
        """Whether the parts of the chain agree on the largest exponent: two standard errors within 5 % of it.

        Or within a factor e over the whole chain, where it is about 0. Not so for a chain too short to be parted.
        """
        if self.standard_error is None or math.isnan(self.largest):
            return False
        return self.largest == -math.inf or 2 * self.standard_error <= max(0.05 * abs(self.largest), 1 / self.steps)

    @property
    def dynamics(self) -> Dynamics:
        """What the largest exponent says.

        Contracting or chaotic where it is off zero by more than two standard errors and by more than a factor e over
        the whole chain; undecided where its parts disagree by more than that; else marginal.
        """
        if self.standard_error is None:
            return "undecided"
        slack = max(2 * self.standard_error, 1 / self.steps)
        if abs(self.largest) > slack:
            return "chaotic" if self.largest > 0 else "contracting"
        return "marginal" if 2 * self.standard_error <= 10 / self.steps else "undecided"

    @property
    def kaplan_yorke_dimension(self) -> float | None:
        """The attractor's dimension by Kaplan and Yorke's formula; None unless chaotic and dissipative."""
        if self.dynamics != "chaotic":
            return None
        values = self.exponents.mean(0)
        sums = values.cumsum(0)
        below = torch.nonzero(sums < 0)
        if not len(below):
            return None
        j = int(below[0])  # the first j exponents sum to >= 0
        if values[j].isneginf():
            return float(j)
        return j + (sums[j - 1] / values[j].abs()).item()

    @property
    def metric_entropy(self) -> float:
        """The sum of the positive exponents, nats per step: Pesin's value, for all that is known of the attractor.

        Finite-time exponents: of a network that is not chaotic it is rounding or transient growth.
        """
        return self.exponents.mean(0).clamp(min=0).sum().item()

    def document(self) -> dict[str, Any]:
        """Return a JSON-serialisable dict; directions that die have no exponent."""
        means = self.exponents.mean(0).tolist()
        return {
            "exponents": [v if math.isfinite(v) else None for v in means],
            "largest": self.largest if math.isfinite(self.largest) else None,
            "standard_error": self.standard_error,
            "steps": self.steps,
            "largest_by_part": [v if math.isfinite(v) else None for v in self.largest_by_part],
            "converged": self.converged,
            "dynamics": self.dynamics,
            "kaplan_yorke_dimension": self.kaplan_yorke_dimension,
            "metric_entropy": self.metric_entropy,
        }


def lyapunov_spectrum(jacobian: SingularValues) -> LyapunovSpectrum:
    """Return the Lyapunov exponents of a chain whose Jacobian product has been orthogonalised.

    Args:
        jacobian: What `jacobian_singular_values` returned.
    """
    steps = max(jacobian.steps, 1)
    exponents = (jacobian.growth.sum(0) / steps).sort(dim=1, descending=True).values
    error, parts = None, ()
    if min(jacobian.part_steps) >= _LEAST_PART:
        by_part = jacobian.growth / torch.tensor(jacobian.part_steps)[:, None, None]
        parts = tuple(by_part.amax(2).mean(1).tolist())
        largest = by_part.amax(2).flatten()
        if largest.isfinite().all():
            error = (largest.std() / math.sqrt(largest.numel())).item()
        else:
            error = 0.0
    return LyapunovSpectrum(exponents, error, steps, parts)
