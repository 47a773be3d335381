r"""Gradient flossing: updates that drive the largest Lyapunov exponents of a recurrent network to 0.

With J_t = ds_t/ds_{t-1} and the QR decompositions J_t Q_{t-1} = Q_t R_t, the K largest finite-time exponents and the
loss whose gradient is followed are

    lambda_i = 1 / (T - 1) sum_{t=2}^T ln |R_t|_ii        loss = sum_{i=1}^K lambda_i^2

averaged over the examples. The gradient is the exact one: through the QR decompositions, through the Jacobians, and
through the states that these are taken at. Q_1 is always the same random matrix.

Adam makes these updates with a state and a rate of its own, so training goes on from its own moments; parameters with
a rule of their own, as orthogonal matrices have, keep to it. What lies outside the recurrence gets no gradient.

Reference: Engelken. Gradient Flossing: Improving Gradient Descent through Dynamic Control of Jacobians. NeurIPS 2023.
https://arxiv.org/abs/2312.17306
"""

import time

import torch
from torch import Tensor
from torch.autograd import forward_ad

from stablebench.data.batch import Batch
from stablebench.data.task import first
from stablebench.errors import UserError, first_line
from stablebench.models.network import AnyNetwork, Network
from stablebench.probes.chain import Chain
from stablebench.probes.differentiable import check_differentiable
from stablebench.probes.forward_rules import load_forward_rules
from stablebench.schema.floss import FlossRecord, FlossSpec
from stablebench.schema.optim import OptimSpec
from stablebench.training.diverged import Diverged
from stablebench.training.updates.optimiser import Updater


def largest_exponents(network: Network, inputs: Tensor, count: int, steps: int | None = None) -> Tensor:
    """Return the largest finite-time Lyapunov exponents with the graph of their derivative, (samples, count).

    Args:
        network: The network; the exponents are those of all its layers together.
        inputs: What it takes, (samples, time, ...).
        count: How many, 1 ... the state's size.
        steps: Time steps, 2 ... time; None for all.
    """
    load_forward_rules()
    with torch.enable_grad():
        chain = Chain(network, inputs if steps is None else inputs[:, :steps])
        state = chain.step(1, chain.initial())
        Q = _basis(chain.size, count).to(state).expand(chain.batch, -1, -1)
        growth = state.new_zeros(chain.batch, count)
        for t in range(2, chain.steps + 1):
            state, pushed = _pushed(chain, t, state, Q)
            Q, R = torch.linalg.qr(pushed)
            growth = growth + R.diagonal(dim1=1, dim2=2).abs().log()
        return growth / (chain.steps - 1)


def _basis(n: int, count: int) -> Tensor:
    rng = torch.Generator().manual_seed(n)
    return torch.linalg.qr(torch.randn(n, count, generator=rng, dtype=torch.float64)).Q


def _pushed(chain: Chain, t: int, state: Tensor, Q: Tensor) -> tuple[Tensor, Tensor]:
    """Return s_t and J_t Q, Q (batch, size, count), both with their graph."""
    count = Q.shape[2]
    with forward_ad.dual_level():
        directions = Q.permute(2, 0, 1).reshape(count * chain.batch, -1)
        after, moved = forward_ad.unpack_dual(chain.step(t, forward_ad.make_dual(state.repeat(count, 1), directions)))
    if moved is None:
        moved = torch.zeros_like(after)
    return after[: chain.batch], moved.view(count, chain.batch, -1).permute(1, 2, 0)


class Flosser:
    """Makes the flossing updates of a run.

    Args:
        network: The network.
        spec: How.
        steps: Time steps of its chain.

    Raises:
        UserError: The network has no state Jacobian, nothing trained in its recurrence, or fewer states or steps.
    """

    def __init__(self, network: AnyNetwork, spec: FlossSpec, steps: int) -> None:
        if not isinstance(network, Network):
            raise UserError("--floss moves exponents of a recurrence, and this network has none; leave it out.")
        check_differentiable(network)
        size = sum(part for layer in network.recurrent_layers for part in layer.state_sizes)
        if spec.exponents > size:
            raise UserError(f"floss.exponents: must be <= {size}, the size of the state, got {spec.exponents}.")
        if steps < 2 or (spec.steps or 0) > steps:
            raise UserError(f"floss.steps: must be 2 ... {steps}, the time steps of the task, got {spec.steps}.")
        if not any(p.requires_grad for layer in network.recurrent_layers for p in layer.parameters()):
            raise UserError("--floss: nothing in this model's recurrence is trained, so no exponent can move.")
        self.spec, self._network = spec, network
        self.updater = Updater(network.parameter_groups(), OptimSpec(name="adam", lr=spec.lr), None)

    def due(self, step: int) -> bool:
        """Return whether there is a flossing update before training update `step` (from 0)."""
        return self.spec.every > 0 and step % self.spec.every == 0

    def update(self, batch: Batch, record: FlossRecord | None, *, before: bool) -> FlossRecord:
        """Make one update, and return the record with it.

        Args:
            batch: Training examples, on the network's device.
            record: What flossing did so far.
            before: Whether training has not begun.

        Raises:
            Diverged: The loss or its gradient is not finite.
            UserError: The model's step has no derivative of its derivative.
        """
        began = time.perf_counter()
        record = record or FlossRecord()
        network, updater = self._network, self.updater
        kept, training = [p.grad for p in updater.parameters], network.training
        updater.zero_grad()
        network.eval()
        try:
            exponents = self._descend(batch)
            updater.update(record.before + record.during)
        finally:
            network.train(training)
            for parameter, gradient in zip(updater.parameters, kept, strict=True):
                parameter.grad = gradient
        network.after_update()
        return FlossRecord(
            before=record.before + before,
            during=record.during + (not before),
            seconds=record.seconds + time.perf_counter() - began,
            first=record.first or exponents,
            last=exponents,
        )

    def _descend(self, batch: Batch) -> list[float]:
        """Fill the gradients, and return the exponents."""
        few = first(batch, min(self.spec.batch, len(batch.inputs))).inputs
        try:
            exponents = largest_exponents(self._network, few, self.spec.exponents, self.spec.steps)
            loss = exponents.square().sum(1).mean()
            if not loss.isfinite():
                why = "; a direction of the state dies within a step" if exponents.isinf().any() else ""
                raise Diverged(f"the flossing loss is {loss.item()}{why}; take fewer `floss.exponents`")
            if loss.requires_grad:
                loss.backward()
        except (NotImplementedError, RuntimeError) as error:  # forward derivatives that an operation does not have
            names = ", ".join(dict.fromkeys(type(layer).__name__ for layer in self._network.models))
            raise UserError(f"--floss: {names} has no derivative of its state Jacobian: {first_line(error)}") from error
        gradients = [p.grad for p in self.updater.parameters if p.grad is not None]
        if not all(bool(g.isfinite().all()) for g in gradients):
            raise Diverged("the gradient of the flossing loss is not finite; take fewer `floss.exponents`")
        return exponents.detach().mean(0).sort(descending=True).values.tolist()
