"""The whole probe of one network: gradient flow, singular values of the Jacobian, and the verdicts on its claims."""

from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from stablebench.data.batch import Batch
from stablebench.data.task import first
from stablebench.models.claims import Value, Verdict
from stablebench.models.network import AnyNetwork
from stablebench.probes.chain import chain_of, frozen
from stablebench.probes.gradient_flow import GradientFlow, Loss, gradient_flow
from stablebench.probes.jacobian import SingularValues, jacobian_singular_values


@dataclass(frozen=True)
class Finding:
    """A verdict on a claim.

    Args:
        claim: The statement.
        verdict: `holds`, `violated`, `not applicable` (hypothesis not met) or `vacuous` (it holds and says nothing).
        measured: What was measured, also where the claim is not applicable.
        bound: What it must not exceed, or the interval that it must lie in.
        hypothesis: What the claim presupposes.
    """

    claim: str
    verdict: Verdict
    measured: Value
    bound: Value
    hypothesis: str


@dataclass(frozen=True)
class ProbeResult:
    """What a probe found.

    Args:
        flow: Gradient norms.
        jacobian: Singular values.
        claims: Verdicts, in the model's order.
    """

    flow: GradientFlow
    jacobian: SingularValues
    claims: list[Finding]

    def document(self) -> dict[str, Any]:
        """Return it as plain data: `measures` and `claims`."""
        return {
            "measures": {"gradient_flow": self.flow.document(), "jacobian": self.jacobian.document()},
            "claims": [asdict(finding) for finding in self.claims],
        }


def probe(network: AnyNetwork, batch: Batch, *, loss: str, which: Loss = "task", samples: int = 4) -> ProbeResult:
    """Probe a network in float64; the network is left as it is.

    Args:
        network: The network.
        batch: The samples of the gradient flow.
        loss: The task's loss, of `stablebench.metrics`.
        which: `task`: gradients of the task's own loss; `last`: of the loss at the last scored step alone.
        samples: How many of them the Jacobian is computed for.

    Raises:
        StablebenchError: A state or a derivative is not finite.
    """
    measurements = _Measurements(network, batch, loss, samples)
    with torch.no_grad():
        findings = _findings(measurements)
    return ProbeResult(measurements.flow(which), measurements.jacobian, findings)


class _Measurements:
    """What the probe measures; the evidence that claims are checked against. See `stablebench.models.claims.Evidence`.

    Args:
        network: The network.
        batch: The samples.
        loss: The task's loss.
        samples: How many of them the Jacobian is computed for.
    """

    def __init__(self, network: AnyNetwork, batch: Batch, loss: str, samples: int) -> None:
        self.weights_eps = torch.finfo(network.dtype).eps
        self.network = frozen(network)
        self._batch, self._loss = batch, loss
        self._chain = chain_of(self.network, batch.inputs)
        self._few = chain_of(self.network, first(batch, samples).inputs)
        self.states = self._chain.states()
        self._flows: dict[Loss, GradientFlow] = {}

    @property
    def steps(self) -> int:
        return self._chain.steps - 1

    def flow(self, which: Loss) -> GradientFlow:
        if which not in self._flows:
            self._flows[which] = gradient_flow(
                self.network, self._chain, self.states, self._batch, loss=self._loss, which=which
            )
        return self._flows[which]

    @property
    def last_loss_log_norms(self) -> Tensor:
        return self.flow("last").log_norms

    @cached_property
    def jacobian(self) -> SingularValues:
        return jacobian_singular_values(self._few, self.states[:, : self._few.batch])

    @property
    def log_singular_values(self) -> tuple[float, float]:
        return self.jacobian.log_smallest.min().item(), self.jacobian.log_largest.max().item()

    @property
    def log_jacobian_norms(self) -> tuple[float, float]:
        return self.jacobian.log_largest.min().item(), self.jacobian.log_largest.max().item()


def _findings(evidence: _Measurements) -> list[Finding]:
    layers = evidence.network.models
    found = []
    for i, layer in enumerate(layers):
        for claim in layer.claims():
            if claim.about == "chain" and i:
                continue  # the chain is one, whatever the number of its layers
            outcome = claim.check(evidence)
            applies, hypothesis, statement = outcome.applies, claim.hypothesis, claim.claim
            if claim.about == "chain":
                applies &= len(layers) == 1
                hypothesis += "" if len(layers) == 1 else f"; one layer (here {len(layers)})"
            elif len(layers) > 1:
                statement = f"layer {i + 1}: {statement}"
            if outcome.remark:
                hypothesis += f" ({outcome.remark})"
            verdict: Verdict = "holds"
            if not applies:
                verdict = "not applicable"
            elif not outcome.holds:
                verdict = "violated"
            elif outcome.vacuous:
                verdict = "vacuous"
            found.append(Finding(statement, verdict, outcome.measured, outcome.bound, hypothesis))
    return found
