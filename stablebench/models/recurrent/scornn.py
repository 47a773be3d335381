r"""scoRNN: the recurrent matrix is a scaled Cayley transform of a skew-symmetric one, so it stays orthogonal.

Equation:

    h_t = modrelu(W h_{t-1} + V x_t, b)        modrelu(z, b) = sign(z) relu(|z| + b)
    W = (I + A)^-1 (I - A) D,  A = -A^T,  D diagonal with `negative_ones` entries -1, the others 1

Shapes: x_t (batch, in), h_t (batch, hidden), W, A, D (hidden, hidden), V (hidden, in), b (hidden).
Parameters: `hidden * (hidden - 1) / 2 + hidden * (inputs + 1)`.
Cost per step: `hidden * (hidden + inputs)` multiply-adds; W is built once per pass: a linear system with hidden right
    sides.
Init: A block-diagonal with 2 x 2 blocks [[0, s], [-s, 0]], s = sqrt((1 - cos t) / (1 + cos t)) = tan(t/2) with
    t ~ U(0, pi/2), so that the transform starts as rotations by the angles t; a last coordinate of odd sizes has no
    block. V Glorot uniform, b = 0.
Stability claim: W^T W = I whatever the optimiser does to A, det W = (-1)^`negative_ones`. Without D no W has the
    eigenvalue -1; with the right D every orthogonal W can be had (theorem 3.1). The Jacobian diag(modrelu') W has norm
    <= 1. Asserted in tests/models/test_scornn.py.
Reference: Helfrich, Willmott, Ye. Orthogonal Recurrent Neural Networks with Scaled Cayley Transform. ICML 2018.
    https://arxiv.org/abs/1707.09520
Differs from the paper:
    - The parameters are the hidden (hidden - 1) / 2 entries of A above its diagonal, whose gradients are the entries of
      the paper's (asserted).
    - `negative_ones` is tuned there, half of the units for copying. It does not state which units have them: here the
      first.
    - Paper and code initialise V and b differently: Glorot and 0 are ours.
    - h_0 = 0.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from stablebench.errors import UserError
from stablebench.models.blocks.orthogonal_rnn import OrthogonalRNN
from stablebench.models.blocks.skew_exponential import SkewExponential, block_angles
from stablebench.models.blocks.unitary import cayley
from stablebench.models.registry import register_model
from stablebench.schema.strict import NonNegativeInt


@register_model
class ScoRNN(OrthogonalRNN):
    """See the module docstring for the equation.

    Args:
        in_features: Number of input features, the width of x_t, >= 1.
        hidden: Number of units, the width of the state h_t, >= 1.
        negative_ones: Number of entries -1 in the diagonal matrix D, >= 0 and at most hidden; null for half of them,
            rounded down.
    """

    D: Tensor
    hypothesis = "none: modrelu' is 0 or 1"

    def __init__(self, in_features: int, hidden: int, *, negative_ones: NonNegativeInt | None = None) -> None:
        super().__init__(in_features, hidden)
        negative_ones = hidden // 2 if negative_ones is None else negative_ones
        if negative_ones > hidden:
            raise UserError(
                f"`negative_ones` must be <= {hidden}, the hidden width (D has as many entries), got {negative_ones}."
            )
        self.A = SkewExponential(hidden, block_angles("cayley", hidden // 2))  # keeps A; its exponential is not used
        self.add_input_map("glorot")
        signs = torch.ones(hidden)
        signs[:negative_ones] = -1
        self.register_buffer("D", signs, persistent=False)

    def orthogonal(self) -> Float[Tensor, "hidden hidden"]:
        """Return W = (I + A)^-1 (I - A) D."""
        return cayley(self.A.skew()) * self.D

    def orthogonal_parameters(self) -> list[nn.Parameter]:
        """Return the entries of A."""
        return [self.A.upper]
