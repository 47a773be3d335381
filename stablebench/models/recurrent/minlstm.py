r"""minLSTM: an LSTM whose gates and candidate see only the input, so that it is linear in its state.

Equation (section 3.2 of the paper):

    f_t = sigmoid(W_f x_t + b_f)
    i_t = sigmoid(W_i x_t + b_i)
    c_t = g(W_h x_t + b_h)
    h_t = f'_t * h_{t-1} + i'_t * c_t,    f'_t = f_t / (f_t + i_t),  i'_t = i_t / (f_t + i_t)

    Without `normalise`, f' = f and i' = i. g is the identity, or, with `candidate` positive, g(v) = v + 1/2 for v >= 0
    and sigmoid(v) for v < 0 (appendix B).

Shapes: x_t (batch, in), f_t, i_t, c_t, h_t (batch, hidden); W (3 hidden, in) and b (3 hidden) with the blocks f, i, h.
Parameters: `3 * hidden * (inputs + 1)`.
Cost per step: `3 * hidden * inputs` multiply-adds.
Init: W, b U(-1/sqrt(in), 1/sqrt(in)) as torch.nn.Linear; `forget_bias` is added to b_f.
Stability claim: with `normalise`, f' + i' = 1, so h_t is a convex combination of h_0 and of all c_s, s <= t,
    elementwise, whatever the length. Either way dh_T/dh_t is diagonal with the products of f'_s, s = t + 1 ... T, in
    (0, 1): gradients do not explode. Asserted in tests/models/test_minlstm.py.
Adding: its gates see the mark and keep the number, so one layer of 64 units does at 200 steps what a linear recurrence
    with constant coefficients cannot (lru.py): solved after 900 updates at lr 0.01.
Reference: Feng, Tung, Ahmed, Bengio, Hajimirsadeghi. Were RNNs All We Needed? 2024. https://arxiv.org/abs/2410.01201
Differs from the paper:
    - As `mingru`, but for its `update_bias`.
    - f' is computed as sigmoid(log f - log i), the same number also where f + i underflows.
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
class MinLSTM(LinearRecurrence):
    """See the module docstring for the equation.

    Args:
        in_features: Number of input features, the width of x_t, >= 1.
        hidden: Number of units, the width of the state h_t, >= 1.
        candidate: Function g of the candidate: `identity`, or `positive`, that of the paper's training in log space.
        normalise: Whether the gates are divided by their sum (length independence scaling).
        forget_bias: Constant added to the initial bias of the forget gates; higher values make the memory longer.
    """

    def __init__(
        self,
        in_features: int,
        hidden: int,
        *,
        candidate: Literal["identity", "positive"] = "identity",
        normalise: bool = True,
        forget_bias: float = 0.0,
    ) -> None:
        super().__init__(in_features, hidden)
        self.candidate = candidate
        self.normalise = normalise
        bound = 1 / math.sqrt(in_features)
        self.W = nn.Parameter(torch.empty(3 * hidden, in_features).uniform_(-bound, bound))
        self.b = nn.Parameter(torch.empty(3 * hidden).uniform_(-bound, bound))
        with torch.no_grad():
            self.b[:hidden] += forget_bias

    def input_projection(self, x: Float[Tensor, "batch time in"]) -> Float[Tensor, "batch time {3*self.hidden}"]:
        """Return W x_t + b, (batch, time, 3 hidden)."""
        return nn.functional.linear(x, self.W, self.b)

    def terms(
        self, projected: Float[Tensor, "*steps {3*self.hidden}"], recurrent_weights: None
    ) -> tuple[Tensor, Tensor]:
        """Return f'_t and i'_t c_t."""
        forget, write, c = projected.chunk(3, dim=-1)
        c = positive(c) if self.candidate == "positive" else c
        if not self.normalise:
            return torch.sigmoid(forget), torch.sigmoid(write) * c
        f = torch.sigmoid(nn.functional.logsigmoid(forget) - nn.functional.logsigmoid(write))
        return f, (1 - f) * c

    def claims(self) -> list[Claim]:
        """Return that the gradient does not explode."""
        return [never_grows("f'_t")]
