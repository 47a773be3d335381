r"""The multiplicative exponential update on the orthogonal group.

Equation, for an orthogonal W and the gradient G = dL/dW:

    W <- exp(-eta A) W,    A = G W^T - W G^T

A is skew-symmetric, so exp(-eta A) is a rotation: W stays orthogonal and keeps the sign of its determinant. The loss
changes by -eta ||A||_F^2 / 2 + O(eta^2): its derivative along -A W is <G, -A W> = -<G W^T, A> = -||A||_F^2 / 2.

In floating point the product drifts from orthogonality, in float32 by 2e-6 to 4e-4 in 100 updates (the more, the larger
eta ||A||). So each update ends with one Newton-Schulz step W <- W (3 I - W^T W) / 2, which turns a deviation d into
3/4 d^2, that is rounding. It is made always: a condition would have CUDA wait for the value.

Reference: poster on uRNN and uGRU with bounded gradients (authors not identified). Wisdom et al. Full-Capacity Unitary
    Recurrent Neural Networks. NeurIPS 2016. https://arxiv.org/abs/1611.00035 use the Cayley transform in its place.
"""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

from stablebench.errors import UserError
from stablebench.models.orthogonal import skew_exponential

_FARTHEST = 0.1
"""max |W^T W - I| of a parameter that passes for orthogonal; far inside of where Newton-Schulz converges."""


class ExponentialUpdate(torch.optim.Optimizer):
    """Gradient descent on the orthogonal group; the module docstring has the equation. It has no state.

    Args:
        params: Orthogonal matrices (n, n), or groups of them.
        lr: eta, >= 0.

    Raises:
        UserError: A parameter is not a square matrix, or not orthogonal.
    """

    def __init__(self, params: Iterable[Any], lr: float) -> None:
        super().__init__(params, {"lr": lr})
        for group in self.param_groups:
            for W in group["params"]:
                _refuse_unless_orthogonal(W)

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Make one update.

        Args:
            closure: Evaluates the loss and its gradients anew, before the update.

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
                    W.copy_(updated(W, W.grad, group["lr"]))
        return loss


def updated(W: Tensor, G: Tensor, eta: float) -> Tensor:
    """Return exp(-eta A) W, orthogonal up to rounding; narrow types are computed in float32.

    Args:
        W: An orthogonal matrix (n, n).
        G: The gradient of the loss in W, (n, n).
        eta: The learning rate.
    """
    wide = torch.promote_types(W.dtype, torch.float32)
    W, G = W.to(wide), G.to(wide)
    product = G @ W.T
    W = skew_exponential(-eta * (product - product.T)) @ W
    return 1.5 * W - 0.5 * W @ (W.T @ W)


def _refuse_unless_orthogonal(W: Tensor) -> None:
    if W.ndim != 2 or W.shape[0] != W.shape[1]:
        raise UserError(f"the exponential update needs square matrices, got one of {tuple(W.shape)}.")
    wide = W.detach().to(torch.promote_types(W.dtype, torch.float32))
    deviation = (wide.T @ wide - torch.eye(len(wide), dtype=wide.dtype, device=wide.device)).abs().max().item()
    if not deviation <= _FARTHEST:
        raise UserError(
            f"the exponential update needs an orthogonal matrix to start from, got max |W^T W - I| = {deviation:.3g}; "
            "initialise it with torch.nn.init.orthogonal_."
        )
