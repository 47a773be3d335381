r"""Which time lags the gradient of the parameters comes from.

The gradient of the parameters is a sum over the steps that use them,

    dL/dtheta = sum_t C_t,    C_t = (ds_t/dtheta)^T dL/ds_t    with s_{t-1} held fixed

and the share of lag k = E - t is ||C_t|| / sum_u ||C_u||, E being the last step that L reads: for each sample, with its
own loss. Norms, because contributions of different steps may cancel in the sum; so shares say where learning signals
come from, not what survives of them. theta are the trained parameters of all recurrent layers in the form in which a
step uses them: a recurrent matrix that is built from angles or by an exponential counts as the matrix, what is fixed
does not count, nor does the readout. Over layers, theta is what layer t has of its own and shares with others.
"""

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from stablebench.data.batch import Batch
from stablebench.models.network import AnyNetwork
from stablebench.probes.gradient_flow import Adjoint, Loss, LossOf, adjoints, quantiles
from stablebench.probes.state_chain import StateChain, Traced, batched_vjp


@dataclass(frozen=True)
class LagShare:
    """How much of the parameters' gradient comes from each lag.

    Args:
        loss: Which loss.
        log_norms: Natural logarithms of ||C_t|| for the lags k = E - t = 0 ... E - 1, (samples, E); -inf for 0.
    """

    loss: Loss
    log_norms: Tensor

    @property
    def shares(self) -> Tensor:
        """The shares, (samples, E); each row sums to 1, and is NaN where every contribution is 0."""
        return torch.softmax(self.log_norms, dim=1)

    def within(self, fraction: float) -> int | None:
        """Return the least lag k such that the lags 0 ... k hold a fraction of the whole, the samples' median share.

        None where no sample has a gradient.
        """
        shares = self.shares[~self.shares.isnan().any(1)]
        if not len(shares):
            return None
        reached = shares.cumsum(1) >= fraction * (1 - 1e-12)
        return int(reached.int().argmax(1).median())

    def quantiles(self) -> dict[str, list[float | None]]:
        """Return median, 5 and 95 % of the shares over the samples, for every lag; None where there is no gradient."""
        return quantiles(self.shares)

    def document(self) -> dict[str, Any]:
        """Return a JSON-serialisable dict."""
        return {
            "loss": self.loss,
            "samples": len(self.log_norms),
            "lag": list(range(self.log_norms.shape[1])),
            "share": self.quantiles(),
            "half_within_lag": self.within(0.5),
            "95_percent_within_lag": self.within(0.95),
        }


def lag_share(
    network: AnyNetwork, chain: StateChain, states: Tensor, batch: Batch, *, loss: LossOf, which: Loss
) -> LagShare | None:
    """Return the contributions of every step to the gradient of the parameters; None where nothing is trained.

    Args:
        network: The chain's network.
        chain: The chain on the batch's inputs.
        states: `chain.states()`.
        batch: The samples.
        loss: The task's loss, of `stablebench.data.metrics`.
        which: `task`: the task's own loss; `last`: that of the last scored step only.
    """
    log_norms, trained = [], False
    for adjoint in adjoints(network, chain, states, batch, loss=loss, which=which):
        if adjoint.t:
            traced = chain.trace(adjoint.t, states[adjoint.t - 1])
            trained |= bool(traced.used)
            log_norms.append(_log_norms(traced, adjoint))
    return LagShare(which, torch.stack(log_norms, dim=1)) if trained and log_norms else None


def _log_norms(traced: Traced, adjoint: Adjoint) -> Tensor:
    """Return ln ||C_t|| of each sample, (batch)."""
    squares = adjoint.g.new_zeros(len(adjoint.g))
    if traced.used and traced.after.requires_grad:
        for gradient in by_sample(traced, adjoint.g):
            if gradient is not None:
                squares = squares + gradient.flatten(1).square().sum(1)
    return squares.log() / 2 + adjoint.scale * math.log(2)


def by_sample(traced: Traced, g: Tensor) -> tuple[Tensor | None, ...]:
    """Return the products of each sample's own cotangent with the derivative in the parameters, (batch, ...) each."""
    each = torch.diag_embed(g.T).permute(1, 2, 0)  # (batch, batch, size): of one sample each
    try:
        return batched_vjp(traced.after, traced.used, each)
    except RuntimeError:  # some derivative cannot be taken for many cotangents at once
        rows = [
            torch.autograd.grad(traced.after, traced.used, row, allow_unused=True, retain_graph=True) for row in each
        ]
        return tuple(
            None if parts[0] is None else torch.stack([part for part in parts if part is not None])
            for parts in zip(*rows, strict=True)
        )
