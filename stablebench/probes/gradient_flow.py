r"""Gradient flow: the norm of dL/ds_t along a chain, for t = 0 ... T.

A backward sweep, one vector-Jacobian product a step:

    g_t = (ds_{t+1}/ds_t)^T g_{t+1} + dl_t/ds_t        L = sum_t l_t

L is the loss of one sample, averaged over what the loss counts in it, so norms do not depend on the batch's size. Each
g_t is kept as a vector of about unit size times a power of two, so norms far outside float64 are found as exactly as
others, and a gradient of exactly 0 is one that really is.
"""

import math
from dataclasses import dataclass
from typing import Any, Literal

import numpy
import torch
from scipy import stats
from torch import Tensor

from stablebench.data.batch import Batch
from stablebench.data.task import take
from stablebench.errors import StablebenchError
from stablebench.metrics import LOSS_SUMS
from stablebench.models.network import AnyNetwork
from stablebench.probes.chain import StateChain
from stablebench.probes.powers import exponent, power_of_two

Loss = Literal["last", "task"]
_DECADE = math.log(10)


@dataclass(frozen=True)
class Estimate:
    """A mean over samples.

    Args:
        mean: The mean; None where no sample has a value.
        standard_error: Of the mean, from the spread over samples; None for fewer than two.
        interval_95: Student's interval for the mean; None for fewer than two.
        samples: How many had a value.
    """

    mean: float | None
    standard_error: float | None
    interval_95: tuple[float, float] | None
    samples: int


@dataclass(frozen=True)
class GradientFlow:
    """Gradient norms of one loss.

    Args:
        loss: Which loss.
        log_norms: Natural logarithms of ||dL/ds_t||, (samples, E + 1), where E is the last step that L reads; -inf for
            a norm of exactly 0.
    """

    loss: Loss
    log_norms: Tensor

    def quantiles(self) -> dict[str, list[float | None]]:
        """Return median, 5 and 95 % of log10 of the norm over the samples, for every t; None for a norm of 0."""
        logs = self.log_norms.numpy() / _DECADE
        with numpy.errstate(invalid="ignore"):  # between two zeros
            rows = numpy.quantile(logs, (0.5, 0.05, 0.95), axis=0)
        lists = [[float(v) if math.isfinite(v) else None for v in row] for row in rows]
        return dict(zip(("median", "p5", "p95"), lists, strict=True))

    def zeros(self) -> list[int]:
        """Return for every t how many samples have a gradient of exactly 0."""
        return self.log_norms.isinf().sum(0).tolist()

    def growth_rate(self) -> Estimate:
        """Return d ln||dL/ds_t|| per step back in time: below 0 the gradient vanishes, above 0 it explodes.

        Each sample's least-squares slope over all t with a norm other than 0, then their mean. Norms of one sample are
        correlated along t, so the interval comes from the samples' spread.
        """
        slopes = []
        for logs in self.log_norms.numpy():
            t = numpy.flatnonzero(numpy.isfinite(logs))
            if len(t) >= 2:
                centred = t - t.mean()
                slopes.append(-float(centred @ (logs[t] - logs[t].mean()) / (centred @ centred)))
        return _estimate(slopes)

    def log10_first_over_last(self) -> float | None:
        """Return the median over samples of log10(||dL/ds_0|| / ||dL/ds_E||); None where a norm is 0."""
        ratio = float(numpy.median((self.log_norms[:, 0] - self.log_norms[:, -1]).numpy())) / _DECADE
        return ratio if math.isfinite(ratio) else None

    def document(self) -> dict[str, Any]:
        """Return it as plain data; logarithms are to base 10."""
        rate = self.growth_rate()
        return {
            "loss": self.loss,
            "samples": len(self.log_norms),
            "t": list(range(self.log_norms.shape[1])),
            "log10_norm": self.quantiles(),
            "zeros": self.zeros(),
            "growth_rate": {
                "per_step_back": rate.mean,
                "standard_error": rate.standard_error,
                "interval_95": rate.interval_95,
                "samples": rate.samples,
            },
            "log10_first_over_last": self.log10_first_over_last(),
        }


def _estimate(values: list[float]) -> Estimate:
    n = len(values)
    if n < 2:
        return Estimate(values[0] if values else None, None, None, n)
    mean, error = float(numpy.mean(values)), float(numpy.std(values, ddof=1) / math.sqrt(n))
    half = float(stats.t.ppf(0.975, n - 1)) * error
    return Estimate(mean, error, (mean - half, mean + half), n)


def gradient_flow(
    network: AnyNetwork, chain: StateChain, states: Tensor, batch: Batch, *, loss: str, which: Loss
) -> GradientFlow:
    """Return the gradient norms of a network's chain.

    Args:
        network: The chain's network.
        chain: The chain on the batch's inputs.
        states: `chain.states()`.
        batch: The samples.
        loss: The task's loss, of `stablebench.metrics`.
        which: `task`: the task's own loss; `last`: that of the last scored step alone.
    """
    sources = _sources(network, chain, states, batch, loss, which)
    end = max((t for t, source in sources.items() if source.any()), default=chain.steps)
    logs = states.new_empty(end + 1, chain.batch)
    g, scale = states.new_zeros(chain.batch, chain.size), torch.zeros(chain.batch, dtype=torch.long)
    for t in range(end, -1, -1):
        if t < end:
            g = chain.pull(t + 1, states[t], g[None])[0]
        if not g.isfinite().all():
            raise StablebenchError(f"The derivative of step {t + 1} is not finite.")
        g, scale = _normalised(g, scale)
        if t in sources:
            g, scale = _added(g, scale, *_normalised(sources[t], torch.zeros_like(scale)))
        logs[t] = torch.linalg.vector_norm(g, dim=1).log() + scale * math.log(2)
    return GradientFlow(which, logs.T.contiguous())


def _normalised(g: Tensor, scale: Tensor) -> tuple[Tensor, Tensor]:
    """Return g 2^scale with the largest entry of each row in [1/2, 1), and scale 0 where it is 0."""
    k = exponent(g.abs().amax(1))
    zero = ~g.any(1)
    return g * power_of_two(-k)[:, None], torch.where(zero, torch.zeros_like(scale), scale + k)


def _added(g: Tensor, g_scale: Tensor, h: Tensor, h_scale: Tensor) -> tuple[Tensor, Tensor]:
    """Return the sum of g 2^g_scale and h 2^h_scale, normalised."""
    lowest = torch.iinfo(torch.long).min // 2
    g_own = torch.where(g.any(1), g_scale, lowest)
    h_own = torch.where(h.any(1), h_scale, lowest)
    common = torch.maximum(g_own, h_own)
    total = g * power_of_two(g_own - common)[:, None] + h * power_of_two(h_own - common)[:, None]
    return _normalised(total, common)


def _sources(
    network: AnyNetwork, chain: StateChain, states: Tensor, batch: Batch, loss: str, which: Loss
) -> dict[int, Tensor]:
    """Return the derivative of each sample's loss in s_t through the readout at t alone, (batch, size) by t.

    Args:
        network: The network, for its readout.
        chain: The chain.
        states: s_0 ... s_T, (T + 1, batch, size).
        batch: The samples.
        loss: The task's loss.
        which: Which loss.
    """
    every = network.readout == "every"
    first = 1 if every else chain.steps
    read = states[first:].detach().requires_grad_()
    with torch.enable_grad():
        outputs = network.head(chain.outputs(read, first))
        scores = outputs.transpose(0, 1) if every else outputs[0]
        total = sum_of_losses(scores, _last_scored(batch) if every and which == "last" else batch, loss)
    if not total.requires_grad:
        return {}
    (gradient,) = torch.autograd.grad(total, read)
    by_step = dict(enumerate(gradient.unbind(0), start=first))
    return {t: source for t, source in by_step.items() if source.any() or not every}


def last_loss(network: AnyNetwork, scores: Tensor, batch: Batch, loss: str) -> Tensor:
    """Return the sum over samples of the loss at the last scored step.

    Args:
        network: Says which steps are read.
        scores: What its readout gives, (batch, outputs) or (batch, time, outputs).
        batch: The samples.
        loss: The task's loss, of `stablebench.metrics`.
    """
    return sum_of_losses(scores, _last_scored(batch) if network.readout == "every" else batch, loss)


def sum_of_losses(scores: Tensor, batch: Batch, loss: str) -> Tensor:
    """Return the sum over samples of each sample's loss, averaged over what counts in it."""
    total = scores.new_zeros(())
    for i in range(len(scores)):
        sample_loss, count = LOSS_SUMS[loss](scores[i : i + 1], take(batch, torch.tensor([i])))
        if count:
            total = total + sample_loss / count
    return total


def _last_scored(batch: Batch) -> Batch:
    """Return the batch with each sample's last step that the metric, or else the loss, counts as its mask."""
    counted = batch.scored if batch.scored is not None else batch.mask
    if counted is None:
        counted = torch.ones(batch.targets.shape[:2], dtype=torch.bool)
    later = counted.flip(1).cumsum(1).flip(1)
    return batch._replace(mask=counted & (later == 1))
