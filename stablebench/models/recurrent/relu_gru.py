r"""ReLU GRU: a gated recurrent unit whose candidate is a ReLU.

Equation:

    r = sigmoid(W_r h_{t-1} + V_r x_t + b_r)
    z = sigmoid(W_z h_{t-1} + V_z x_t + b_z)
    n = relu(W_n (r * h_{t-1}) + V_n x_t + b_n)
    h_t = (1 - z) * h_{t-1} + z * n

Shapes: x_t (batch, in), h_t (batch, hidden); W (3 hidden, hidden), V (3 hidden, in), b (3 hidden) with the blocks
    r, z, n.
Parameters: `3 * hidden * (hidden + inputs + 1)`.
Cost per step: `3 * hidden * (hidden + inputs)` multiply-adds.
Init: each of W's three blocks a random orthogonal matrix, each of V's three Glorot uniform, b = 0, as Keras has it.
Stability claim: none, and no bound on the state either: n has none. From h_0 >= 0 the state stays >= 0. Asserted in
    tests/models/test_relu_gru.py.
Reference: Dey, Salem. Gate-Variants of Gated Recurrent Unit (GRU) Neural Networks. MWSCAS 2017.
    https://arxiv.org/abs/1701.05923. The coRNN paper's table 4 quotes it as ReLU GRU. Equations: Cho et al. 2014.
    https://arxiv.org/abs/1406.1078
Differs from the paper:
    - Only its full gates (GRU0) are here, not the three variants with fewer parameters.
    - The printed 99k parameters for IMDB are 3 hidden (hidden + inputs + 1) with 128 units and inputs of 128, not the
      100 of GloVe.
    - The initialisation is ours: the paper could not be read again for it.
    - The reset gate acts before the recurrent product, unlike in `gru`.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from stablebench.models.base import State
from stablebench.models.blocks.affine_input import AffineInput
from stablebench.models.claims.claim import Claim, at_most
from stablebench.models.registry import register_model

Weights = tuple[Float[Tensor, "hidden {2*self.hidden}"], Float[Tensor, "hidden hidden"]]


@register_model
class ReluGRU(AffineInput):
    """See the module docstring for the equation.

    Args:
        in_features: Number of input features, the width of x_t, >= 1.
        hidden: Number of units, the width of the state h_t, >= 1.
    """

    def __init__(self, in_features: int, hidden: int) -> None:
        super().__init__(in_features, hidden)
        self.W = nn.Parameter(torch.cat([nn.init.orthogonal_(torch.empty(hidden, hidden)) for _ in range(3)]))
        self.V = nn.Parameter(torch.cat([nn.init.xavier_uniform_(torch.empty(hidden, in_features)) for _ in range(3)]))
        self.b = nn.Parameter(torch.zeros(3 * hidden))

    def recurrent_weights(self) -> Weights:
        """Return the blocks r, z and the block n of W, transposed for states in rows."""
        return self.W[: 2 * self.hidden].T, self.W[2 * self.hidden :].T

    def step(
        self, projected: Float[Tensor, "batch {3*self.hidden}"], state: State, recurrent_weights: Weights
    ) -> State:
        """Return h_t."""
        (h,) = state
        gates, W_n = recurrent_weights
        drive_r, drive_z, drive_n = projected.chunk(3, dim=-1)
        hidden_r, hidden_z = (h @ gates).chunk(2, dim=-1)
        r = torch.sigmoid(drive_r + hidden_r)
        z = torch.sigmoid(drive_z + hidden_z)
        n = torch.relu(drive_n + (r * h) @ W_n)
        return ((1 - z) * h + z * n,)

    def claims(self) -> list[Claim]:
        """Return that the state keeps its sign."""
        return [
            Claim(
                "h_t >= 0: largest -h_t",
                "h_0 >= 0, as the start from zeros is",
                lambda e: at_most(-e.states[:, :, : self.hidden].min().item(), 0.0),
            )
        ]
