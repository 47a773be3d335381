r"""ShufflingRNN (SRNN): the state is shifted around and a gated network of the input is added.

Equation:

    h_t = relu(P h_{t-1} + beta(x_t)),    (P h)_1 = h_n,  (P h)_i = h_{i-1}
    beta(x) = f_r(x) * sigmoid(f_s(x))

    f_r: `mlp_layers` ReLU layers of width `mlp_width`, then an affine map to hidden;    f_s: an affine map to hidden

Shapes: x_t (batch, in), h_t (batch, hidden), P (hidden, hidden), f_r and f_s from (batch, in) to (batch, hidden).
Parameters: `mlp_width * (inputs + 1) + (mlp_layers - 1) * mlp_width * (mlp_width + 1) + hidden * (mlp_width + inputs
    + 2)`.
Cost per step: `inputs * mlp_width + (mlp_layers - 1) * mlp_width ** 2 + hidden * (mlp_width + inputs)` multiply-adds;
    none of them is sequential, beta is computed for all steps at once.
Init: all maps as torch.nn.Linear, U(-1/sqrt(n), 1/sqrt(n)) for n inputs, biases too.
Stability claim: P is a permutation, so a product of one-step Jacobians diag(relu') P has one entry at most in each row
    and column, a 1: its singular values are 0 or 1, and a gradient never grows. Asserted in
    tests/models/test_shuffling_rnn.py.
Reference: Rotman, Wolf. Shuffling Recurrent Neural Networks. AAAI 2021. https://arxiv.org/abs/2007.07324
Differs from the paper:
    - P is the cyclic shift of the authors' code; the paper lets it be any permutation, and any that is one cycle
      through all units is this one with the units renumbered.
    - The output s(h_t) is the affine readout.
    - Tokens are one-hot inputs; the authors learn an embedding for them, which f_s and the first layer of f_r absorb.
"""

from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor, nn

from stablebench.errors import UserError
from stablebench.models.base import RecurrentModel, State
from stablebench.models.claims.claim import Claim, largest_singular_value_at_most
from stablebench.models.registry import register_model
from stablebench.schema.strict import Count


@register_model
class ShufflingRNN(RecurrentModel):
    """See the module docstring for the equation.

    Args:
        in_features: Number of input features, the width of x_t, >= 1.
        hidden: Number of units, the width of the state h_t, >= 2.
        mlp_width: Width of the hidden layers of the input network f_r, >= 1.
        mlp_layers: Number of hidden layers of the input network f_r, >= 1.
    """

    def __init__(self, in_features: int, hidden: int, *, mlp_width: Count = 64, mlp_layers: Count = 1) -> None:
        super().__init__(in_features, hidden)
        if hidden < 2:
            raise UserError(f"`hidden` must be >= 2 (a shift moves the units around a ring), got {hidden}.")
        layers: list[nn.Module] = []
        for before, after in pairwise([in_features, *[mlp_width] * mlp_layers]):
            layers += [nn.Linear(before, after), nn.ReLU()]
        self.f_r = nn.Sequential(*layers, nn.Linear(mlp_width, hidden))
        self.f_s = nn.Linear(in_features, hidden)

    def input_projection(self, x: Float[Tensor, "batch time in"]) -> Float[Tensor, "batch time hidden"]:
        """Return beta(x_t), (batch, time, hidden)."""
        return self.f_r(x) * torch.sigmoid(self.f_s(x))

    def step(self, projected: Float[Tensor, "batch hidden"], state: State, recurrent_weights: None) -> State:
        """Return h_t."""
        (h,) = state
        return (torch.relu(torch.cat([h[:, -1:], h[:, :-1]], dim=1) + projected),)

    def claims(self) -> list[Claim]:
        """Return that gradients do not grow."""
        return [
            Claim(
                "log10 of the largest singular value of dh_T/dh_1 <= 0 (P is a permutation)",
                "none",
                lambda e: largest_singular_value_at_most(e, 0.0),
            )
        ]
