"""The whole probe of one network: gradient flow, singular values of the Jacobian, and the verdicts on its claims."""

from dataclasses import asdict, dataclass
from typing import Any

import torch

from stablebench.data.batch import Batch
from stablebench.models.network import AnyNetwork
from stablebench.probes.evidence import Finding, Measurements, findings_of
from stablebench.probes.gradient_flow import GradientFlow, Loss
from stablebench.probes.jacobian import SingularValues


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
    measurements = Measurements(network, batch, loss, samples)
    with torch.no_grad():
        findings = findings_of(measurements)
    return ProbeResult(measurements.flow(which), measurements.jacobian, findings)
