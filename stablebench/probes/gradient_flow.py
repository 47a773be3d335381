r"""Gradient flow: the norms of dL/ds_t, t = 0 ... T, and of dL/dx_t, t = 1 ... T, along a chain.

A backward sweep, one vector-Jacobian product a step:

    g_t = (ds_{t+1}/ds_t)^T g_{t+1} + dl_t/ds_t        L = sum_t l_t
    dL/dx_t = (ds_t/dx_t)^T g_t + dl_t/dx_t            x_t encoded: a token's vector

L is the loss of one sample, averaged over what the loss counts in it, so norms do not depend on the batch's size. Each
g_t is kept as a vector of about unit size times a power of two, so norms far outside float64 are computed as exactly as
others, and a gradient of exactly 0 is one that really is.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy
import torch
from torch import Tensor

from stablebench.data.batch import Batch
from stablebench.data.metrics import LOSS_SUMS
from stablebench.data.task import take
from stablebench.errors import StablebenchError
from stablebench.models.claims.claim import DECADE
from stablebench.models.network import AnyNetwork
from stablebench.probes.powers import exponent, power_of_two
from stablebench.probes.state_chain import StateChain

Loss = Literal["last", "task"]
LossOf = str | Callable[[Tensor, Batch], tuple[Tensor, int]]
"""A task's loss, of `stablebench.data.metrics`; or a function like those there, of outputs and a batch."""


@dataclass(frozen=True)
class MeanEstimate:
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

    def document(self) -> dict[str, Any]:
        """Return a JSON-serialisable dict: a rate per step back in time."""
        return {
            "per_step_back": self.mean,
            "standard_error": self.standard_error,
            "interval_95": self.interval_95,
            "samples": self.samples,
        }


@dataclass(frozen=True)
class GradientFlow:
    """Gradient norms of one loss.

    Args:
        loss: Which loss.
        log_norms: Natural logarithms of ||dL/ds_t||, (samples, E + 1), where E is the last step that L reads; -inf for
            a norm of exactly 0. With `of_inputs` those of ||dL/dx_t||, t = 1 ... E, (samples, E).
        log_input_norms: Those of ||dL/dx_t||, t = 1 ... E, (samples, E); None where the input is s_0 itself.
        of_inputs: Whether the network has no states, and `log_norms` are of its inputs.
    """

    loss: Loss
    log_norms: Tensor
    log_input_norms: Tensor | None = None
    of_inputs: bool = False

    @property
    def first(self) -> int:
        """The step t of the first of the norms."""
        return int(self.of_inputs)

    @property
    def symbol(self) -> str:
        """The norm at step t, in words: of the states, or of the inputs where there are none."""
        return f"||dL/d{'x' if self.of_inputs else 'h'}_t||"

    def quantiles(self) -> dict[str, list[float | None]]:
        """Return median, 5 and 95 % of log10 of the norm over the samples, for every t; None for a norm of 0."""
        return quantiles(self.log_norms / DECADE)

    def input_quantiles(self) -> dict[str, list[float | None]] | None:
        """Return the same of ||dL/dx_t||, t = 1 ... E."""
        return None if self.log_input_norms is None else quantiles(self.log_input_norms / DECADE)

    def zeros(self) -> list[int]:
        """Return for every t how many samples have a gradient of exactly 0."""
        return _zeros(self.log_norms)

    def growth_rate(self) -> MeanEstimate:
        """Return d ln||dL/ds_t|| per step back in time: below 0 the gradient vanishes, above 0 it explodes.

        Each sample's least-squares slope over all t with a norm other than 0, then their mean. Norms of one sample are
        correlated along t, so the interval comes from the samples' spread.
        """
        return _growth_rate(self.log_norms)

    def input_growth_rate(self) -> MeanEstimate | None:
        """Return that of ||dL/dx_t||."""
        return None if self.log_input_norms is None else _growth_rate(self.log_input_norms)

    def log10_first_over_last(self) -> float | None:
        """Return the median over samples of log10(||dL/ds_0|| / ||dL/ds_E||); None where a norm is 0."""
        ratio = float(numpy.median((self.log_norms[:, 0] - self.log_norms[:, -1]).numpy())) / DECADE
        return ratio if math.isfinite(ratio) else None

    def document(self) -> dict[str, Any]:
        """Return a JSON-serialisable dict; logarithms are to base 10."""
        return {
            "loss": self.loss,
            "samples": len(self.log_norms),
            "of": "inputs" if self.of_inputs else "states",
            **_document(self.first, self.log_norms),
            "log10_first_over_last": self.log10_first_over_last(),
            "input": None if self.log_input_norms is None else _document(1, self.log_input_norms),
        }


def _document(first: int, log_norms: Tensor) -> dict[str, Any]:
    """Return what norms at the steps t = first ... are, as a JSON-serialisable dict."""
    return {
        "t": list(range(first, first + log_norms.shape[1])),
        "log10_norm": quantiles(log_norms / DECADE),
        "zeros": _zeros(log_norms),
        "growth_rate": _growth_rate(log_norms).document(),
    }


def _zeros(log_norms: Tensor) -> list[int]:
    return log_norms.isinf().sum(0).tolist()


def quantiles(values: Tensor) -> dict[str, list[float | None]]:
    """Return median, 5 and 95 % over the samples, (samples, n); None for what is not finite."""
    with numpy.errstate(invalid="ignore"):  # between two infinities
        rows = numpy.quantile(values.numpy(), (0.5, 0.05, 0.95), axis=0)
    lists = [[float(v) if math.isfinite(v) else None for v in row] for row in rows]
    return dict(zip(("median", "p5", "p95"), lists, strict=True))


def _growth_rate(log_norms: Tensor) -> MeanEstimate:
    slopes = []
    for logs in log_norms.numpy():
        t = numpy.flatnonzero(numpy.isfinite(logs))
        if len(t) >= 2:
            centred = t - t.mean()
            slopes.append(-float(centred @ (logs[t] - logs[t].mean()) / (centred @ centred)))
    return _mean_estimate(slopes)


def _mean_estimate(values: list[float]) -> MeanEstimate:
    n = len(values)
    if n < 2:
        return MeanEstimate(values[0] if values else None, None, None, n)
    mean, error = float(numpy.mean(values)), float(numpy.std(values, ddof=1) / math.sqrt(n))
    from scipy.special import stdtrit  # takes a fifth of a second, which a run without probes saves

    half = float(stdtrit(n - 1, 0.975)) * error
    return MeanEstimate(mean, error, (mean - half, mean + half), n)


def gradient_flow(
    network: AnyNetwork, chain: StateChain, states: Tensor, batch: Batch, *, loss: LossOf, which: Loss
) -> GradientFlow:
    """Return the gradient norms of a network's chain.

    Args:
        network: The chain's network.
        chain: The chain on the batch's inputs.
        states: `chain.states()`.
        batch: The samples.
        loss: The task's loss, of `stablebench.data.metrics`.
        which: `task`: the task's own loss; `last`: that of the last scored step only.
    """
    derivatives = list(adjoints(network, chain, states, batch, loss=loss, which=which))
    logs = torch.stack([adjoint.log_norms() for adjoint in reversed(derivatives)], dim=1)
    if chain.inputs is None:
        return GradientFlow(which, logs)
    return GradientFlow(which, logs, _log_input_norms(chain, states, derivatives))


class Adjoint(NamedTuple):
    """The derivative of each sample's loss in s_t.

    Args:
        t: 0 ... E.
        g: It divided by 2^scale, (batch, size), its largest entry in [1/2, 1); 0 where it is 0.
        scale: Integers (batch).
        direct: What the loss at t has of x_t past s_t, (batch, in); None where it has nothing.
    """

    t: int
    g: Tensor
    scale: Tensor
    direct: Tensor | None

    def log_norms(self) -> Tensor:
        """Return the natural logarithms of the norms, (batch); -inf for 0."""
        return torch.linalg.vector_norm(self.g, dim=1).log() + self.scale * math.log(2)


def adjoints(
    network: AnyNetwork, chain: StateChain, states: Tensor, batch: Batch, *, loss: LossOf, which: Loss
) -> Iterator[Adjoint]:
    """Yield dL/ds_t for t = E ... 0, where E is the last step that L reads; arguments as `gradient_flow`."""
    sources = _sources(network, chain, states, batch, loss, which)
    end = max((t for t, (source, _) in sources.items() if source.any()), default=chain.steps)
    g, scale = states.new_zeros(chain.batch, chain.size), torch.zeros(chain.batch, dtype=torch.long)
    for t in range(end, -1, -1):
        if t < end:
            g = chain.vjp(t + 1, states[t], g[None])[0]
        if not g.isfinite().all():
            raise StablebenchError(f"The derivative of step {t + 1} is not finite.")
        g, scale = _normalised(g, scale)
        source, direct = sources.get(t, (None, None))
        if source is not None:
            g, scale = _added(g, scale, *_normalised(source, torch.zeros_like(scale)))
        yield Adjoint(t, g, scale, direct)


def _log_input_norms(chain: StateChain, states: Tensor, derivatives: Sequence[Adjoint]) -> Tensor:
    """Return ln ||dL/dx_t||, t = 1 ... E, (batch, E), of the derivatives in s_E ... s_0."""
    steps = derivatives[-2::-1]  # s_1 ... s_E
    if not steps:
        return states.new_zeros(chain.batch, 0)
    logs = []
    for adjoint, g in zip(steps, chain.input_vjp(states[: len(steps)], torch.stack([a.g for a in steps])), strict=True):
        g, scale = _normalised(g, adjoint.scale)
        if adjoint.direct is not None:
            g, scale = _added(g, scale, *_normalised(adjoint.direct, torch.zeros_like(scale)))
        logs.append(torch.linalg.vector_norm(g, dim=1).log() + scale * math.log(2))
    return torch.stack(logs, dim=1)


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
    network: AnyNetwork, chain: StateChain, states: Tensor, batch: Batch, loss: LossOf, which: Loss
) -> dict[int, tuple[Tensor, Tensor | None]]:
    """Return the derivative of each sample's loss in s_t, and in x_t, through the readout at t only, by t.

    Args:
        network: The network, for its readout.
        chain: The chain.
        states: s_0 ... s_T, (T + 1, batch, size).
        batch: The samples.
        loss: The task's loss.
        which: Which loss.
    """
    every, ends = network.readout == "every", batch.lengths
    first = 1 if every or ends is not None else chain.steps
    read = states[first:].detach().requires_grad_()
    x = None if chain.inputs is None else chain.inputs[first - 1 :].detach().requires_grad_()
    with torch.enable_grad():
        outputs = chain.outputs(read, first, x)
        if every:
            scores = network.head(outputs).transpose(0, 1)
        else:
            scores = network.head(outputs[0] if ends is None else outputs[ends - 1, torch.arange(chain.batch)])
        total = sum_of_losses(scores, _last_scored(batch) if every and which == "last" else batch, loss)
    if not total.requires_grad:
        return {}
    leaves = [read] if x is None else [read, x]
    gradient, direct = (*torch.autograd.grad(total, leaves, allow_unused=True), None)[:2]
    if gradient is None:
        return {}
    by_step = {
        first + i: (source, None if direct is None or not direct[i].any() else direct[i])
        for i, source in enumerate(gradient.unbind(0))
    }
    only_one = len(by_step) == 1
    return {t: (source, past) for t, (source, past) in by_step.items() if only_one or source.any() or past is not None}


def last_loss(network: AnyNetwork, scores: Tensor, batch: Batch, loss: LossOf) -> Tensor:
    """Return the sum over samples of the loss at the last scored step.

    Args:
        network: Says which steps are read.
        scores: What its readout gives, (batch, outputs) or (batch, time, outputs).
        batch: The samples.
        loss: The task's loss, of `stablebench.data.metrics`.
    """
    return sum_of_losses(scores, _last_scored(batch) if network.readout == "every" else batch, loss)


def summed(loss: LossOf) -> Callable[[Tensor, Batch], tuple[Tensor, int]]:
    """Return the function of outputs and a batch that gives the sum of a loss and how much counts in it."""
    return LOSS_SUMS[loss] if isinstance(loss, str) else loss


def sum_of_losses(scores: Tensor, batch: Batch, loss: LossOf) -> Tensor:
    """Return the sum over samples of each sample's loss, averaged over what counts in it."""
    total, of_sample = scores.new_zeros(()), summed(loss)
    for i in range(len(scores)):
        sample_loss, count = of_sample(scores[i : i + 1], take(batch, torch.tensor([i])))
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
