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
Differs from the paper: none known in the equation. The exponential is a scaled and squared Taylor polynomial, and its
    gradient that polynomial's. The parameters are the hidden (hidden - 1) / 2 entries of A above its diagonal.
"""

from typing import Literal

import torch
from torch import Tensor, nn

from stablebench.models.base import ParameterGroup, RecurrentModel, State, with_main_group
from stablebench.models.blocks.activations import Activation, activation, modrelu
from stablebench.models.blocks.orthogonal import BlockInit, SkewExponential, block_angles
from stablebench.models.blocks.readouts import ReadoutInit, initialise
from stablebench.models.claims.claim import Claim, largest_singular_value_at_most, stays_orthogonal
from stablebench.models.registry import register_model


@register_model
class ExpRNN(RecurrentModel):
    """See the module docstring for the equation.

    Args:
        in_features: Width of x_t.
        hidden: Width of h_t.
        activation: modrelu, or phi.
        init: What the angles of A's blocks are drawn from.
        readout_init: How the readout starts; kaiming in the authors' copying script, default in their pixel one.
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
        self.V = nn.Parameter(nn.init.kaiming_normal_(torch.empty(hidden, in_features), nonlinearity="relu"))
        self.b = nn.Parameter(torch.empty(hidden).uniform_(-0.01, 0.01))

    def initialise_readout(self, readout: nn.Linear) -> None:
        """Draw the readout as `readout_init` says."""
        initialise(readout, self.readout_init)

    def input_projection(self, x: Tensor) -> Tensor:
        """Return V x_t, with + b unless the activation is modrelu, (batch, time, hidden)."""
        return nn.functional.linear(x, self.V, None if self.activation == "modrelu" else self.b)

    def recurrent_weights(self) -> tuple[Tensor, Tensor]:
        """Return W, transposed for states in rows, and b."""
        return self.W().T, self.b

    def recurrent_matrix(self) -> Tensor:
        """Return W."""
        return self.W()

    def step(self, projected: Tensor, state: State, recurrent_weights: tuple[Tensor, Tensor]) -> State:
        """Return h_t."""
        (h,) = state
        W, b = recurrent_weights
        z = projected + h @ W
        return (modrelu(z, b) if self.activation == "modrelu" else activation(self.activation, z),)

    def orthogonal_matrices(self) -> dict[str, Tensor]:
        """Return W."""
        return {"W": self.W()}

    def claims(self) -> list[Claim]:
        """Return that W is orthogonal, and that the Jacobian does not explode for it."""
        return [
            Claim("||W^T W - I|| = 0", "none", lambda e: stays_orthogonal(e, self.W()), about="weights"),
            Claim(
                "log10 of the largest singular value of dh_T/dh_1 <= 0",
                "|phi'| <= 1, as for all activations here",
                lambda e: largest_singular_value_at_most(e, 0.0),
            ),
        ]

    def parameter_groups(self) -> list[ParameterGroup]:
        """Return `main` and `orthogonal`, the entries of A."""
        return with_main_group(self, ParameterGroup("orthogonal", [self.W.upper]))
