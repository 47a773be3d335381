r"""Products of a loss's Hessian H and Gauss-Newton matrix G with vectors, and the gradients of single samples.

Parameters lie in one vector, complex ones as their real and imaginary parts.
"""

from collections.abc import Callable
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from stablebench.data.batch import Batch
from stablebench.data.task import take
from stablebench.models import deep_model
from stablebench.models.network import AnyNetwork, Network
from stablebench.probes.chain import Chain, frozen, scores_of
from stablebench.probes.gradient_flow import sum_of_losses
from stablebench.probes.linearised import Linearised, check_differentiable_twice

SummedLoss = Callable[[Tensor, Batch], tuple[Tensor, int]]
"""The sum of a loss over what counts in it, and how much that is, of outputs and a batch."""


class GraphProducts:
    """Products from the graph of a whole pass, differentiated twice.

    Args:
        network: With parameters that take a gradient.
        batch: The samples.
        loss: The loss.
        parameters: Those of the network.

    Raises:
        RuntimeError: An operation of the model has no second derivative.
    """

    def __init__(self, network: AnyNetwork, batch: Batch, loss: SummedLoss, parameters: list[Tensor]) -> None:
        run: Any = deep_model.run_layers
        network.engine = run
        self._batch, self._losses, self._parameters = batch, loss, parameters
        self._scores, _ = network(batch.inputs, None, batch.lengths)
        total, count = loss(self._scores, batch)
        self._loss = total / count
        self._pulled_loss = _grad(self._loss, parameters, create_graph=True)
        self.gradient = flat(self._pulled_loss).detach()
        self._dummy = torch.zeros_like(self._scores).requires_grad_()
        self._pulled = _grad(self._scores, parameters, self._dummy, create_graph=True)

    def hessian(self, v: Tensor) -> Tensor:
        """Return H v, (parameters)."""
        return flat(_grad(_inner(self._pulled_loss, split(v, self._parameters)), self._parameters))

    def gauss_newton(self, v: Tensor) -> Tensor:
        """Return G v, (parameters)."""
        (forward,) = _grad(_inner(self._pulled, split(v, self._parameters)), [self._dummy])  # J v
        return flat(_grad(self._scores, self._parameters, _bent(self._loss, self._scores, forward)))

    def sample_gradients(self) -> Tensor:
        """Return the gradient of each sample's loss, (samples, parameters); without those that count nothing."""
        rows = []
        for i in range(len(self._scores)):
            total, count = self._losses(self._scores[i : i + 1], take(self._batch, torch.tensor([i])))
            if count:
                rows.append(flat(_grad(total / count, self._parameters)))
        return torch.stack(rows) if rows else torch.zeros(0, 1)


class SweepProducts:
    """Products from the steps of a recurrent network: those of all of them at once, and two recurrences.

    Arguments and errors as those of `GraphProducts`.
    """

    def __init__(self, network: Network, batch: Batch, loss: SummedLoss, parameters: list[Tensor]) -> None:
        self._network, self._batch, self._losses, self._parameters = network, batch, loss, parameters
        free = Chain(frozen(network), batch.inputs)
        with torch.no_grad():
            start = free.initial()
        self._steps = Linearised(free, 1, start, free.steps)
        self._states = torch.cat([start[None], self._steps.states]).requires_grad_()
        self._leaves = [*parameters, self._states]
        self._after, self._scores = _at_once(network, batch, self._states)
        total, count = loss(self._scores, batch)
        self._loss = total / count
        self._adjoints = self._pull(_grad(self._loss, [self._states])[0]).requires_grad_()
        of_all = (self._adjoints * self._after).sum() + self._loss
        self._pulled_loss = _grad(of_all, self._leaves, create_graph=True)
        self.gradient = flat(self._pulled_loss[:-1]).detach()

    @cached_property
    def _pulled_scores(self) -> tuple[Tensor, list[Tensor]]:
        dummy = torch.zeros_like(self._scores).requires_grad_()
        return dummy, _grad(self._scores, self._leaves, dummy, create_graph=True)

    def hessian(self, v: Tensor) -> Tensor:
        """Return H v, (parameters)."""
        along = self._along(v)
        *own, past = _grad(_inner(self._pulled_loss, along), self._leaves)
        return self._whole(own, past)

    def gauss_newton(self, v: Tensor) -> Tensor:
        """Return G v, (parameters)."""
        dummy, pulled = self._pulled_scores
        (forward,) = _grad(_inner(pulled, self._along(v)), [dummy])  # J v
        *own, past = _grad(self._scores, self._leaves, _bent(self._loss, self._scores, forward))
        return self._whole(own, past)

    def sample_gradients(self) -> Tensor:
        """Return the gradient of each sample's loss, (samples, parameters); without those that count nothing."""
        adjoints = self._pull(_grad(sum_of_losses(self._scores, self._batch, self._losses), [self._states])[0])
        rows = []
        for i in range(len(self._scores)):
            one = take(self._batch, torch.tensor([i]))
            after, scores = _at_once(self._network, one, self._states[:, i : i + 1].detach())
            total, count = self._losses(scores, one)
            if count:
                of_all = (adjoints[:, i : i + 1] * after).sum() + total / count
                rows.append(flat(_grad(of_all, self._parameters)))
        return torch.stack(rows) if rows else torch.zeros(0, 1)

    def _along(self, v: Tensor) -> list[Tensor]:
        """Return v by parameter, and the derivative of all states along it, (T + 1, batch, size)."""
        direction = split(v, self._parameters)
        (added,) = _grad(_inner(self._pulled_loss[:-1], direction), [self._adjoints])  # F_theta v
        return [*direction, torch.cat([added[:1], self._steps.push(added[1:], added[0])])]

    def _pull(self, past: Tensor) -> Tensor:
        """Return derivatives in s_0 ... s_T of what has the derivatives `past` past other states."""
        own, first = self._steps.pull(past[1:])
        return torch.cat([(first + past[0])[None], own])

    def _whole(self, own: list[Tensor], past: Tensor) -> Tensor:
        """Return a gradient in the parameters from what is past the states, and from derivatives in these."""
        through = _grad(self._after, self._parameters, self._pull(past))
        return flat([a + b for a, b in zip(own, through, strict=True)])


def _at_once(network: Network, batch: Batch, states: Tensor) -> tuple[Tensor, Tensor]:
    """Return s_0 ... s_T as functions of the parameters and the states before each, and the outputs of the network.

    Args:
        network: The network.
        batch: The samples.
        states: s_0 ... s_T, (T + 1, batch, size).
    """
    chain = Chain(network, batch.inputs)
    after = torch.cat([chain.initial()[None], chain.many(states[:-1])])
    return after, scores_of(network, chain.outputs(states[1:]), batch.lengths)


def _bent(loss: Tensor, scores: Tensor, forward: Tensor) -> Tensor:
    """Return the product of the loss's Hessian in the outputs with a direction of these."""
    (outer,) = torch.autograd.grad(loss, scores, create_graph=True)
    if not outer.requires_grad:
        return torch.zeros_like(forward)
    return _grad((outer * forward).sum(), [scores])[0]


def _inner(parts: list[Tensor], along: list[Tensor]) -> Tensor:
    """Return the sum of products, ()."""
    return torch.stack([_real((g * part).sum()) for g, part in zip(parts, along, strict=True)]).sum()


def _real(value: Tensor) -> Tensor:
    return value.real if value.is_complex() else value


def split(v: Tensor, parameters: list[Tensor]) -> list[Tensor]:
    """Return a vector by parameter; of a complex one its conjugate."""
    sizes = [torch.view_as_real(p).numel() if p.is_complex() else p.numel() for p in parameters]
    return [
        torch.view_as_complex(part.reshape(*p.shape, 2)).conj() if p.is_complex() else part.view_as(p)
        for part, p in zip(v.split(sizes), parameters, strict=True)
    ]


def flat(parts: list[Tensor]) -> Tensor:
    """Return gradients as one vector."""
    return torch.cat([(torch.view_as_real(p) if p.is_complex() else p).reshape(-1) for p in parts])


def _grad(value: Tensor, of: list[Tensor], cotangent: Tensor | None = None, create_graph: bool = False) -> Any:
    if not value.requires_grad:
        return [torch.zeros_like(p) for p in of]
    taken = torch.autograd.grad(value, of, cotangent, retain_graph=True, create_graph=create_graph, allow_unused=True)
    if create_graph:
        check_differentiable_twice(taken)
    return [torch.zeros_like(p) if g is None else g for g, p in zip(taken, of, strict=True)]
