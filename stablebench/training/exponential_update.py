r"""The multiplicative exponential update on the orthogonal group.

Equation, for an orthogonal W and the gradient G = dL/dW:

    W <- exp(-eta A) W,    A = G W^T - W G^T

A is skew-symmetric, so exp(-eta A) is a rotation and W stays orthogonal. The loss changes by
-eta ||A||_F^2 / 2 + O(eta^2): the derivative along -A W is <G, -A W> = -<G W^T, A> = -||A||_F^2 / 2.

In floating point the product drifts from orthogonality by about one rounding error an update; where
max |W^T W - I| exceeds `_DRIFT` rounding errors, one Newton-Schulz step W <- W (3 I - W^T W) / 2 brings it back.

Reference: poster on uRNN and uGRU with bounded gradients (authors not identified); Wisdom et al. Full-Capacity Unitary
    Recurrent Neural Networks. NeurIPS 2016. https://arxiv.org/abs/1611.00035 use the Cayley transform in its place.
"""

from collections.abc import Iterable
from typing import Any

import torch

from stablebench.errors import UserError

_DRIFT = 32
"""Rounding errors of the parameter's type that max |W^T W - I| may reach."""


class ExponentialUpdate(torch.optim.Optimizer):
    """Gradient descent on the orthogonal group; the module docstring has the equation.

    Args:
        params: Orthogonal matrices (n, n), or groups of them.
        lr: eta, > 0.

    Raises:
        UserError: A parameter is not a square matrix.
    """

    def __init__(self, params: Iterable[Any], lr: float) -> None:
        super().__init__(params, {"lr": lr})
        for group in self.param_groups:
            for p in group["params"]:
                if p.ndim != 2 or p.shape[0] != p.shape[1]:
                    raise UserError(f"the exponential update needs square matrices, got one of {tuple(p.shape)}.")

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Make one update."""
        for group in self.param_groups:
            for W in group["params"]:
                if W.grad is None:
                    continue
                product = W.grad @ W.T
                W.copy_(torch.matrix_exp(-group["lr"] * (product - product.T)) @ W)
                gram = W.T @ W
                identity = torch.eye(len(W), dtype=W.dtype, device=W.device)
                if (gram - identity).abs().max() > _DRIFT * torch.finfo(W.dtype).eps:
                    W.copy_(W @ (1.5 * identity - 0.5 * gram))
