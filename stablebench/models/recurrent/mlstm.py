r"""mLSTM: a memory that is a matrix, with exponential gates, a normaliser and a stabiliser; xLSTM's matrix cell.

Equation (a head's matrix C, d_v x d_k, and normaliser n, d_k; the gates i and f are one number a head):

    C_t = F C_{t-1} + exp(i) v_t k_t^T            F = sigmoid(f), or exp(f) with `forget` exp
    n_t = F n_{t-1} + exp(i) k_t
    h_t = sigmoid(o) * C_t q_t / max(|n_t^T q_t|, 1)
    q_t = W_q x_t + b_q,  k_t = (W_k x_t + b_k) / sqrt(d_k),  v_t = W_v x_t + b_v
    i, f = W_i x_t + b_i, W_f x_t + b_f,  o = W_o x_t + b_o

    computed with C and n divided by exp(m), m_t = max(log F + m_{t-1}, i):

    C_t = exp(log F + m_{t-1} - m_t) C_{t-1} + exp(i - m_t) v_t k_t^T, n_t likewise; exp(-m_t) in place of the 1 above

Shapes: x_t (batch, in); v_t, o, h_t (batch, hidden); q_t, k_t (batch, heads d_k); i, f (batch, heads). The states are
    one: for each j = 1 ... d_k and each head the column j of C (d_v) and n_j (1), and at its end m (heads); (batch, d_k
    (hidden + heads) + heads). `hidden` = heads d_v, d_k = `key_size`.
Parameters: `(2 * heads * key_size + 2 * hidden + 2 * heads) * (inputs + 1)`.
Cost per step: `(2 * heads * key_size + 2 * hidden + 2 * heads) * inputs + (heads * (key_size ** 2 + 2) + key_size) *
    (hidden + heads)` multiply-adds. The last term are products with fixed matrices of 0 and 1 that copy keys and gates
    to where they act. The memory itself is elementwise: 3 hidden d_k more.
Init: all affine maps as torch.nn.Linear, but b_f, evenly spaced from `forget_bias` to twice that over the heads, and
    b_i = `input_bias`. C_0 = n_0 = 0 and m_0 = -10,000, for minus infinity: what comes before the first step has no
    weight.
Stability claim: no exponential exceeds 1, and values and gradients are those of the equation without m, whatever the
    gates (appendix A.3); the decay of a memory is F in (0, 1) with `forget` sigmoid. Asserted in
    tests/models/test_mlstm.py.
Reference: Beck, Pöppel, Spanring, Auer, Prudnikova, Kopp, Klambauer, Brandstetter, Hochreiter. xLSTM: Extended Long
    Short-Term Memory. NeurIPS 2024. https://arxiv.org/abs/2405.04517
Differs from the paper:
    - The cell only, without the residual block around it (convolution, normalisation of heads, projections).
    - Biases of the forget gates start at 3 to 6 over the heads and of the input gates at -10 in the authors' code; here
      the latter are 0 by default.
    - Chunks of 16 to 32 steps by torch's products, derived from the equation: the paper prints the form for all steps
      at once (appendix A.3). m_t is the loop's, max(log F_t + ... + log F_1 + m_0, log F_t + ... + log F_{s+1} + i_s).
"""

import math
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from stablebench.models.base import State
from stablebench.models.blocks.chunkwise import Chunks, ChunkwiseMemory, log_decays_between
from stablebench.models.blocks.matrix_memory import spread_of_keys
from stablebench.models.claims.claim import Claim
from stablebench.models.claims.linear_steps import drawn_inputs, one_step, within
from stablebench.models.registry import register_model
from stablebench.schema.strict import Count

_NO_WEIGHT = -1e4
"""m_0: exp(m_0) is 0 in every precision, and differences from it are finite."""
_LEAST = -60.0
"""Below this m nothing was written that is not below rounding; exp(-m) is finite in every precision."""


@register_model
class MLSTM(ChunkwiseMemory):
    """See the module docstring for the equation.

    Args:
        in_features: Number of input features, the width of x_t, >= 1.
        hidden: Width of values and of the output, heads times d_v, >= 1.
        heads: Number of heads, each with a matrix and gates of its own, >= 1; it divides `hidden`.
        key_size: Width d_k of a head's queries and keys, >= 1; the matrices have `hidden` times as many numbers.
        forget: Function of f in the forget gate: `sigmoid`, or `exp`, which can exceed 1.
        forget_bias: First initial bias of the forget gates, which rise to twice that over the heads; with `forget` exp
            they are log F, so take 0 there.
        input_bias: Initial bias of the input gates, whose exponential weighs a new value.
    """

    of_gates: Tensor

    def __init__(
        self,
        in_features: int,
        hidden: int,
        *,
        heads: Count = 1,
        key_size: Count = 8,
        forget: Literal["sigmoid", "exp"] = "sigmoid",
        forget_bias: float = 3.0,
        input_bias: float = 0.0,
    ) -> None:
        super().__init__(in_features, hidden, heads=heads, key_size=key_size)
        self.forget = forget
        self.query = nn.Linear(in_features, heads * key_size)
        self.key = nn.Linear(in_features, heads * key_size)
        self.value = nn.Linear(in_features, hidden)
        self.gates = nn.Linear(in_features, 2 * heads)
        self.output_gate = nn.Linear(in_features, hidden)
        with torch.no_grad():
            self.gates.bias[:heads] = input_bias
            self.gates.bias[heads:] = torch.linspace(forget_bias, 2 * forget_bias, heads)
        # a head's part of a column has its units, and behind them one in which the value is 1: the normaliser
        self.spread = spread_of_keys(heads, key_size, hidden + heads)
        of_gates = spread_of_keys(heads, 1, hidden + heads)
        self.register_buffer("of_gates", of_gates, persistent=False)

    @property
    def state_sizes(self) -> tuple[int, ...]:
        """The width of all matrices, normalisers and stabilisers."""
        return (self.key_size * (self.hidden + self.heads) + self.heads,)

    def initial_state(self, batch: int) -> State:
        """Return zeros, and for m what gives them no weight."""
        zeros = self.gates.bias.new_zeros(batch, self.state_sizes[0])
        zeros[:, -self.heads :] = _NO_WEIGHT
        return (zeros,)

    def input_projection(self, x: Float[Tensor, "batch time in"]) -> tuple[Tensor, ...]:
        """Return k_t; v_t with a 1 behind each head's; i; and log F, (batch, time, any) each."""
        values = nn.functional.pad(self.value(x).unflatten(-1, (self.heads, -1)), (0, 1), value=1.0).flatten(-2)
        i, f = self.gates(x).chunk(2, dim=-1)
        log_F = f if self.forget == "exp" else nn.functional.logsigmoid(f)
        return self.key(x) / math.sqrt(self.key_size), values, i, log_F

    def recurrent_weights(self) -> tuple[Tensor, Tensor]:
        """Return the matrices that spread keys and gates over the state."""
        return self.spread, self.of_gates

    def step(self, projected: tuple[Tensor, ...], state: State, recurrent_weights: tuple[Tensor, Tensor]) -> State:
        """Return the columns of C_t and n_t, and m_t."""
        key, value, i, log_F = projected
        spread, of_gates = recurrent_weights
        S, m = self._parts(state[0])
        kept = m + log_F
        m = torch.maximum(kept, i)
        old, new = torch.exp(kept - m) @ of_gates, torch.exp(i - m) @ of_gates
        S = self.by_column(old) * S + self.by_column(new * value) * (key @ spread)
        return (torch.cat([S, m], dim=-1),)

    def queries(self, x: Float[Tensor, "*steps in"]) -> Float[Tensor, "*steps _"]:
        """Return q_t."""
        return self.query(x)

    def read(self, output: Float[Tensor, "*steps _"], x: Float[Tensor, "*steps in"]) -> Float[Tensor, "*steps hidden"]:
        """Return C_t q_t over the normaliser."""
        S, m = self._parts(output)
        return self._normalised(self.read_with(S, self.queries(x)).unflatten(-1, (self.heads, -1)), m)

    def finish(self, read: Float[Tensor, "*steps hidden"], x: Float[Tensor, "*steps in"]) -> Tensor:
        """Return h_t."""
        return torch.sigmoid(self.output_gate(x)) * read

    def in_chunks(
        self, x: Float[Tensor, "batch time in"], state: State, outputs: Literal["every", "last"]
    ) -> tuple[Float[Tensor, "batch time hidden"] | None, State]:
        """Run all steps; a chunk's own writes are weighed with the largest of them, then with m where it begins."""
        keys, values, i, log_F = self.input_projection(x)
        chunks = Chunks(x.shape[1], self.key_size)
        decayed = log_decays_between(chunks.of(log_F, self.heads).squeeze(-1))
        weights = decayed[..., 1:, 1:] + chunks.of(i, self.heads, behind=-math.inf).mT  # of write s, read after step t
        largest = weights.amax(-1)
        k, v = chunks.of(keys, self.heads), chunks.of(values, self.heads)
        added = (k.mT * torch.exp(weights[..., -1:, :] - largest[..., -1:, None])) @ v

        S, m = self._parts(state[0])
        S, at_start, of_start = self.matrices(S), [], []
        for total, most, new in zip(
            decayed[..., -1, 0].unbind(1), largest[..., -1].unbind(1), added.unbind(1), strict=True
        ):
            at_start.append(S)
            of_start.append(m)
            kept = total + m
            m = torch.maximum(kept, most)
            S = torch.exp(kept - m)[..., None, None] * S + torch.exp(most - m)[..., None, None] * new
        after = (torch.cat([self.flat(S), m], dim=-1),)
        if outputs == "last":
            return None, after
        kept = decayed[..., 1:, 0] + torch.stack(of_start, dim=1)[..., None]
        stabiliser = torch.maximum(kept, largest)
        q = chunks.of(self.queries(x), self.heads)
        within = (q @ k.mT) * torch.exp(weights - stabiliser[..., None])
        reads = within @ v + (q * torch.exp(kept - stabiliser)[..., None]) @ torch.stack(at_start, dim=1)
        read = chunks.joined(reads).unflatten(-1, (self.heads, -1))
        return self._normalised(read, chunks.joined(stabiliser[..., None])), after

    def _parts(self, packed: Float[Tensor, "*steps _"]) -> tuple[Tensor, Tensor]:
        """Return a state's columns of C and n, and its m."""
        S, m = packed.split([self.key_size * (self.hidden + self.heads), self.heads], dim=-1)
        return S, m

    def _normalised(self, read: Float[Tensor, "*steps heads _"], m: Float[Tensor, "*steps heads"]) -> Tensor:
        """Return C_t q_t / max(|n_t^T q_t|, exp(-m)), (..., hidden), of C_t q_t with n_t^T q_t behind each head's."""
        read, normaliser = read[..., :-1].flatten(-2), read[..., -1]
        least = torch.maximum(normaliser.abs(), torch.exp(-m.clamp(min=_LEAST)))
        return read / self.by_unit(least)

    def claims(self) -> list[Claim]:
        """Return that the larger exponential of a step is 1, whatever m and the gates: no sum over- or underflows."""

        def larger() -> Tensor:
            x = drawn_inputs(self)
            state = self.initial_state(len(x))[0]
            before = state[:, -self.heads :].copy_(torch.linspace(-50, 50, len(x))[:, None])
            after = one_step(self, x, state)[:, -self.heads :]
            i, f = self.gates(x[:, 0]).chunk(2, dim=-1)
            log_F = f if self.forget == "exp" else nn.functional.logsigmoid(f)
            return torch.maximum(log_F + before, i) - after

        return [
            within("larger exponent of a step, log F + m_{t-1} - m_t or i_t - m_t, for any input", larger, 0.0, 0.0)
        ]
