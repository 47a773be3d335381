r"""GRU: gated recurrent unit.

Equation:

    r = sigmoid(W_r h_{t-1} + V_r x_t + b_r)
    z = sigmoid(W_z h_{t-1} + V_z x_t + b_z)
    n = tanh(V_n x_t + b_n + r * (W_n h_{t-1} + c_n))
    h_t = (1 - z) * n + z * h_{t-1}

Shapes: x_t (batch, in), h_t (batch, hidden); W (3 hidden, hidden), V (3 hidden, in), b (3 hidden) with the blocks
    r, z, n; c_n (hidden).
Parameters: `3 * hidden * (hidden + inputs + 1) + hidden`.
Cost per step: `3 * hidden * (hidden + inputs)` multiply-adds.
Init: all U(-1/sqrt(hidden), 1/sqrt(hidden)) as torch.nn.GRU, b_r and b_z the sum of two such draws. `recurrent_init`
    orthogonal makes each of W's three blocks a random orthogonal matrix.
Stability claim: none; h_t is a convex combination, so |h_t| <= max(1, |h_{t-1}|) elementwise. Asserted in
    tests/models/test_torch_parity.py.
Reference: Cho et al. Learning Phrase Representations using RNN Encoder-Decoder. EMNLP 2014.
    https://arxiv.org/abs/1406.1078
Differs from the paper: the reset gate is applied after the recurrent product, as in torch and cuDNN.
"""

import abc
import math
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from stablebench.models.base import State
from stablebench.models.blocks.affine_input import AffineInput
from stablebench.models.claims.claim import Claim, states_grow_at_most
from stablebench.models.registry import register_model

Weights = tuple[Float[Tensor, "hidden {3*self.hidden}"], Float[Tensor, " hidden"]]


class GatedUnit(AffineInput):
    """The equation of the module; subclasses draw the parameters, here and in `ugru`, and write `recurrent_weights`."""

    @abc.abstractmethod
    def recurrent_weights(self) -> Weights:
        """Return W_r, W_z and W_n in one matrix, transposed for states in rows, and c_n."""

    def step(
        self, projected: Float[Tensor, "batch {3*self.hidden}"], state: State, recurrent_weights: Weights
    ) -> State:
        """Return h_t."""
        (h,) = state
        W, c_n = recurrent_weights
        drive_r, drive_z, drive_n = projected.chunk(3, dim=-1)
        hidden_r, hidden_z, hidden_n = (h @ W).chunk(3, dim=-1)
        r = torch.sigmoid(drive_r + hidden_r)
        z = torch.sigmoid(drive_z + hidden_z)
        n = torch.tanh(drive_n + r * (hidden_n + c_n))
        return ((1 - z) * n + z * h,)

    def claims(self) -> list[Claim]:
        """Return that the state is a convex combination."""
        return [
            Claim(
                "|h_t| <= max(1, |h_{t-1}|) in every unit: largest excess",
                "none",
                lambda e: states_grow_at_most(e, slice(0, self.hidden), 1.0),
            )
        ]


@register_model
class GRU(GatedUnit):
    """See the module docstring for the equation.

    Args:
        in_features: Number of input features, the width of x_t, >= 1.
        hidden: Number of units, the width of the state h_t, >= 1.
        recurrent_init: Initial recurrent matrix W: `default` uniform in +-1/sqrt(hidden), `orthogonal` each of its
            blocks a random orthogonal matrix.
    """

    def __init__(
        self, in_features: int, hidden: int, *, recurrent_init: Literal["default", "orthogonal"] = "default"
    ) -> None:
        super().__init__(in_features, hidden)
        bound = 1 / math.sqrt(hidden)
        self.W = nn.Parameter(torch.empty(3 * hidden, hidden).uniform_(-bound, bound))
        self.V = nn.Parameter(torch.empty(3 * hidden, in_features).uniform_(-bound, bound))
        self.b = nn.Parameter(torch.empty(3 * hidden).uniform_(-bound, bound))
        self.c_n = nn.Parameter(torch.empty(hidden).uniform_(-bound, bound))
        with torch.no_grad():
            self.b[: 2 * hidden] += torch.empty(2 * hidden).uniform_(-bound, bound)
            if recurrent_init == "orthogonal":
                for block in self.W.chunk(3):
                    nn.init.orthogonal_(block)

    def recurrent_weights(self) -> Weights:
        """Return W, transposed for states in rows, and c_n."""
        return self.W.T, self.c_n
