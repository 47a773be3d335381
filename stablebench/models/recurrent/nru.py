r"""NRU: a non-saturating recurrent unit, ReLU throughout, whose heads write to and erase from an additive memory.

Equation, [a, b] two vectors in a row and K = heads:

    h_t = relu(W_h h_{t-1} + W_x x_t + W_m m_{t-1} + b)
    m_t = m_{t-1} + 1/K sum_i (alpha_i v_i - beta_i e_i),    i = 1 ... K; with `combine` sum without the 1/K

    alpha = f(A [h_t, m_{t-1}] + a)                               beta likewise, f = relu
    [p, q] = P [h_t, m_{t-1}] + b_P,  p and q sqrt(K memory) long
    V = f(p q^T), read row by row as K vectors of `memory` entries
    v_i = V_i / ||V_i||_5                                         e_i likewise

Shapes: x_t (batch, in); h_t (batch, hidden); m_t (batch, memory). `to_hidden` holds [W_h, W_x, W_m] and b; `to_heads`
    (hidden + memory) -> 2 K + 4 sqrt(K memory), in this order the maps to alpha, beta, p and q of the writing and p and
    q of the erasing heads. The states are (h, m), the output is h.
Parameters: `hidden * (hidden + inputs + memory + 1)
    + (2 * heads + 4 * sqrt(heads * memory)) * (hidden + memory + 1)`.
Cost per step: `hidden * (hidden + inputs + memory) + (2 * heads + 4 * sqrt(heads * memory)) * (hidden + memory)`
    multiply-adds, and about 20 heads * memory elementwise operations.
Init: all U(-1/sqrt(n), 1/sqrt(n)), n the inputs of the affine map, as in the authors' code, whose readout N(0, 2 /
    (hidden + outputs)) with bias 0 is `readout_init` xavier; by default it starts as torch's.
Stability claim: what heads write is added, so along the memory dm_t/dm_{t-1} = I, and a write of head i has
    5-norm alpha_i / K. Asserted in tests/models/test_nru.py.
Reference: Chandar, Sankar, Vorontsov, Kahou, Bengio. Towards Non-saturating Recurrent Units for Modelling Long-term
    Dependencies. AAAI 2019. https://arxiv.org/abs/1902.06704
Differs from the paper:
    - No layer normalisation of h (an option there).
    - As many heads erase as write.
    - Written from the equations as remembered and the released code, which disagree: the code averages over heads (as
      here; the sum makes the initial network's state grow 1e5-fold over 200 steps), and its configuration has no f
      (`rectified` false).
Engine: reference, because the outer products and the norms mix the units of a row.
"""

import math
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from stablebench.errors import UserError
from stablebench.models.base import RecurrentModel, State
from stablebench.models.blocks.readouts import ReadoutInit, initialise
from stablebench.models.registry import register_model
from stablebench.schema.strict import Count


@register_model
class NRU(RecurrentModel):
    """See the module docstring for the equation.

    Args:
        in_features: Number of input features, the width of x_t, >= 1.
        hidden: Number of units, the width of the state h_t, >= 1.
        memory: Width of the memory m_t, >= 1; heads * memory must be a square number.
        heads: Number of heads that write to the memory, and of heads that erase, >= 1.
        rectified: Whether f is relu; otherwise it is the identity, and heads may write with either sign.
        combine: Combination of the heads' contributions: their `mean` or their `sum`.
        readout_init: Distribution of the readout's initial weights: `default` as torch.nn.Linear's, `kaiming` N(0, 2 /
            hidden) or `xavier` N(0, 2 / (hidden + outputs)), both with bias 0. The authors' code has xavier.
    """

    added_arguments = (("readout_init", "default"),)

    def __init__(
        self,
        in_features: int,
        hidden: int,
        *,
        memory: Count = 64,
        heads: Count = 4,
        rectified: bool = True,
        combine: Literal["mean", "sum"] = "mean",
        readout_init: ReadoutInit = "default",
    ) -> None:
        super().__init__(in_features, hidden)
        self.side = math.isqrt(heads * memory)
        if self.side**2 != heads * memory:
            raise UserError(
                f"`heads` * `memory` must be a square (the vectors of the heads are one outer product), got "
                f"{heads} * {memory}; take {heads} * {heads * math.ceil(math.sqrt(memory / heads)) ** 2}."
            )
        self.memory, self.heads = memory, heads
        self.rectified = rectified
        self.readout_init: ReadoutInit = readout_init
        self.share = 1 / heads if combine == "mean" else 1.0
        self.to_hidden = nn.Linear(hidden + in_features + memory, hidden)
        self.to_heads = nn.Linear(hidden + memory, 2 * heads + 4 * self.side)

    @property
    def state_sizes(self) -> tuple[int, ...]:
        """The widths of h and m."""
        return (self.hidden, self.memory)

    def initialise_readout(self, readout: nn.Linear) -> None:
        """Draw the readout as `readout_init` says."""
        initialise(readout, self.readout_init)

    def input_projection(self, x: Float[Tensor, "batch time in"]) -> Float[Tensor, "batch time hidden"]:
        """Return W_x x_t + b, (batch, time, hidden)."""
        weight = self.to_hidden.weight[:, self.hidden : self.hidden + self.in_features]
        return nn.functional.linear(x, weight, self.to_hidden.bias)

    def recurrent_weights(self) -> tuple[Tensor, ...]:
        """Return [W_h, W_m] and the weights of the heads, transposed for states in rows, and the heads' biases."""
        W_h, _, W_m = self.to_hidden.weight.split([self.hidden, self.in_features, self.memory], dim=1)
        return torch.cat([W_h, W_m], dim=1).T, self.to_heads.weight.T, self.to_heads.bias

    def step(
        self, projected: Float[Tensor, "batch hidden"], state: State, recurrent_weights: tuple[Tensor, ...]
    ) -> State:
        """Return (h_t, m_t)."""
        h, m = state
        recurrent, to_heads, bias = recurrent_weights
        h = torch.relu(projected + torch.cat([h, m], dim=1) @ recurrent)
        heads = torch.addmm(bias, torch.cat([h, m], dim=1), to_heads)
        alpha, beta, *sides = heads.split([self.heads] * 2 + [self.side] * 4, dim=1)
        written = self._f(alpha)[:, :, None] * self._vectors(sides[0], sides[1])
        erased = self._f(beta)[:, :, None] * self._vectors(sides[2], sides[3])
        return h, m + self.share * (written - erased).sum(1)

    def _f(self, x: Tensor) -> Tensor:
        return torch.relu(x) if self.rectified else x

    def _vectors(self, p: Tensor, q: Tensor) -> Tensor:
        """Return the heads' vectors of 5-norm 1, (batch, heads, memory)."""
        outer = (p[:, :, None] * q[:, None, :]).view(-1, self.heads, self.memory)
        return nn.functional.normalize(self._f(outer), p=5, dim=2)
