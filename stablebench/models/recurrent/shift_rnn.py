r"""ShiftRNN: the hidden-to-hidden matrix is a cyclic shift and is never trained.

Equation:

    h_t = phi(P h_{t-1} + V x_t + b),    (P h)_1 = h_n,  (P h)_i = h_{i-1}

Shapes: x_t (batch, in), h_t (batch, hidden), P (hidden, hidden), V (hidden, in), b (hidden).
Parameters: `hidden * (inputs + 1)`.
Cost per step: `hidden * inputs` multiply-adds; P moves numbers and multiplies none.
Init: V and b U(-1/sqrt(in), 1/sqrt(in)), as torch.nn.Linear.
Stability claim: P is orthogonal, P^hidden = I. With phi relu a product of one-step Jacobians diag(phi') P has one entry
    at most in each row and column, a 1: its singular values are 0 or 1, so a gradient never grows and vanishes only
    through units that are off. With phi identity or abs they are all 1, and the norm of the gradient is kept. Asserted
    in tests/models/test_shift_rnn.py.
Reference: Ceni (https://arxiv.org/abs/2210.01245), section I, of his reference [40]: "the hidden-to-hidden weights are
    fixed as a specific orthogonal matrix (namely a shifting permutation matrix), while all the other weights are
    trained". That work is taken to be Rotman, Wolf. Shuffling Recurrent Neural Networks. AAAI 2021.
    https://arxiv.org/abs/2007.07324, whose code calls itself shifting; the bibliography was not at hand.
Differs from the paper:
    - Rotman & Wolf put a gated network of x_t in the place of V x_t + b; with it the model is `shuffling_rnn`. This is
      the plain Elman network of the quoted sentence.
    - ReLU is theirs.
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn

from stablebench.errors import UserError
from stablebench.models.base import State
from stablebench.models.blocks.activations import Activation, activation
from stablebench.models.blocks.affine_input import AffineInput
from stablebench.models.claims.claim import Claim, largest_singular_value_at_most
from stablebench.models.registry import register_model


@register_model
class ShiftRNN(AffineInput):
    """See the module docstring for the equation.

    Args:
        in_features: Number of input features, the width of x_t, >= 1.
        hidden: Number of units, the width of the state h_t, >= 2.
        activation: Elementwise nonlinearity phi of the update: `tanh`, `relu`, `abs`, `leaky_relu` (slope 0.01 below 0)
            or `identity`.
    """

    def __init__(self, in_features: int, hidden: int, *, activation: Activation = "relu") -> None:
        super().__init__(in_features, hidden)
        if hidden < 2:
            raise UserError(f"`hidden` must be >= 2 (a shift moves the units around a ring), got {hidden}.")
        self.activation: Activation = activation
        bound = 1 / math.sqrt(in_features)
        self.V = nn.Parameter(torch.empty(hidden, in_features).uniform_(-bound, bound))
        self.b = nn.Parameter(torch.empty(hidden).uniform_(-bound, bound))

    def step(self, projected: Float[Tensor, "batch hidden"], state: State, recurrent_weights: None) -> State:
        """Return h_t."""
        (h,) = state
        shifted = torch.cat([h[:, -1:], h[:, :-1]], dim=1)
        return (activation(self.activation, shifted + projected),)

    def claims(self) -> list[Claim]:
        """Return that gradients do not grow."""
        return [
            Claim(
                "log10 of the largest singular value of dh_T/dh_1 <= 0 (P is a permutation)",
                "|phi'| <= 1, as for all activations here",
                lambda e: largest_singular_value_at_most(e, 0.0),
            )
        ]
