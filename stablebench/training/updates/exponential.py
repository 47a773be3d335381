r"""The multiplicative exponential update on the orthogonal group.

Equation, for an orthogonal W and the gradient G = dL/dW:

    W <- exp(-eta A) W,    A = G W^T - W G^T

A is skew-symmetric, so exp(-eta A) is a rotation: W stays orthogonal and keeps the sign of its determinant. In floating
point the bare product drifts from orthogonality, in float32 by 2e-6 to 4e-4 in 100 updates (the more, the larger
eta ||A||).

Reference: poster on uRNN and uGRU with bounded gradients (authors not identified). Wisdom et al. Full-Capacity Unitary
    Recurrent Neural Networks. NeurIPS 2016. https://arxiv.org/abs/1611.00035 use the Cayley transform in its place.
"""

import torch
from torch import Tensor

from stablebench.errors import UserError
from stablebench.models.blocks.skew_exponential import skew_exponential
from stablebench.training.updates.group import FARTHEST, MultiplicativeUpdate, deviation, newton_schulz, skew_part


class ExponentialUpdate(MultiplicativeUpdate):
    """Gradient descent on the orthogonal group; the module docstring has the equation.

    Its parameters are orthogonal matrices, (n, n).
    """

    def moved(self, W: Tensor, G: Tensor, eta: float) -> Tensor:
        """Return W after one update, (n, n)."""
        return updated(W, G, eta)

    def refuse_unless_in_group(self, W: Tensor) -> None:
        """Raise `UserError` unless W is an orthogonal matrix."""
        if W.ndim != 2 or W.shape[0] != W.shape[1]:
            raise UserError(f"the exponential update needs square matrices, got one of {tuple(W.shape)}.")
        off = deviation(W.to(torch.promote_types(W.dtype, torch.float32)))
        if not off <= FARTHEST:
            raise UserError(
                f"the exponential update needs an orthogonal matrix to start from, got max |W^T W - I| = {off:.3g}; "
                "initialise it with torch.nn.init.orthogonal_."
            )


def updated(W: Tensor, G: Tensor, eta: float) -> Tensor:
    """Return exp(-eta A) W, orthogonal up to rounding; narrow types are computed in float32.

    Args:
        W: An orthogonal matrix (n, n).
        G: The gradient of the loss in W, (n, n).
        eta: The learning rate.
    """
    wide = torch.promote_types(W.dtype, torch.float32)
    W, G = W.to(wide), G.to(wide)
    return newton_schulz(skew_exponential(-eta * skew_part(W, G)) @ W)
