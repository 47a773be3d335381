r"""RG-LRU: a real diagonal linear recurrence whose decay is gated by the input, the recurrence of Griffin and Hawk.

Equation (section 2.4 of the paper, eq. 1 to 4):

    u_t = E x_t + e
    r_t = sigmoid(W_a u_t + b_a),    i_t = sigmoid(W_x u_t + b_x)
    a_t = a^(c r_t),    a = sigmoid(Lambda)
    h_t = a_t * h_{t-1} + sqrt(1 - a_t^2) * (i_t * u_t)

Shapes: x_t (batch, in); u_t, r_t, i_t, a_t, h_t (batch, hidden); E (hidden, in); W_a, W_x block-diagonal with `heads`
    blocks, each stored as (heads, hidden / heads, hidden / heads); e, b_a, b_x, Lambda (hidden).
Parameters: `hidden * (inputs + 2 * hidden / heads + 4)`.
Cost per step: `hidden * (inputs + 2 * hidden / heads)` multiply-adds.
Init: a^c ~ U(a_min, a_max), by which Lambda is set; E, e U(+-1/sqrt(in)) as torch.nn.Linear, W_a, W_x N(0, heads /
    hidden), b_a = b_x = 0.
Stability claim: 0 < a_t < 1 whatever the input, so dh_T/dh_t, diagonal with the product of a_s, s = t + 1 ... T, does
    not explode; it is never negative either, so that no unit can count modulo two. Asserted in
    tests/models/test_rg_lru.py.
Reference: De, Smith, Fernando, Botev et al. Griffin: Mixing Gated Linear Recurrences with Local Attention for Efficient
    Language Models. 2024. https://arxiv.org/abs/2402.19427
Differs from the paper:
    - The recurrence only: the temporal convolution before it, its gated branch and the residual block around
      both are left out (`--set model.block=residual` puts a block around every model).
    - The affine map E x + e in place of the block's linear map and convolution.
    - 1e-12 is added under the root, so that its derivative is finite where a_t rounds to 1; the authors' code clips it.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from stablebench.errors import UserError
from stablebench.models.blocks.in_block import inverse_softplus
from stablebench.models.blocks.linear import LinearRecurrence
from stablebench.models.claims.claim import Claim
from stablebench.models.claims.linear_steps import decays_never_negative, never_grows
from stablebench.models.registry import register_model
from stablebench.schema.strict import Count, Positive

_UNDER_ROOT = 1e-12
Drives = tuple[Tensor, Tensor, Tensor]


@register_model
class RGLRU(LinearRecurrence):
    """See the module docstring for the equation.

    Args:
        in_features: Number of input features, the width of x_t, >= 1.
        hidden: Number of units, the width of the state h_t, >= 1.
        heads: Number of diagonal blocks of the gates' matrices W_a and W_x, >= 1; it divides `hidden`.
        c: Factor of the gate in the exponent of a, > 0: the fastest decay is a^c.
        a_min: Smallest initial value of a^c, > 0 and < a_max.
        a_max: Largest initial value of a^c, > 0 and < 1; nearer to 1 the memory is longer.
    """

    def __init__(
        self,
        in_features: int,
        hidden: int,
        *,
        heads: Count = 1,
        c: Positive = 8.0,
        a_min: Positive = 0.9,
        a_max: Positive = 0.999,
    ) -> None:
        super().__init__(in_features, hidden)
        if hidden % heads:
            raise UserError(f"`heads` must divide `hidden`, got {heads} and {hidden}.")
        if not a_min < a_max < 1:
            raise UserError(f"`a_min` and `a_max` must be 0 < a_min < a_max < 1, got {a_min} and {a_max}.")
        self.heads, self.c = heads, c
        width = hidden // heads
        self.encoder = nn.Linear(in_features, hidden)
        self.W = nn.Parameter(torch.randn(2, heads, width, width) / width**0.5)
        self.b = nn.Parameter(torch.zeros(2, hidden))
        decay = torch.empty(hidden).uniform_(a_min, a_max)  # a^c
        self.Lambda = nn.Parameter(-inverse_softplus(-torch.log(decay) / c))  # -log sigmoid(x) = softplus(-x)

    def input_projection(self, x: Float[Tensor, "batch time in"]) -> Drives:
        """Return u_t and what the two gates are sigmoids of, (batch, time, hidden) each."""
        u = self.encoder(x)
        parts = u.unflatten(-1, (self.heads, -1))
        r, i = (torch.einsum("...hj,hkj->...hk", parts, W).flatten(-2) for W in self.W)
        return u, r + self.b[0], i + self.b[1]

    def recurrent_weights(self) -> Float[Tensor, " hidden"]:
        """Return c log a."""
        return self.c * nn.functional.logsigmoid(self.Lambda)

    def terms(self, projected: Drives, recurrent_weights: Float[Tensor, " hidden"]) -> tuple[Tensor, Tensor]:
        """Return a_t and sqrt(1 - a_t^2) * (i_t * u_t)."""
        u, r, i = projected
        a = torch.exp(torch.sigmoid(r) * recurrent_weights)
        return a, torch.sqrt((1 - a * a) + _UNDER_ROOT) * (torch.sigmoid(i) * u)

    def claims(self) -> list[Claim]:
        """Return that decays are between 0 and 1, and that the gradient does not explode."""
        return [decays_never_negative(self), never_grows("a_t")]
