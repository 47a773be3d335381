r"""FastRNN: an Elman step added to the state, both with a weight that is learned.

Equation (section 3.1 of the paper):

    c_t = phi(W x_t + U h_{t-1} + b)
    h_t = alpha c_t + beta h_{t-1},    alpha = sigmoid(a), beta = sigmoid(b')

Shapes: x_t (batch, in); c_t, h_t (batch, hidden); W (hidden, in), U (hidden, hidden), or W1 W2^T and U1 U2^T with
    `rank_w` and `rank_u` columns each; b (hidden); a, b' are scalars, `mixing`.
Parameters: `hidden * (hidden + inputs + 1) + 2`.
Cost per step: `hidden * (hidden + inputs)` multiply-adds; `hidden * rank` for each side of a factored matrix.
Init: W, U (or their factors) 0.1 N(0, 1), b = 1, a = -3 and b' = 3, so alpha 0.047 and beta 0.953: as in the authors'
    code.
Stability claim: with s = ||U||_2, |phi'| <= 1 and alpha s < beta, the singular values of dh_T/dh_t lie in
    [(beta - alpha s)^(T-t), (beta + alpha s)^(T-t)], so for beta = 1 - alpha and alpha = O(1 / T) its condition number
    does not grow with T (section 3.1.1, theorem 3.1's remark). Asserted in tests/models/test_fastrnn.py.
Reference: Kusupati, Singh, Bhatia, Kumar, Jain, Varma. FastGRNN: A Fast, Accurate, Stable and Tiny Kilobyte Sized Gated
    Recurrent Neural Network. NeurIPS 2018. https://arxiv.org/abs/1901.02358
Differs from the paper:
    - No sparsity and no quantisation.
    - The paper gives the bound for the condition number; here it is split into its two ends.
    - The initialisation is that of the authors' code.
    - Numbers of sections are from memory.
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn

from stablebench.models.base import RecurrentModel, State
from stablebench.models.blocks.activations import Activation, activation
from stablebench.models.blocks.low_rank import Factored, applied
from stablebench.models.claims.claim import Claim, Evidence, Outcome, singular_values_within
from stablebench.models.registry import register_model
from stablebench.schema.strict import Count

Weights = tuple[tuple[Tensor, ...], Tensor, Tensor]


@register_model
class FastRNN(RecurrentModel):
    """See the module docstring for the equation.

    Args:
        in_features: Number of input features, the width of x_t, >= 1.
        hidden: Number of units, the width of the state h_t, >= 1.
        activation: Elementwise nonlinearity phi of the update: `tanh`, `relu`, `abs`, `leaky_relu` (slope 0.01 below 0)
            or `identity`.
        alpha_start: Initial argument a of the sigmoid that gives alpha, the weight of the candidate.
        beta_start: Initial argument b' of the sigmoid that gives beta, the weight of the previous state.
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
        activation: Activation = "tanh",
        alpha_start: float = -3.0,
        beta_start: float = 3.0,
        rank_w: Count | None = None,
        rank_u: Count | None = None,
    ) -> None:
        super().__init__(in_features, hidden)
        self.activation: Activation = activation
        self.W = Factored(hidden, in_features, rank_w, scale=0.1, argument="rank_w")
        self.U = Factored(hidden, hidden, rank_u, scale=0.1, argument="rank_u")
        self.b = nn.Parameter(torch.ones(hidden))
        self.mixing = nn.Parameter(torch.tensor([alpha_start, beta_start]))

    def input_projection(self, x: Float[Tensor, "batch time in"]) -> Float[Tensor, "batch time hidden"]:
        """Return W x_t + b, (batch, time, hidden)."""
        return applied(x, self.W.transposed()) + self.b

    def recurrent_weights(self) -> Weights:
        """Return U, transposed for states in rows, in its factors; alpha and beta as one value a unit."""
        alpha, beta = torch.sigmoid(self.mixing)[:, None].expand(2, self.hidden).unbind(0)
        return self.U.transposed(), alpha, beta

    def step(self, projected: Float[Tensor, "batch hidden"], state: State, recurrent_weights: Weights) -> State:
        """Return h_t."""
        (h,) = state
        U, alpha, beta = recurrent_weights
        return (alpha * activation(self.activation, projected + applied(h, U)) + beta * h,)

    def claims(self) -> list[Claim]:
        """Return the bounds on the Jacobian, for the chain's own number of steps N."""
        alpha, beta = torch.sigmoid(self.mixing.detach().double()).tolist()
        s = torch.linalg.matrix_norm(self.U().detach(), 2).item()

        def check(e: Evidence) -> Outcome:
            low = e.steps * math.log(beta - alpha * s) if alpha * s < beta else -math.inf
            high = e.steps * math.log(beta + alpha * s)
            return singular_values_within(e, low, high, 2 * e.steps * e.weights_eps).under_hypothesis(alpha * s < beta)

        return [
            Claim(
                "log10 of the singular values of dh_T/dh_1 within N log10(beta - alpha s) ... N log10(beta + alpha s)",
                "alpha s < beta with s = ||U||; |phi'| <= 1",
                check,
            )
        ]
