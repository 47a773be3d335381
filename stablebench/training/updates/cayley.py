r"""The multiplicative Cayley update on the unitary group.

Equation, for a unitary W and the gradient G = dL/dRe(W) + i dL/dIm(W):

    W <- (I + eta/2 A)^-1 (I - eta/2 A) W,    A = G W^H - W G^H

A is skew-Hermitian, so its Cayley transform is unitary, and W stays unitary. To first order in eta it is the step
-eta A W of the exponential update.

W is kept as the real tensor (2, n, n) of its real and imaginary parts, so that gradients and checkpoints are real.

Reference: Wisdom, Powers, Hershey, Le Roux, Atlas. Full-Capacity Unitary Recurrent Neural Networks. NeurIPS 2016,
    equations 8 and 9. https://arxiv.org/abs/1611.00035. The real case: Wen, Yin 2013; Tagare 2011.
"""

import torch
from torch import Tensor

from stablebench.errors import UserError
from stablebench.training.updates.group import FARTHEST, MultiplicativeUpdate, deviation, newton_schulz, skew_part


class CayleyUpdate(MultiplicativeUpdate):
    """Gradient descent on the unitary group; the module docstring has the equation.

    Its parameters are unitary matrices as real and imaginary parts, (2, n, n).
    """

    def moved(self, W: Tensor, G: Tensor, eta: float) -> Tensor:
        """Return W after one update, (2, n, n)."""
        new = updated(as_complex(W), as_complex(G), eta)
        return torch.stack([new.real, new.imag])

    def refuse_unless_in_group(self, W: Tensor) -> None:
        """Raise `UserError` unless W is the pair of parts of a unitary matrix."""
        if W.ndim != 3 or W.shape[0] != 2 or W.shape[1] != W.shape[2]:
            raise UserError(
                f"the Cayley update needs real and imaginary parts of square matrices, (2, n, n), got {tuple(W.shape)}."
            )
        off = deviation(as_complex(W))
        if not off <= FARTHEST:
            raise UserError(
                f"the Cayley update needs a unitary matrix to start from, got max |W^H W - I| = {off:.3g}; "
                "take the Q of a complex matrix's QR decomposition."
            )


def updated(W: Tensor, G: Tensor, eta: float) -> Tensor:
    """Return (I + eta/2 A)^-1 (I - eta/2 A) W, unitary up to rounding.

    Args:
        W: A unitary matrix (n, n), complex.
        G: The gradient of the loss in W, (n, n), complex: in the real part plus i times in the imaginary part.
        eta: The learning rate.
    """
    half = eta / 2 * skew_part(W, G)
    eye = torch.eye(len(W), dtype=W.dtype, device=W.device)
    return newton_schulz(torch.linalg.solve(eye + half, W - half @ W))


def as_complex(parts: Tensor) -> Tensor:
    """Return the complex tensor of its real and imaginary parts (2, ...); narrow types become complex64."""
    wide = parts.to(torch.promote_types(parts.dtype, torch.float32))
    return torch.complex(wide[0], wide[1])
