"""What a probe measures of one network, each part when it is first needed, and the verdicts on claims against it."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from stablebench.data.batch import Batch
from stablebench.data.task import first
from stablebench.models.claims.claim import Value, Verdict
from stablebench.models.network import AnyNetwork, Network
from stablebench.probes.chain import chain_of, frozen
from stablebench.probes.fisher_memory import delay_line_bound, fisher_memory
from stablebench.probes.gradient_flow import GradientFlow, Loss, LossOf, gradient_flow, last_loss
from stablebench.probes.jacobian import SingularValues, jacobian_singular_values
from stablebench.probes.state_chain import StateChain


@dataclass(frozen=True)
class ClaimVerdict:
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


class ChainMeasurements:
    """What the probe measures; the evidence that claims are checked against. See `claims.claim.Evidence`.

    Args:
        network: The network.
        batch: The samples.
        loss: The task's loss.
        samples: How many of them the Jacobian is computed for.
        moved: Called with (step, steps) as a sweep goes back along the chain.
    """

    def __init__(
        self,
        network: AnyNetwork,
        batch: Batch,
        loss: LossOf,
        samples: int,
        moved: Callable[[int, int], None] | None = None,
    ) -> None:
        self.weights_eps = torch.finfo(network.dtype).eps
        self.network = frozen(network)
        self._batch, self._loss = batch, loss
        self._chain = chain_of(self.network, batch.inputs)
        self._few = chain_of(self.network, first(batch, samples).inputs)
        self._chain.moved = self._few.moved = moved
        self.states = self._chain.states()
        self._flows: dict[Loss, GradientFlow] = {}

    @property
    def chain(self) -> StateChain:
        """The chain on all samples."""
        return self._chain

    @property
    def steps(self) -> int:
        """One-step Jacobians in dh_T/dh_1."""
        return self._chain.steps - 1

    def flow(self, which: Loss) -> GradientFlow:
        """Return the gradient norms of a loss, computed once."""
        if which not in self._flows:
            self._flows[which] = gradient_flow(
                self.network, self._chain, self.states, self._batch, loss=self._loss, which=which
            )
        return self._flows[which]

    @property
    def last_loss_log_norms(self) -> Tensor:
        """Norms of the gradient of the loss at the last scored step, (samples, E + 1)."""
        return self.flow("last").log_norms

    @property
    def inputs(self) -> Tensor:
        """The encoded inputs of the first layer, (samples, T, in); of a deep network (samples, in)."""
        if isinstance(self.network, Network):
            return self.network.encode(self._batch.inputs)
        return self._batch.inputs.to(self.network.dtype)

    @property
    def last_loss_log_input_norms(self) -> Tensor:
        """Norms of the gradient of the loss at the last scored step in the inputs x_1 ... x_E, (samples, E)."""
        x = self.inputs.detach().requires_grad_()
        with torch.enable_grad():
            outputs = x
            for layer in self.network.models:
                outputs = layer(outputs)[0]
            scores = self.network.head(outputs if self.network.readout == "every" else outputs[:, -1])
            total = last_loss(self.network, scores, self._batch, self._loss)
            (gradient,) = torch.autograd.grad(total, x)
        return torch.linalg.vector_norm(gradient, dim=2).log()[:, : self.last_loss_log_norms.shape[1] - 1]

    @cached_property
    def jacobian(self) -> SingularValues:
        """Singular values of dh_T/dh_t for the first few samples."""
        return jacobian_singular_values(self._few, self.states[:, : self._few.batch])

    @property
    def log_singular_values(self) -> tuple[float, float]:
        """Ends of the singular values of dh_T/dh_1."""
        return self.jacobian.log_smallest.min().item(), self.jacobian.log_largest.max().item()

    @property
    def log_jacobian_norms(self) -> tuple[float, float]:
        """Ends of the norms of dh_T/dh_1."""
        return self.jacobian.log_largest.min().item(), self.jacobian.log_largest.max().item()

    def fisher_memory_share(self, theta: Tensor) -> float:
        """Return the least J(k) / (its bound of proposition 1 of the nnRNN paper), k < n, of theta (n, n)."""
        curve = fisher_memory(theta, torch.eye(len(theta), dtype=torch.float64)[0], len(theta) - 1).curve
        return (curve / delay_line_bound(theta, len(theta) - 1)).min().item()


def check_claims(evidence: ChainMeasurements) -> list[ClaimVerdict]:
    """Return the verdicts on the claims of the network's layers, in their order."""
    layers = evidence.network.models
    blocked = isinstance(evidence.network, Network) and len(evidence.network.blocks) > 0
    verdicts = []
    for i, layer in enumerate(layers):
        for claim in layer.claims():
            if claim.about == "chain" and i:
                continue  # the chain is one, whatever the number of its layers
            outcome = claim.check(evidence)
            applies, hypothesis, statement = outcome.applies, claim.hypothesis, claim.claim
            if claim.about == "chain":
                applies &= len(layers) == 1 and not blocked
                hypothesis += "" if len(layers) == 1 else f"; one layer (here {len(layers)})"
                hypothesis += "; no block around it" if blocked else ""
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
            verdicts.append(ClaimVerdict(statement, verdict, outcome.measured, outcome.bound, hypothesis))
    return verdicts
