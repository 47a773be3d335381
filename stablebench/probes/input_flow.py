r"""Gradient flow of a network without states: the norms of dL/dx_t, t = 1 ... E, in one backward pass.

Every path from an input to an output passes the same few blocks, so nothing multiplies up along time, and float64 holds
what autograd gives. What else a probe measures is of states, and there are none.
"""

import torch

from stablebench.data.batch import Batch
from stablebench.errors import StablebenchError, UserError
from stablebench.models.attention_network import AttentionNetwork
from stablebench.models.network import AnyNetwork
from stablebench.probes.chain import frozen
from stablebench.probes.gradient_flow import GradientFlow, Loss, LossOf, last_loss, sum_of_losses


def has_no_states(network: AnyNetwork) -> bool:
    """Return whether a network is no chain, so that only the gradient in its inputs can be measured."""
    return isinstance(network, AttentionNetwork)


def no_states_message(network: AnyNetwork, measures: str) -> UserError:
    """Return the refusal of measures of a network's states.

    Args:
        network: Without states.
        measures: What was asked for, in words.
    """
    return UserError(
        f"{type(network.models[0]).__name__.lower()} has no recurrent state, so it has no {measures}. What can be "
        "measured is the gradient in its inputs, ||dL/dx_t||: flow."
    )


def input_flow(network: AnyNetwork, batch: Batch, *, loss: LossOf, which: Loss) -> GradientFlow:
    """Return the norms of dL/dx_t for every step up to the last one that the loss reads; the network is left as it is.

    Args:
        network: An `AttentionNetwork`.
        batch: The samples.
        loss: The task's loss, of `stablebench.data.metrics`.
        which: `task`: the task's own loss; `last`: that of the last scored step only.

    Raises:
        StablebenchError: A derivative is not finite.
    """
    assert isinstance(network, AttentionNetwork)
    network = frozen(network)
    x = network.encode(batch.inputs).detach().requires_grad_()
    with torch.enable_grad():
        scores = network.read(network.outputs(x), batch.lengths)
        total = last_loss(network, scores, batch, loss) if which == "last" else sum_of_losses(scores, batch, loss)
        (gradient,) = torch.autograd.grad(total, x)
    if not gradient.isfinite().all():
        raise StablebenchError("The derivative of the loss in the inputs is not finite.")
    norms = torch.linalg.vector_norm(gradient, dim=2)
    reached = norms.amax(0).nonzero()
    end = int(reached.max()) + 1 if len(reached) else norms.shape[1]
    return GradientFlow(which, norms[:, :end].log(), of_inputs=True)
