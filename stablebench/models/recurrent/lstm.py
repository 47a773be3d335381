r"""LSTM: long short-term memory with forget gates.

Equation:

    i, f, g, o = W h_{t-1} + V x_t + b          (four blocks)
    c_t = sigmoid(f) * c_{t-1} + sigmoid(i) * tanh(g)
    h_t = sigmoid(o) * tanh(c_t)

Shapes: x_t (batch, in); h_t, c_t (batch, hidden); W (4 hidden, hidden); V (4 hidden, in); b (4 hidden). The states are
    (h, c), the output is h.
Parameters: `4 * hidden * (hidden + inputs + 1)`.
Cost per step: `4 * hidden * (hidden + inputs)` multiply-adds.
Init: all U(-1/sqrt(hidden), 1/sqrt(hidden)) as torch.nn.LSTM, b the sum of two such draws; `forget_bias` is added to
    b's forget block. `recurrent_init` orthogonal makes each of W's four blocks a random orthogonal matrix (roaRNN).
Stability claim: none for the whole Jacobian; dc_t/dc_{t-1} along the cell is diag(sigmoid(f)) <= 1. Asserted in
    tests/models/test_torch_parity.py.
Reference: Hochreiter, Schmidhuber. Long Short-Term Memory. Neural Computation 9, 1997. Forget gates: Gers,
    Schmidhuber, Cummins. Learning to Forget. Neural Computation 12, 2000.
Differs from the paper: torch's two biases are one, initialised as their sum; no peepholes.
"""

import math
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from stablebench.models.base import State
from stablebench.models.blocks.affine_input import AffineInput
from stablebench.models.claims.claim import Claim, states_grow_at_most
from stablebench.models.registry import register_model

Weights = Float[Tensor, "hidden {4*self.hidden}"]


@register_model
class LSTM(AffineInput):
    """See the module docstring for the equation.

    Args:
        in_features: Number of input features, the width of x_t, >= 1.
        hidden: Number of units, the width of h_t and c_t, >= 1.
        recurrent_init: Initial recurrent matrix W: `default` uniform in +-1/sqrt(hidden), `orthogonal` each of its
            blocks a random orthogonal matrix.
        forget_bias: Constant added to the initial bias of the forget gates; larger values keep c_t longer.
    """

    def __init__(
        self,
        in_features: int,
        hidden: int,
        *,
        recurrent_init: Literal["default", "orthogonal"] = "default",
        forget_bias: float = 0.0,
    ) -> None:
        super().__init__(in_features, hidden)
        bound = 1 / math.sqrt(hidden)
        self.W = nn.Parameter(torch.empty(4 * hidden, hidden).uniform_(-bound, bound))
        self.V = nn.Parameter(torch.empty(4 * hidden, in_features).uniform_(-bound, bound))
        self.b = nn.Parameter(torch.empty(2, 4 * hidden).uniform_(-bound, bound).sum(0))
        with torch.no_grad():
            self.b[hidden : 2 * hidden] += forget_bias
            if recurrent_init == "orthogonal":
                for block in self.W.chunk(4):
                    nn.init.orthogonal_(block)

    @property
    def state_sizes(self) -> tuple[int, ...]:
        """The widths of h and c."""
        return (self.hidden, self.hidden)

    def recurrent_weights(self) -> Weights:
        """Return W, transposed for states in rows."""
        return self.W.T

    def step(
        self, projected: Float[Tensor, "batch {4*self.hidden}"], state: State, recurrent_weights: Weights
    ) -> State:
        """Return (h_t, c_t)."""
        h, c = state
        i, f, g, o = (projected + h @ recurrent_weights).chunk(4, dim=-1)
        c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
        return torch.sigmoid(o) * torch.tanh(c), c

    def claims(self) -> list[Claim]:
        """Return how fast the cell may grow, and that the output is bounded."""
        n = self.hidden
        return [
            Claim(
                "|c_t| - |c_{t-1}| <= 1 in every unit: largest",
                "none",
                lambda e: states_grow_at_most(e, slice(n, 2 * n), 0.0, 1.0),
            ),
            Claim("|h_t| <= 1: largest excess", "none", lambda e: states_grow_at_most(e, slice(0, n), 1.0)),
        ]
