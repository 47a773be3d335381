r"""uRNN of the poster: the Elman network with an orthogonal recurrent matrix, kept so by an exponential update.

Equation:

    h_t = phi(W h_{t-1} + V x_t + b),    W <- exp(-eta A) W,  A = G W^T - W G^T,  G = dL/dW

Shapes: x_t (batch, in), h_t (batch, hidden), W (hidden, hidden), V (hidden, in), b (hidden).
Parameters: `hidden * (hidden + inputs + 1)`.
Cost per step: `hidden * (hidden + inputs)` multiply-adds; an exponential per update.
Init: W a random orthogonal matrix (Haar), or the unit matrix; V, b U(-1/sqrt(hidden), 1/sqrt(hidden)), b the sum of two
    such, as `rnn`.
Stability claim: for phi' in [alpha, beta], 0 <= alpha, the singular values of dh_T/dh_t are in [alpha^(T-t),
    beta^(T-t)], |phi'| taken for abs: the norm of dL/dh_t is the same for all t with identity, and with abs wherever no
    pre-activation is exactly 0. W^T W = I after every update. Asserted in tests/models/test_urnn.py and
    tests/training/test_exponential_update.py.
Reference: poster on uRNN and uGRU with bounded gradients (authors not identified).
Differs from the paper:
    - It states the bounds for every diagonalisable W, with its eigenvalues; the upper one is false unless W is normal,
      as orthogonal matrices are.
    - It gives no initialisation and no activation for the toy tasks; abs is the best of its three on words.
    - This is not the complex uRNN of Arjovsky, Shah & Bengio 2016; no uGRU.
"""

import math
from typing import Literal

import torch
from torch import Tensor, nn

from stablebench.models.base import ParameterGroup, with_main_group
from stablebench.models.blocks.activations import Activation
from stablebench.models.claims.claim import (
    Claim,
    Evidence,
    Outcome,
    largest_singular_value_at_most,
    smallest_singular_value_at_least,
    stays_orthogonal,
)
from stablebench.models.claims.eigenvalue_bounds import SLOPES, RecurrentSpectrum, at_kink, rounding, table_claim
from stablebench.models.recurrent.rnn import Elman
from stablebench.models.registry import register_model


@register_model
class URNN(Elman):
    """See the module docstring for the equation.

    Args:
        in_features: Number of input features, the width of x_t, >= 1.
        hidden: Number of units, the width of the state h_t, >= 1.
        activation: Elementwise nonlinearity phi of the update: `tanh`, `relu`, `abs`, `leaky_relu` (slope 0.01 below 0)
            or `identity`.
        recurrent_init: Initial W: `orthogonal` a random orthogonal matrix, `identity` the unit matrix. From a random
            matrix nothing is recalled over 50 steps with abs or relu, from the unit matrix a part is, although the
            gradient keeps its norm from the random one (docs/results/why_below.md).
    """

    added_arguments = (("recurrent_init", "orthogonal"),)

    def __init__(
        self,
        in_features: int,
        hidden: int,
        *,
        activation: Activation = "abs",
        recurrent_init: Literal["orthogonal", "identity"] = "orthogonal",
    ) -> None:
        super().__init__(in_features, hidden)
        self.activation = activation
        bound = 1 / math.sqrt(hidden)
        self.W = nn.Parameter(nn.init.orthogonal_(torch.empty(hidden, hidden)))
        self.V = nn.Parameter(torch.empty(hidden, in_features).uniform_(-bound, bound))
        self.b = nn.Parameter(torch.empty(2, hidden).uniform_(-bound, bound).sum(0))
        if recurrent_init == "identity":
            nn.init.eye_(self.W)

    def orthogonal_matrices(self) -> dict[str, Tensor]:
        """Return W."""
        return {"W": self.W}

    def claims(self) -> list[Claim]:
        """Return that W is orthogonal, the poster's two bounds, one claim each, and its table."""
        least, most = SLOPES[self.activation]

        def lower(e: Evidence) -> Outcome:
            low = e.steps * math.log(least) if least else -math.inf
            bound = smallest_singular_value_at_least(e, low, rounding(e))
            return bound.under_hypothesis(not at_kink(e, self.activation))

        return [
            Claim("||W^T W - I|| = 0", "none", lambda e: stays_orthogonal(e, self.W), about="weights"),
            Claim(
                f"log10 of the largest singular value of dh_T/dh_1 <= (T - 1) log10({most:g}) (upper bound)",
                "W normal, here orthogonal",
                lambda e: largest_singular_value_at_most(e, e.steps * math.log(most), rounding(e)),
            ),
            Claim(
                f"log10 of the smallest singular value of dh_T/dh_1 >= (T - 1) log10({least:g}) (lower bound)",
                "W orthogonal; with abs no unit at exactly 0",
                lower,
            ),
            table_claim(RecurrentSpectrum(self.W), self.activation),
        ]

    def parameter_groups(self) -> list[ParameterGroup]:
        """Return W in `orthogonal`, under the exponential update, and the rest in `main`."""
        return with_main_group(self, ParameterGroup("orthogonal", [self.W], rule="exponential"))
