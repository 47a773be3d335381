r"""What a network is without the non-normal part of its recurrent matrices.

In the Schur form A = Q (D + U) Q^H the strictly upper triangle U carries what the eigenvalues do not say: transient
growth, and in the nnRNN paper the memory of a chain of feed-forward connections. Without it A becomes the normal matrix
Q D Q^H with the same eigenvalues; in the real Schur form that is taken here, complex eigenvalues a +- ib keep
the block [[a, b], [-b, a]]. Compared are the loss and the norms of the gradient dL/ds_t with and without.

The matrices are those of `recurrent_weights`: each real one whose sides are multiples of the layer's width, cut into
square blocks, as the gates of an LSTM are. In an orthogonal one nothing changes.

References: nnRNN: Kerg et al. Non-normal Recurrent Neural Network (nnRNN). NeurIPS 2019.
https://arxiv.org/abs/1905.12080, section 2. Ablation of Schur couplings: arXiv:2606.18457; only the idea is from there.
"""

import copy
import math
from dataclasses import dataclass
from typing import Any, Literal

import torch
from scipy.linalg import schur
from torch import Tensor
from torch.utils._pytree import tree_map

from stablebench.data.batch import Batch
from stablebench.models.base import RecurrentModel
from stablebench.models.network import AnyNetwork, Network
from stablebench.probes.chain import Chain, scores_of
from stablebench.probes.gradient_flow import GradientFlow, Loss, LossOf, adjoints, sum_of_losses
from stablebench.probes.state_chain import StateChain

_SAME = 1e-9
"""Relative size of the non-normal part below which there is none."""
Meaning = Literal["normal", "holds the gradient up", "holds the gradient down", "matters little"]


@dataclass(frozen=True)
class SchurAblation:
    """A network with and without its strictly upper Schur triangles.

    Args:
        share: ||U||_F / ||A||_F of all blocks together, 0 ... 1; 0 for normal matrices.
        blocks: How many square blocks were changed.
        loss: The mean loss of the samples with U.
        loss_without: Without.
        flow: Gradient norms with U.
        flow_without: Without.
    """

    share: float
    blocks: int
    loss: float
    loss_without: float
    flow: GradientFlow
    flow_without: GradientFlow

    @property
    def meaning(self) -> Meaning:
        """What U does to the gradient that arrives at h_0, by a factor of 10 between the medians."""
        with_, without = (_ratio(flow) for flow in (self.flow, self.flow_without))
        if self.share <= _SAME:
            return "normal"
        if with_ > without + 1:
            return "holds the gradient up"
        return "holds the gradient down" if with_ < without - 1 else "matters little"

    def document(self) -> dict[str, Any]:
        """Return a JSON-serialisable dict."""
        return {
            "non_normal_share": self.share,
            "blocks": self.blocks,
            "meaning": self.meaning,
            "with": _document(self.loss, self.flow),
            "without": _document(self.loss_without, self.flow_without),
        }


def _ratio(flow: GradientFlow) -> float:
    ratio = flow.log10_first_over_last()
    return -math.inf if ratio is None else ratio


def _document(loss: float, flow: GradientFlow) -> dict[str, Any]:
    return {
        "loss": loss if math.isfinite(loss) else None,
        "growth_rate": flow.growth_rate().document(),
        "log10_first_over_last": flow.log10_first_over_last(),
    }


def normal_part(A: Tensor) -> tuple[Tensor, float]:
    """Return the normal matrix with A's eigenvalues and Schur vectors, and the Frobenius norm of what A has besides.

    Args:
        A: Real, (n, n).
    """
    T, Q = schur(A.detach().double().numpy(), output="real")[:2]
    D, i, n = T * 0.0, 0, len(T)
    while i < n:
        if i + 1 < n and T[i + 1, i]:
            a, b = T[i, i], math.copysign(math.sqrt(-T[i, i + 1] * T[i + 1, i]), T[i, i + 1])
            D[i : i + 2, i : i + 2] = [[a, b], [-b, a]]
            i += 2
        else:
            D[i, i] = T[i, i]
            i += 1
    size = A.detach().double().square().sum().item() - float((D * D).sum())  # ||U||^2, as ||A||^2 = ||D||^2 + ||U||^2
    return torch.from_numpy(Q @ D @ Q.T).to(A), math.sqrt(max(size, 0.0))


def schur_ablation(
    network: AnyNetwork, chain: StateChain, states: Tensor, batch: Batch, *, loss: LossOf, flow: GradientFlow
) -> SchurAblation | None:
    """Return what the non-normal part does; None where the network has no recurrent matrices.

    Args:
        network: The chain's network.
        chain: The chain on the batch's inputs.
        states: `chain.states()`.
        batch: The samples.
        loss: The task's loss, of `stablebench.data.metrics`.
        flow: The gradient norms of the network, of the loss that is wanted.
    """
    if not isinstance(network, Network):
        return None
    ablated, sizes = copy.deepcopy(network), []
    for layer in ablated.recurrent_layers:
        weights = _without(layer, sizes)
        layer.recurrent_weights = lambda weights=weights: weights  # pyright: ignore[reportAttributeAccessIssue]
    if not sizes:
        return None
    other = Chain(ablated, batch.inputs)
    other_states = other.states()
    upper, whole = (math.sqrt(sum(size[i] ** 2 for size in sizes)) for i in (0, 1))
    parts: list[tuple[AnyNetwork, StateChain, Tensor]]
    parts = [(network, chain, states), (ablated, other, other_states)]
    without = _flow(ablated, other, other_states, batch, loss, flow.loss)
    losses = [_loss(net, own, own_states, batch, loss) for net, own, own_states in parts]
    return SchurAblation(upper / whole if whole else 0.0, len(sizes), losses[0], losses[1], flow, without)


def _without(layer: RecurrentModel, sizes: list[tuple[float, float]]) -> Any:
    """Return the layer's recurrent weights without U, and add ||U|| and ||A|| of each block to `sizes`."""

    def changed(value: Any) -> Any:
        n = layer.hidden
        if not isinstance(value, Tensor) or value.dim() != 2 or value.is_complex() or not value.is_floating_point():
            return value
        rows, columns = value.shape
        if not n or n not in (rows, columns) or rows % n or columns % n or n < 2:
            return value
        result = value.clone()
        for i in range(0, rows, n):
            for j in range(0, columns, n):
                block, size = normal_part(value[i : i + n, j : j + n])
                sizes.append((size, value[i : i + n, j : j + n].norm().item()))
                result[i : i + n, j : j + n] = block
        return result

    return tree_map(changed, layer.recurrent_weights())


def _flow(
    network: AnyNetwork, chain: StateChain, states: Tensor, batch: Batch, loss: LossOf, which: Loss
) -> GradientFlow:
    """Return the gradient norms, without those of the inputs."""
    sweep = list(adjoint.log_norms() for adjoint in adjoints(network, chain, states, batch, loss=loss, which=which))
    return GradientFlow(which, torch.stack(sweep[::-1], dim=1))


def _loss(network: AnyNetwork, chain: StateChain, states: Tensor, batch: Batch, loss: LossOf) -> float:
    scores = scores_of(network, chain.outputs(states[1:]), batch.lengths)
    return sum_of_losses(scores, batch, loss).item() / chain.batch
