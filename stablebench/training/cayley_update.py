r"""The multiplicative Cayley update on the unitary group.

Equation, for a unitary W and the gradient G = dL/dRe(W) + i dL/dIm(W):

    W <- (I + eta/2 A)^-1 (I - eta/2 A) W,    A = G W^H - W G^H

A is skew-Hermitian, so its Cayley transform is unitary, and W stays unitary. To first order in eta it is the step
-eta A W of the exponential update: the loss changes by -eta ||A||_F^2 / 2 + O(eta^2).

W is kept as the real tensor (2, n, n) of its real and imaginary parts, so that gradients and checkpoints are real. Each
update ends with one Newton-Schulz step W <- W (3 I - W^H W) / 2, without which rounding would add up.

Reference: Wisdom, Powers, Hershey, Le Roux, Atlas. Full-Capacity Unitary Recurrent Neural Networks. NeurIPS 2016,
    equations 8 and 9. https://arxiv.org/abs/1611.00035. The real case: Wen, Yin 2013; Tagare 2011.
"""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

from stablebench.errors import UserError

_FARTHEST = 0.1
"""max |W^H W - I| of a parameter that passes for unitary; far inside of where Newton-Schulz converges."""


class CayleyUpdate(torch.optim.Optimizer):
    """Gradient descent on the unitary group; the module docstring has the equation. It has no state.

    Args:
        params: Unitary matrices as real and imaginary parts (2, n, n), or groups of them.
        lr: eta, >= 0.

    Raises:
        UserError: A parameter is no such pair of square matrices, or not unitary.
    """

    def __init__(self, params: Iterable[Any], lr: float) -> None:
        super().__init__(params, {"lr": lr})
        for group in self.param_groups:
            for W in group["params"]:
                _refuse_unless_unitary(W)

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
                    new = updated(as_complex(W), as_complex(W.grad), group["lr"])
                    W.copy_(torch.stack([new.real, new.imag]))
        return loss


def updated(W: Tensor, G: Tensor, eta: float) -> Tensor:
    """Return (I + eta/2 A)^-1 (I - eta/2 A) W, unitary up to rounding.

    Args:
        W: A unitary matrix (n, n), complex.
        G: The gradient of the loss in W, (n, n), complex: in the real part plus i times in the imaginary part.
        eta: The learning rate.
    """
    product = G @ W.mH
    half = eta / 2 * (product - product.mH)
    eye = torch.eye(len(W), dtype=W.dtype, device=W.device)
    W = torch.linalg.solve(eye + half, W - half @ W)
    return 1.5 * W - 0.5 * W @ (W.mH @ W)


def as_complex(parts: Tensor) -> Tensor:
    """Return the complex tensor of its real and imaginary parts (2, ...); narrow types become complex64."""
    wide = parts.to(torch.promote_types(parts.dtype, torch.float32))
    return torch.complex(wide[0], wide[1])


def _refuse_unless_unitary(W: Tensor) -> None:
    if W.ndim != 3 or W.shape[0] != 2 or W.shape[1] != W.shape[2]:
        raise UserError(
            f"the Cayley update needs real and imaginary parts of square matrices, (2, n, n), got {tuple(W.shape)}."
        )
    M = as_complex(W.detach())
    deviation = (M.mH @ M - torch.eye(len(M), dtype=M.dtype, device=M.device)).abs().max().item()
    if not deviation <= _FARTHEST:
        raise UserError(
            f"the Cayley update needs a unitary matrix to start from, got max |W^H W - I| = {deviation:.3g}; "
            "take the Q of a complex matrix's QR decomposition."
        )
