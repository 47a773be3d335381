r"""dtriv: expRNN with a base point that follows the matrix, a dynamic trivialisation of the orthogonal group.

Equation, K = `change_base_every`:

    h_t = modrelu(W h_{t-1} + V x_t, b)        modrelu(z, b) = sign(z) relu(|z| + b)
    W = B expm(A),  A = -A^T
    every K updates:  B <- B expm(A),  A <- 0

    With another activation phi:  h_t = phi(W h_{t-1} + V x_t + b).

Shapes: x_t (batch, in), h_t (batch, hidden), W, A, B (hidden, hidden), V (hidden, in), b (hidden).
Parameters: `hidden * (hidden - 1) / 2 + hidden * (inputs + 1)`.
Cost per step: `hidden * (hidden + inputs)` multiply-adds; W is built once per pass: an exponential and a product.
Init: as expRNN: W = expm(A_0) with 2 x 2 blocks by `init`, V Kaiming normal N(0, 2/in), b ~ U(-0.01, 0.01). With K > 0
    it starts from a base, B = expm(A_0) and A = 0; with K = 0, never, from B = I and A = A_0, and then it is expRNN.
    The readout starts as expRNN's.
Stability claim: W^T W = I whatever the optimiser does to A; B stays orthogonal up to rounding through any number of
    changes. A change of base moves no output. With K = 1 gradient descent in A is Riemannian gradient descent,
    W <- W expm(-eta (W^T G - G^T W)), which is urnn's exponential update (both limits: section 5 of the paper).
    Asserted in tests/models/test_dtriv.py. The Jacobian diag(phi') W has norm <= 1 for |phi'| <= 1.
Reference: Lezcano-Casado. Trivializations for Gradient-Based Optimization on Manifolds. NeurIPS 2019.
    https://arxiv.org/abs/1909.09501
Differs from the paper:
    - Each change of base ends with a Newton-Schulz step B <- B (3 I - B^T B) / 2, without which rounding would add up.
      The authors' code projects the base with an SVD after 100 changes.
    - The optimiser's moments of A stay as they are when the base changes: both tangent spaces are skew matrices by left
      translation, so their entries carry over, but they are not transported in parallel, and Adam's and RMSprop's
      second moments depend on the coordinates anyway.
    - A weight decay of A pulls W to B, not to I.
    - The paper's experiments have K = 1 and 100.
    - The authors' code changes the base within the pass before the K-th update, after W was computed: that update then
      moves A from 0 at the new base by the gradient with respect to A at the old one. Here the base changes after the
      update.
"""

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from stablebench.models.blocks.activations import Activation
from stablebench.models.blocks.orthogonal_rnn import OrthogonalRNN
from stablebench.models.blocks.readouts import ReadoutInit
from stablebench.models.blocks.skew_exponential import BlockInit, SkewExponential, block_angles
from stablebench.models.claims.claim import Evidence
from stablebench.models.registry import register_model
from stablebench.schema.strict import NonNegativeInt


@register_model
class DTriv(OrthogonalRNN):
    """See the module docstring for the equation.

    Args:
        in_features: Number of input features, the width of x_t, >= 1.
        hidden: Number of units, the width of the state h_t, >= 1.
        change_base_every: Number K of updates between two changes of the base point, >= 0; 0 for no change.
        activation: Nonlinearity of the update: `modrelu` with trained thresholds, or elementwise `tanh`, `relu`, `abs`,
            `leaky_relu` (slope 0.01 below 0) or `identity`.
        init: Distribution of the initial angles of A_0's 2 x 2 blocks: `henaff` uniform in (-pi, pi), `cayley` tan(u/2)
            with u uniform in (0, pi/2).
        readout_init: Distribution of the readout's initial weights: `default` as torch.nn.Linear's, `kaiming` N(0, 2 /
            hidden) or `xavier` N(0, 2 / (hidden + outputs)), both with bias 0. The authors' copying script has kaiming,
            their pixel script default.
    """

    B: Tensor
    updates: Tensor
    added_arguments = (("readout_init", "default"),)

    def __init__(
        self,
        in_features: int,
        hidden: int,
        *,
        change_base_every: NonNegativeInt = 100,
        activation: Literal["modrelu"] | Activation = "modrelu",
        init: BlockInit = "henaff",
        readout_init: ReadoutInit = "default",
    ) -> None:
        super().__init__(in_features, hidden)
        self.change_base_every = change_base_every
        self.activation: Literal["modrelu"] | Activation = activation
        self.readout_init: ReadoutInit = readout_init
        self.exponential = SkewExponential(hidden, block_angles(init, hidden // 2))
        self.add_input_map("kaiming")
        self.register_buffer("B", torch.eye(hidden))
        self.register_buffer("updates", torch.zeros((), dtype=torch.long))
        if change_base_every:
            self.change_base()

    def orthogonal(self) -> Float[Tensor, "hidden hidden"]:
        """Return W = B expm(A)."""
        return self.B @ self.exponential()

    def orthogonal_parameters(self) -> list[nn.Parameter]:
        """Return the entries of A."""
        return [self.exponential.upper]

    @torch.no_grad()
    def change_base(self) -> None:
        """Move the base to W, and A to 0."""
        W = self.orthogonal()
        self.B.copy_(1.5 * W - 0.5 * W @ (W.T @ W))
        self.exponential.upper.zero_()

    def after_update(self) -> None:
        """Count the update, and change the base after every K."""
        self.updates += 1
        if self.change_base_every and self.updates.item() % self.change_base_every == 0:
            self.change_base()

    def rounding(self, e: Evidence) -> float:
        """Return the rounding of T - 1 products with W; its base B is a rounded matrix."""
        return 8 * e.steps * e.weights_eps
