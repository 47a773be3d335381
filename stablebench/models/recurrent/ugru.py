r"""uGRU of the poster, in our reading: a GRU whose candidate takes the state through an orthogonal matrix.

Equation:

    r = sigmoid(W_r h_{t-1} + V_r x_t + b_r)
    z = sigmoid(W_z h_{t-1} + V_z x_t + b_z)
    n = tanh(V_n x_t + b_n + r * (W_n h_{t-1} + c_n))
    h_t = (1 - z) * n + z * h_{t-1}

    W_n <- exp(-eta A) W_n,  A = G W_n^T - W_n G^T,  G = dL/dW_n

Shapes: x_t (batch, in), h_t (batch, hidden); W (2 hidden, hidden) with the blocks r, z; W_n (hidden, hidden); V
    (3 hidden, in), b (3 hidden) with the blocks r, z, n; c_n (hidden).
Parameters: `3 * hidden * (hidden + inputs + 1) + hidden`.
Cost per step: `3 * hidden * (hidden + inputs)` multiply-adds; an exponential per update.
Init: W_n a random orthogonal matrix (Haar); all else U(-1/sqrt(hidden), 1/sqrt(hidden)) as `gru`, b_r and b_z the sum
    of two such draws.
Stability claim: W_n^T W_n = I after every update. Asserted in tests/models/test_ugru.py. Nothing is proved of the
    gradient: gates and tanh stand between the states, and the gates' matrices are free. h_t is a convex combination, so
    |h_t| <= max(1, |h_{t-1}|) elementwise.
Reference: poster on uRNN and uGRU with bounded gradients (authors not identified).
Differs from the paper:
    - It gives perplexities of a uGRU and no equation. This is `gru` with the poster's update rule for the one matrix
      that does in a GRU what W does in its uRNN; the gates' matrices, to which the rule could apply as well, are left
      to the optimiser.
    - The reset gate is applied after the product, as in torch, so that W_n acts on h_{t-1}.
"""

import math

import torch
from torch import Tensor, nn

from stablebench.models.base import ParameterGroup, with_main_group
from stablebench.models.claims.claim import Claim, stays_orthogonal
from stablebench.models.recurrent.gru import GatedUnit, Weights
from stablebench.models.registry import register_model


@register_model
class UGRU(GatedUnit):
    """See the module docstring for the equation.

    Args:
        in_features: Number of input features, the width of x_t, >= 1.
        hidden: Number of units, the width of the state h_t, >= 1.
    """

    def __init__(self, in_features: int, hidden: int) -> None:
        super().__init__(in_features, hidden)
        bound = 1 / math.sqrt(hidden)
        self.W = nn.Parameter(torch.empty(2 * hidden, hidden).uniform_(-bound, bound))
        self.W_n = nn.Parameter(nn.init.orthogonal_(torch.empty(hidden, hidden)))
        self.V = nn.Parameter(torch.empty(3 * hidden, in_features).uniform_(-bound, bound))
        self.b = nn.Parameter(torch.empty(3 * hidden).uniform_(-bound, bound))
        self.c_n = nn.Parameter(torch.empty(hidden).uniform_(-bound, bound))
        with torch.no_grad():
            self.b[: 2 * hidden] += torch.empty(2 * hidden).uniform_(-bound, bound)

    def recurrent_weights(self) -> Weights:
        """Return W and W_n in one matrix, transposed for states in rows, and c_n."""
        return torch.cat([self.W, self.W_n]).T, self.c_n

    def orthogonal_matrices(self) -> dict[str, Tensor]:
        """Return W_n."""
        return {"W_n": self.W_n}

    def claims(self) -> list[Claim]:
        """Return that W_n is orthogonal, and that the state is a convex combination."""
        return [
            Claim("||W_n^T W_n - I|| = 0", "none", lambda e: stays_orthogonal(e, self.W_n), about="weights"),
            *super().claims(),
        ]

    def parameter_groups(self) -> list[ParameterGroup]:
        """Return W_n in `orthogonal`, under the exponential update, and the rest in `main`."""
        return with_main_group(self, ParameterGroup("orthogonal", [self.W_n], rule="exponential"))
