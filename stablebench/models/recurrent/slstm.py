r"""sLSTM: a long short-term memory with exponential gates, a normaliser and a stabiliser; xLSTM's scalar cell.

Equation:

    i, f, z, o = W x_t + R h_{t-1} + b          (four blocks)
    c_t = F c_{t-1} + exp(i) tanh(z)            F = sigmoid(f), or exp(f) with `forget` exp
    n_t = F n_{t-1} + exp(i)
    h_t = sigmoid(o) * c_t / n_t

    computed with c and n divided by exp(m), m_t = max(log F + m_{t-1}, i):

    c_t = exp(log F + m_{t-1} - m_t) c_{t-1} + exp(i - m_t) tanh(z), n_t likewise

Shapes: x_t (batch, in); h_t, c_t, n_t, m_t (batch, hidden); W (4 hidden, in); R (4 hidden, hidden / heads), whose rows
    belong to heads; b (4 hidden). The states are (h, c, n, m), the output is h.
Parameters: `4 * hidden * (hidden / heads + inputs + 1)`.
Cost per step: `4 * hidden * (hidden / heads + inputs)` multiply-adds.
Init: W, R U(-1/sqrt(hidden), 1/sqrt(hidden)); b = 0 but for the forget gates, evenly spaced from `forget_bias` to
    twice that, so that units forget at different speeds. c_0 = n_0 = h_0 = 0 and m_0 = -10,000, for minus infinity:
    what comes before the first step has no weight.
Stability claim: c_t / n_t is a mean of the tanh(z) with positive weights, so |h_t| < 1; n_t >= 1 (stabilised), no
    exponential exceeds 1, and values and gradients are those of the equation without m, whatever the gates (appendix
    A.2). Asserted in tests/models/test_slstm.py.
Reference: Beck, Pöppel, Spanring, Auer, Prudnikova, Kopp, Klambauer, Brandstetter, Hochreiter. xLSTM: Extended Long
    Short-Term Memory. NeurIPS 2024. https://arxiv.org/abs/2405.04517
Differs from the paper:
    - The cell only, without the residual block around it (convolution, normalisation of groups, projections).
    - The initialisation is ours; the paper's forget biases were not at hand.
    - Its authors' code starts with m_0 = 0 and takes m_1 = i while all n are 0, which is the same for h.
"""

import math
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from stablebench.errors import UserError
from stablebench.models.base import RecurrentModel, State
from stablebench.models.claims.claim import Claim, Evidence, Outcome, states_grow_at_most
from stablebench.models.registry import register_model
from stablebench.schema.strict import Count

_NO_WEIGHT = -1e4
"""m_0: exp(m_0) is 0 in every precision, and differences from it are finite."""


@register_model
class SLSTM(RecurrentModel):
    """See the module docstring for the equation.

    Args:
        in_features: Number of input features, the width of x_t, >= 1.
        hidden: Number of units, the width of the state h_t, >= 1.
        heads: Number of equal groups of units, >= 1; a unit sees the previous output of its own group only.
        forget: Function of f in the forget gate: `sigmoid`, or `exp`, which can exceed 1.
        forget_bias: First initial bias of the forget gates, which rise to twice that; with `forget` exp they are log F,
            so take 0 there.
    """

    def __init__(
        self,
        in_features: int,
        hidden: int,
        *,
        heads: Count = 1,
        forget: Literal["sigmoid", "exp"] = "sigmoid",
        forget_bias: float = 3.0,
    ) -> None:
        super().__init__(in_features, hidden)
        if hidden % heads:
            raise UserError(f"`heads` must divide `hidden`, got {heads} and {hidden}.")
        self.heads = heads
        self.forget = forget
        bound = 1 / math.sqrt(hidden)
        self.W = nn.Parameter(torch.empty(4 * hidden, in_features).uniform_(-bound, bound))
        self.R = nn.Parameter(torch.empty(4 * hidden, hidden // heads).uniform_(-bound, bound))
        self.b = nn.Parameter(torch.zeros(4 * hidden))
        with torch.no_grad():
            self.b[hidden : 2 * hidden] = torch.linspace(forget_bias, 2 * forget_bias, hidden)

    @property
    def state_sizes(self) -> tuple[int, ...]:
        """The widths of h, c, n and m."""
        return (self.hidden,) * 4

    def initial_state(self, batch: int) -> State:
        """Return zeros, and for m what gives them no weight."""
        zeros = self.b.new_zeros(batch, self.hidden)
        return zeros, zeros, zeros, torch.full_like(zeros, _NO_WEIGHT)

    def input_projection(self, x: Float[Tensor, "batch time in"]) -> Float[Tensor, "batch time {4*self.hidden}"]:
        """Return W x_t + b, (batch, time, 4 hidden)."""
        return nn.functional.linear(x, self.W, self.b)

    def recurrent_weights(self) -> tuple[Tensor, ...]:
        """Return each head's R, (hidden / heads, 4 hidden / heads), for states in rows."""
        width = self.hidden // self.heads
        blocks = self.R.view(4, self.heads, width, width)
        return tuple(block.reshape(4 * width, width).T for block in blocks.unbind(1))

    def step(
        self, projected: Float[Tensor, "batch {4*self.hidden}"], state: State, recurrent_weights: tuple[Tensor, ...]
    ) -> State:
        """Return (h_t, c_t, n_t, m_t)."""
        h, c, n, m = state
        if self.heads == 1:
            seen = h @ recurrent_weights[0]
        else:
            parts = [part @ R for part, R in zip(h.chunk(self.heads, dim=-1), recurrent_weights, strict=True)]
            by_gate = zip(*(part.chunk(4, dim=-1) for part in parts), strict=True)
            seen = torch.cat([part for gate in by_gate for part in gate], dim=-1)
        i, f, z, o = (projected + seen).chunk(4, dim=-1)
        kept = m + (f if self.forget == "exp" else nn.functional.logsigmoid(f))
        m = torch.maximum(kept, i)
        old, new = torch.exp(kept - m), torch.exp(i - m)
        c = old * c + new * torch.tanh(z)
        n = old * n + new
        return torch.sigmoid(o) * (c / n), c, n, m

    def claims(self) -> list[Claim]:
        """Return that the output is a mean of bounded values, and that its weights have a sum that is not small."""
        n = self.hidden

        def weights(e: Evidence) -> Outcome:
            least = e.states[1:, :, 2 * n : 3 * n].min().item()
            return Outcome(least, 1.0, least >= 1 - 1e-12)

        return [
            Claim("|h_t| <= 1: largest excess", "none", lambda e: states_grow_at_most(e, slice(0, n), 1.0)),
            Claim("n_t >= 1: least (appendix A.2)", "none", weights),
        ]
