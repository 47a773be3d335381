r"""expRNN: the recurrent matrix is the exponential of a skew-symmetric one, so it stays orthogonal.

Equation (section 4 of the paper):

    h_t = modrelu(W h_{t-1} + V x_t, b)        modrelu(z, b) = sign(z) relu(|z| + b)
    W = expm(A),  A = -A^T

    With another activation phi:  h_t = phi(W h_{t-1} + V x_t + b).

Shapes: x_t (batch, in), h_t (batch, hidden), W, A (hidden, hidden), V (hidden, in), b (hidden).
Parameters: `hidden * (hidden - 1) / 2 + hidden * (inputs + 1)`.
Cost per step: `hidden * (hidden + inputs)` multiply-adds; W is built once per pass: an exponential.
Init: A block-diagonal with 2 x 2 blocks [[0, t], [-t, 0]], `henaff` t ~ U(-pi, pi) or `cayley` t = tan(u/2),
    u ~ U(0, pi/2); a last coordinate of odd sizes has no block. V Kaiming normal N(0, 2/in), b ~ U(-0.01, 0.01). The
    readout starts by `readout_init`: torch's default, or as in the authors' copying script N(0, 2/hidden) with bias 0
    (kaiming).
Stability claim: W^T W = I whatever the optimiser does to A. Asserted in tests/models/test_exprnn.py. The Jacobian
    diag(phi') W then has norm <= 1 for |phi'| <= 1; it vanishes only through units where phi' < 1.
Reference: Lezcano-Casado, Martínez-Rubio. Cheap Orthogonal Constraints in Neural Networks: A Simple Parametrization of
    the Orthogonal and Unitary Group. ICML 2019. https://arxiv.org/abs/1901.08428
Differs from the paper:
    - None known in the equation.
    - The exponential is a scaled and squared Taylor polynomial, and its gradient that polynomial's.
    - The parameters are the hidden (hidden - 1) / 2 entries of A above its diagonal.
"""

from typing import Literal

from jaxtyping import Float
from torch import Tensor, nn

from stablebench.models.blocks.activations import Activation
from stablebench.models.blocks.orthogonal_rnn import OrthogonalRNN
from stablebench.models.blocks.readouts import ReadoutInit
from stablebench.models.blocks.skew_exponential import BlockInit, SkewExponential, block_angles
from stablebench.models.registry import register_model


@register_model
class ExpRNN(OrthogonalRNN):
    """See the module docstring for the equation.

    Args:
        in_features: Number of input features, the width of x_t, >= 1.
        hidden: Number of units, the width of the state h_t, >= 1.
        activation: Nonlinearity of the update: `modrelu` with trained thresholds, or elementwise `tanh`, `relu`, `abs`,
            `leaky_relu` (slope 0.01 below 0) or `identity`.
        init: Distribution of the initial angles of A's 2 x 2 blocks: `henaff` uniform in (-pi, pi), `cayley` tan(u/2)
            with u uniform in (0, pi/2).
        readout_init: Distribution of the readout's initial weights: `default` as torch.nn.Linear's, `kaiming` N(0, 2 /
            hidden) or `xavier` N(0, 2 / (hidden + outputs)), both with bias 0. The authors' copying script has kaiming,
            their pixel script default.
    """

    added_arguments = (("readout_init", "default"),)

    def __init__(
        self,
        in_features: int,
        hidden: int,
        *,
        activation: Literal["modrelu"] | Activation = "modrelu",
        init: BlockInit = "henaff",
        readout_init: ReadoutInit = "default",
    ) -> None:
        super().__init__(in_features, hidden)
        self.activation: Literal["modrelu"] | Activation = activation
        self.readout_init: ReadoutInit = readout_init
        self.W = SkewExponential(hidden, block_angles(init, hidden // 2))
        self.add_input_map("kaiming")

    def orthogonal(self) -> Float[Tensor, "hidden hidden"]:
        """Return W = expm(A)."""
        return self.W()

    def orthogonal_parameters(self) -> list[nn.Parameter]:
        """Return the entries of A."""
        return [self.W.upper]
