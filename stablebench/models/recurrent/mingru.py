r"""minGRU: a GRU whose gate and candidate see only the input, so that it is linear in its state.

Equation (section 3.1 of the paper):

    z_t = sigmoid(W_z x_t + b_z)
    c_t = g(W_h x_t + b_h)
    h_t = (1 - z_t) * h_{t-1} + z_t * c_t

    g is the identity, or, with `candidate` positive, g(v) = v + 1/2 for v >= 0 and sigmoid(v) for v < 0 (appendix B).

Shapes: x_t (batch, in), z_t, c_t, h_t (batch, hidden); W (2 hidden, in) and b (2 hidden) with the blocks z, h.
Parameters: `2 * hidden * (inputs + 1)`.
Cost per step: `2 * hidden * inputs` multiply-adds.
Init: W, b U(-1/sqrt(in), 1/sqrt(in)) as torch.nn.Linear; `update_bias` is added to b_z.
Stability claim: h_t is a convex combination of h_0 and of all c_s, s <= t, elementwise, and dh_T/dh_t is diagonal with
    the products of 1 - z_s, s = t + 1 ... T, in (0, 1): gradients do not explode. Asserted in
    tests/models/test_mingru.py.
Adding: its gate sees the mark and keeps the number, so one layer of 64 units does at 200 steps what a linear recurrence
    with constant coefficients cannot (lru.py): solved after 800 updates at lr 0.01, with two layers after 300.
Reference: Feng, Tung, Ahmed, Bengio, Hajimirsadeghi. Were RNNs All We Needed? 2024. https://arxiv.org/abs/2410.01201
Differs from the paper:
    - It trains in log space, which needs positive candidates and so its g; here the equation is run as it is, and g is
      a choice.
    - h_0 = 0, not g(0).
    - The paper's blocks around the cell (convolution, MLP, norms) are left out.
    - `update_bias` is ours.
    - Written from the equations; appendix B was not checked.
"""

import math
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from stablebench.models.blocks.activations import positive
from stablebench.models.blocks.linear import LinearRecurrence
from stablebench.models.claims.claim import Claim
from stablebench.models.claims.linear_steps import never_grows
from stablebench.models.registry import register_model


@register_model
class MinGRU(LinearRecurrence):
    """See the module docstring for the equation.

    Args:
        in_features: Number of input features, the width of x_t, >= 1.
        hidden: Number of units, the width of the state h_t, >= 1.
        candidate: Function g of the candidate: `identity`, or `positive`, that of the paper's training in log space.
        update_bias: Constant added to the initial bias of the update gates; lower values make the memory longer.
    """

    def __init__(
        self,
        in_features: int,
        hidden: int,
        *,
        candidate: Literal["identity", "positive"] = "identity",
        update_bias: float = 0.0,
    ) -> None:
        super().__init__(in_features, hidden)
        self.candidate = candidate
        bound = 1 / math.sqrt(in_features)
        self.W = nn.Parameter(torch.empty(2 * hidden, in_features).uniform_(-bound, bound))
        self.b = nn.Parameter(torch.empty(2 * hidden).uniform_(-bound, bound))
        with torch.no_grad():
            self.b[:hidden] += update_bias

    def input_projection(self, x: Float[Tensor, "batch time in"]) -> Float[Tensor, "batch time {2*self.hidden}"]:
        """Return W x_t + b, (batch, time, 2 hidden)."""
        return nn.functional.linear(x, self.W, self.b)

    def terms(
        self, projected: Float[Tensor, "*steps {2*self.hidden}"], recurrent_weights: None
    ) -> tuple[Tensor, Tensor]:
        """Return 1 - z_t and z_t c_t."""
        gate, c = projected.chunk(2, dim=-1)
        z = torch.sigmoid(gate)
        return 1 - z, z * (positive(c) if self.candidate == "positive" else c)

    def claims(self) -> list[Claim]:
        """Return that the gradient does not explode."""
        return [never_grows("1 - z_t")]
