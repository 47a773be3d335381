r"""FastGRNN: one gate, which shares its matrices with the candidate.

Equation (section 3.2 of the paper):

    z_t = sigmoid(W x_t + U h_{t-1} + b_z)
    c_t = tanh(W x_t + U h_{t-1} + b_h)
    h_t = (zeta (1 - z_t) + nu) * c_t + z_t * h_{t-1},    zeta = sigmoid(.), nu = sigmoid(.)

Shapes: x_t (batch, in); z_t, c_t, h_t (batch, hidden); W (hidden, in), U (hidden, hidden), or W1 W2^T and U1 U2^T with
    `rank_w` and `rank_u` columns each; b_z, b_h (hidden); the arguments of the two sigmoids are scalars, `mixing`.
Parameters: `hidden * (hidden + inputs + 2) + 2`.
Cost per step: `hidden * (hidden + inputs)` multiply-adds; `hidden * rank` for each side of a factored matrix.
Init: W, U (or their factors) 0.1 N(0, 1), b_z = b_h = 1, sigmoid(1) = 0.73 for zeta and sigmoid(-4) = 0.018 for nu: as
    in the authors' code.
Stability claim: none is proved of the Jacobian. One step moves a unit to zeta (1 - z) c + z h, which is within the
    larger of zeta and |h|, and adds at most nu: |h_t| <= max(zeta, |h_{t-1}|) + nu; with nu = 0 and zeta = 1 it is a
    convex combination. Asserted in tests/models/test_fastgrnn.py.
Reference: Kusupati, Singh, Bhatia, Kumar, Jain, Varma. FastGRNN: A Fast, Accurate, Stable and Tiny Kilobyte Sized Gated
    Recurrent Neural Network. NeurIPS 2018. https://arxiv.org/abs/1901.02358
Differs from the paper:
    - No sparsity (its iterative hard thresholding) and no quantisation.
    - The initialisation is that of the authors' code.
    - The bound on |h_t| is ours.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from stablebench.models.base import RecurrentModel, State
from stablebench.models.blocks.low_rank import Factored, applied
from stablebench.models.claims.claim import Claim, Evidence, Outcome, states_grow_at_most
from stablebench.models.registry import register_model
from stablebench.schema.strict import Count

Weights = tuple[tuple[Tensor, ...], Tensor, Tensor, Tensor, Tensor]


@register_model
class FastGRNN(RecurrentModel):
    """See the module docstring for the equation.

    Args:
        in_features: Number of input features, the width of x_t, >= 1.
        hidden: Number of units, the width of the state h_t, >= 1.
        zeta_start: Initial argument of the sigmoid that gives zeta, the weight of the gated candidate.
        nu_start: Initial argument of the sigmoid that gives nu, the weight of the candidate regardless of the gate.
        rank_w: Rank of the input matrix W as a product of two thin matrices, >= 1 and at most its smaller side; null
            for a full matrix.
        rank_u: Rank of the recurrent matrix U as a product of two thin matrices, >= 1 and at most its smaller side;
            null for a full matrix.
    """

    def __init__(
        self,
        in_features: int,
        hidden: int,
        *,
        zeta_start: float = 1.0,
        nu_start: float = -4.0,
        rank_w: Count | None = None,
        rank_u: Count | None = None,
    ) -> None:
        super().__init__(in_features, hidden)
        self.W = Factored(hidden, in_features, rank_w, scale=0.1, argument="rank_w")
        self.U = Factored(hidden, hidden, rank_u, scale=0.1, argument="rank_u")
        self.b_z = nn.Parameter(torch.ones(hidden))
        self.b_h = nn.Parameter(torch.ones(hidden))
        self.mixing = nn.Parameter(torch.tensor([zeta_start, nu_start]))

    def input_projection(self, x: Float[Tensor, "batch time in"]) -> Float[Tensor, "batch time hidden"]:
        """Return W x_t, (batch, time, hidden)."""
        return applied(x, self.W.transposed())

    def recurrent_weights(self) -> Weights:
        """Return U, transposed for states in rows, in its factors; b_z, b_h, zeta and nu, one value a unit."""
        zeta, nu = torch.sigmoid(self.mixing)[:, None].expand(2, self.hidden).unbind(0)
        return self.U.transposed(), self.b_z, self.b_h, zeta, nu

    def step(self, projected: Float[Tensor, "batch hidden"], state: State, recurrent_weights: Weights) -> State:
        """Return h_t."""
        (h,) = state
        U, b_z, b_h, zeta, nu = recurrent_weights
        shared = projected + applied(h, U)
        z = torch.sigmoid(shared + b_z)
        return ((zeta * (1 - z) + nu) * torch.tanh(shared + b_h) + z * h,)

    def claims(self) -> list[Claim]:
        """Return how far one step may lead."""

        def check(e: Evidence) -> Outcome:
            zeta, nu = torch.sigmoid(self.mixing.detach()).tolist()
            return states_grow_at_most(e, slice(0, self.hidden), zeta, nu)

        return [Claim("|h_t| - max(zeta, |h_{t-1}|) <= nu in every unit: largest", "none", check)]
