r"""Up to which lag there is something to learn from N sequences: gradient signal against noise, lag by lag.

With C_k,i the part of sample i's parameter gradient that is from lag k (`stablebench.probes.lag_share`, its C_t with
k = E - t), over samples:

    signal     m_k = ||E C_k||                 noise    v_k = E ||C_k||^2 - ||E C_k||^2
    SNR_k = m_k^2 / v_k                        of one sequence; the mean of N sequences has N SNR_k
    f(k) = (E ||C_k||^2 / E ||C_0||^2)^(1/2)   effective learning rate at lag k, as a share of that at lag 0
    N_k = 1 / SNR_k                            sequences whose mean gradient is as large as its noise
    window(N)                                  the longest lag with N_k <= N

m_k^2 is estimated without bias by the mean of C_k,i . C_k,j over pairs i != j, whose standard error where there is no
signal is (2 / (n (n - 1)) mean (C_k,i . C_k,j)^2)^(1/2); a lag whose estimate is not twice that is one where n samples
show no signal, so a window says what these samples can show: more may be learnable. The lags are the first 16 and some,
evenly apart in the logarithm, up to E - 1; each is exact, and memory does not depend on their number.

The idea of effective learning rates by lag and of a learnability window is that of Livi (arXiv:2508.12121 and
arXiv:2512.05790). The definitions here are from first principles, with noise of finite variance, and are not taken from
these papers, where noise may have heavy tails; numbers need not agree with theirs.
"""

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from stablebench.data.batch import Batch
from stablebench.models.network import AnyNetwork
from stablebench.probes.gradient_flow import Adjoint, Loss, LossOf, adjoints
from stablebench.probes.lag_share import by_sample
from stablebench.probes.state_chain import StateChain

_FIRST, _SPREAD = 16, 32
"""Lags looked at: the first ones, and as many more spread over the rest."""
_RESOLVED = 2.0
"""Standard errors by which a signal must be off 0."""
SEQUENCES = (100, 10_000, 1_000_000)
"""Training sequences that windows are given for."""


@dataclass(frozen=True)
class Learnability:
    """Signal and noise by lag.

    Args:
        loss: Which loss.
        samples: Over how many samples.
        lags: The lags looked at, k.
        signal: m_k^2 / E ||C_k||^2, its unbiased estimate, (lags); NaN where the gradient is 0.
        error: Its standard error where there is no signal, (lags).
        log_rms: ln (E ||C_k||^2)^(1/2), (lags); -inf for 0.
    """

    loss: Loss
    samples: int
    lags: tuple[int, ...]
    signal: Tensor
    error: Tensor
    log_rms: Tensor

    @property
    def effective_rate(self) -> Tensor:
        """f(k), (lags)."""
        return (self.log_rms - self.log_rms[0]).exp()

    @property
    def resolved(self) -> Tensor:
        """Whether the samples show a signal at the lag, (lags)."""
        return self.signal > _RESOLVED * self.error

    @property
    def snr(self) -> Tensor:
        """SNR_k of one sequence, (lags); NaN where the samples show no signal, inf where there is no noise."""
        ratio = self.signal / (1 - self.signal).clamp(min=0)
        return torch.where(self.resolved, ratio, math.nan)

    @property
    def needed(self) -> Tensor:
        """N_k, (lags); NaN where the samples show no signal."""
        return 1 / self.snr

    def window(self, sequences: int) -> int | None:
        """Return the longest lag looked at with N_k <= N; None where there is none."""
        there = [lag for lag, needed in zip(self.lags, self.needed.tolist(), strict=True) if needed <= sequences]
        return max(there, default=None)

    def document(self) -> dict[str, Any]:
        """Return a JSON-serialisable dict; None for what is not defined or not shown by the samples."""
        return {
            "loss": self.loss,
            "samples": self.samples,
            "lag": list(self.lags),
            "signal_to_noise": _finite(self.snr),
            "sequences_needed": _finite(self.needed),
            "effective_rate": _finite(self.effective_rate),
            "window": {str(n): self.window(n) for n in SEQUENCES},
        }


def _finite(values: Tensor) -> list[float | None]:
    return [v if math.isfinite(v) else None for v in values.tolist()]


def chosen_lags(longest: int) -> set[int]:
    """Return the lags that are looked at, of 0 ... `longest`."""
    ratio = math.log(max(longest, 1) / _FIRST)
    spread = {round(_FIRST * math.exp(ratio * i / (_SPREAD - 1))) for i in range(_SPREAD)} if ratio > 0 else set()
    return {lag for lag in {*range(_FIRST), *spread, longest} if 0 <= lag <= longest}


def learnability(
    network: AnyNetwork, chain: StateChain, states: Tensor, batch: Batch, *, loss: LossOf, which: Loss
) -> Learnability | None:
    """Return signal and noise by lag; None where nothing is trained, or there are fewer than two samples.

    Args:
        network: The chain's network.
        chain: The chain on the batch's inputs.
        states: `chain.states()`.
        batch: The samples.
        loss: The task's loss, of `stablebench.data.metrics`.
        which: `task`: the task's own loss; `last`: that of the last scored step only.
    """
    lags: set[int] | None = None
    end, taken = 0, {}
    for adjoint in adjoints(network, chain, states, batch, loss=loss, which=which):
        if lags is None:
            end = adjoint.t
            lags = chosen_lags(end - 1)
        if adjoint.t and (lag := end - adjoint.t) in lags:
            gram = _gram(chain, states, adjoint)
            if gram is None:
                return None
            taken[lag] = gram
    if chain.batch < 2 or not taken:
        return None
    rows = [_estimates(*taken[lag]) for lag in sorted(taken)]
    signal, error, log_rms = (torch.tensor(column, dtype=torch.float64) for column in zip(*rows, strict=True))
    return Learnability(which, chain.batch, tuple(sorted(taken)), signal, error, log_rms)


def _gram(chain: StateChain, states: Tensor, adjoint: Adjoint) -> tuple[Tensor, int] | None:
    """Return the products of the samples' contributions 2^-scale C_t, and the scale; None where nothing is trained."""
    traced = chain.trace(adjoint.t, states[adjoint.t - 1])
    if not traced.used:
        return None
    n = len(adjoint.g)
    gram, scale = adjoint.g.new_zeros(n, n), int(adjoint.scale.max())
    if traced.after.requires_grad:
        for gradient in by_sample(traced, adjoint.g):
            if gradient is not None:
                gradient = torch.view_as_real(gradient) if gradient.is_complex() else gradient
                rows = gradient.flatten(1)
                gram = gram + rows @ rows.T
    sizes = torch.exp2((adjoint.scale - scale).clamp(min=-1000).double())
    return gram * sizes[:, None] * sizes, scale


def _estimates(gram: Tensor, scale: int) -> tuple[float, float, float]:
    """Return the signal's square over the whole mean square, its standard error, and ln of the latter's root."""
    n = len(gram)
    whole = gram.diagonal().mean()
    if not whole:
        return math.nan, math.nan, -math.inf
    products = gram[~torch.eye(n, dtype=torch.bool)] / whole
    error = math.sqrt(2 / (n * (n - 1)) * products.square().mean())
    return products.mean().item(), error, whole.log().item() / 2 + scale * math.log(2)
