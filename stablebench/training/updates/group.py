r"""Gradient descent on a matrix group: an update multiplies the matrix by an element of the group.

What subclasses share: A = G W^H - W G^H, with the gradient G = dL/dW (for a complex W dL/dRe(W) + i dL/dIm(W)), is
skew-Hermitian, so a function that takes -eta A to the group gives a step along -A W. The loss changes by
-eta ||A||_F^2 / 2 + O(eta^2): its derivative along -A W is Re <G, -A W> = -Re <G W^H, A> = -||A||_F^2 / 2.

Each update ends with one Newton-Schulz step W <- W (3 I - W^H W) / 2, which turns a deviation d from W^H W = I into
3/4 d^2, that is rounding; without it rounding would add up. It is made always: a condition would have CUDA wait for the
value.
"""

import abc
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

FARTHEST = 0.1
"""max |W^H W - I| of a parameter that passes for one of the group; far inside of where Newton-Schulz converges."""


class MultiplicativeUpdate(torch.optim.Optimizer, abc.ABC):
    """A rule that moves matrices on their group, with a learning rate and no state.

    Args:
        params: The matrices as the subclass stores them, or groups of them.
        lr: eta, >= 0.

    Raises:
        UserError: A parameter is not an element of the group.
    """

    def __init__(self, params: Iterable[Any], lr: float) -> None:
        super().__init__(params, {"lr": lr})
        for group in self.param_groups:
            for W in group["params"]:
                self.refuse_unless_in_group(W.detach())

    @abc.abstractmethod
    def refuse_unless_in_group(self, W: Tensor) -> None:
        """Raise `UserError` unless a parameter is an element of the group, as it is stored."""

    @abc.abstractmethod
    def moved(self, W: Tensor, G: Tensor, eta: float) -> Tensor:
        """Return a parameter after one update.

        Args:
            W: The parameter as it is stored.
            G: Its gradient.
            eta: The learning rate.
        """

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Make one update; a parameter without a gradient stays as it is.

        Args:
            closure: Evaluates the loss and its gradients again, before the update.

        Returns:
            What `closure` returned.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for W in group["params"]:
                if W.grad is not None:
                    W.copy_(self.moved(W, W.grad, group["lr"]))
        return loss


def skew_part(W: Tensor, G: Tensor) -> Tensor:
    """Return A = G W^H - W G^H, (n, n)."""
    product = G @ W.mH
    return product - product.mH


def newton_schulz(W: Tensor) -> Tensor:
    """Return W (3 I - W^H W) / 2, (n, n)."""
    return 1.5 * W - 0.5 * W @ (W.mH @ W)


def deviation(W: Tensor) -> float:
    """Return max |W^H W - I|."""
    return (W.mH @ W - torch.eye(len(W), dtype=W.dtype, device=W.device)).abs().max().item()
