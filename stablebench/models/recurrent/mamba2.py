r"""Mamba-2: a matrix memory whose decay is one number a head that the input decides, the state space dual form.

Equation (a head's matrix H, d_v x N; B_t and C_t are shared by the heads):

    H_t = a_t H_{t-1} + Delta_t u_t B_t^T,    a_t = exp(-exp(A_log) Delta_t)
    Delta_t = softplus(W_Delta x_t + b_Delta)
    u_t, B_t, C_t = silu(W_u x_t + b_u), silu(W_B x_t + b_B), silu(W_C x_t + b_C)
    y_t = W_o RMSNorm((H_t C_t + D u_t) * silu(W_z x_t + b_z))

Shapes: x_t (batch, in); u_t, y_t (batch, hidden); B_t, C_t (batch, N); a_t, Delta_t (batch, heads); the state (batch,
    hidden N): the first columns of all heads' H, then the second ones, and so on; A_log, D (heads); W_o (hidden,
    hidden); RMSNorm's weights (hidden). `hidden` = heads d_v, N = `key_size`.
Parameters: `(2 * hidden + 2 * key_size + heads) * (inputs + 1) + hidden ** 2 + hidden + 2 * heads`.
Cost per step: `hidden ** 2 + hidden * key_size + (3 * hidden + 2 * key_size + heads) * inputs + key_size ** 2 * hidden`
    multiply-adds; u is computed before and again after the recurrence. The last term is a product with a fixed matrix
    of 0 and 1 that copies B's numbers to where they act. The recurrence itself is elementwise: 2 hidden N more.
Init: all affine maps as torch.nn.Linear, but b_Delta: softplus of it is 0.001 to 0.1, uniform in its logarithm; A_log =
    log of U(1, 16), D and RMSNorm's weights 1. H_0 = 0.
Stability claim: 0 < a_t < 1 whatever the input, so dH_T/dH_t, diagonal with the products of a_s, s = t + 1 ... T, does
    not explode. It is never negative, so no state can count modulo two. Asserted in tests/models/test_mamba2.py.
Reference: Dao, Gu. Transformers are SSMs: Generalized Models and Efficient Algorithms Through Structured State Space
    Duality. ICML 2024. https://arxiv.org/abs/2405.21060
Differs from the paper:
    - Without the short convolution of u, B and C, and with as many inner units as the output has (no expansion).
    - The affine maps have biases, since here a first layer reads inputs as they are, of one feature perhaps.
    - Chunks of 16 to 32 steps, where the authors' code has 64 to 256: on a CPU fewer are faster.
"""

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from stablebench.models.base import State
from stablebench.models.blocks.chunkwise import Chunks, ChunkwiseMemory, decays_between, starts
from stablebench.models.blocks.delta_rule import HeadDecay
from stablebench.models.blocks.linear import LinearRecurrence
from stablebench.models.blocks.matrix_memory import spread_of_keys
from stablebench.models.claims.claim import Claim
from stablebench.models.claims.linear_steps import decays_never_negative, never_grows
from stablebench.models.registry import register_model
from stablebench.schema.strict import Count

Drives = tuple[Tensor, Tensor, Tensor]


@register_model
class Mamba2(ChunkwiseMemory, LinearRecurrence):
    """See the module docstring for the equation.

    Args:
        in_features: Number of input features, the width of x_t, >= 1.
        hidden: Width of the values u_t and of the output, heads times d_v, >= 1.
        heads: Number of heads, each with a decay of its own, >= 1; it divides `hidden`.
        key_size: Number N of columns of a head's matrix, >= 1; the state has `hidden` times as many numbers.
    """

    def __init__(self, in_features: int, hidden: int, *, heads: Count = 1, key_size: Count = 8) -> None:
        super().__init__(in_features, hidden, heads=heads, key_size=key_size)
        self.spread = spread_of_keys(1, key_size, hidden)
        self.values = nn.Linear(in_features, hidden)
        self.B = nn.Linear(in_features, key_size)
        self.C = nn.Linear(in_features, key_size)
        self.decay = HeadDecay(in_features, heads)
        self.D = nn.Parameter(torch.ones(heads))
        self.gate = nn.Linear(in_features, hidden)
        self.norm = nn.RMSNorm(hidden, eps=1e-5)
        self.out = nn.Linear(hidden, hidden, bias=False)

    def input_projection(self, x: Float[Tensor, "batch time in"]) -> Drives:
        """Return a_t by unit, Delta_t u_t and B_t, (batch, time, any) each."""
        step = self.decay.steps(x)
        a, u = torch.exp(self.decay.logarithms(step)), nn.functional.silu(self.values(x))
        return self.by_unit(a), self.by_unit(step) * u, nn.functional.silu(self.B(x))

    def recurrent_weights(self) -> Tensor:
        """Return the matrix that spreads B over the state."""
        return self.spread

    def terms(self, projected: Drives, recurrent_weights: Tensor) -> tuple[Tensor, Tensor]:
        """Return a_t and Delta_t u_t B_t^T."""
        a, u, B = projected
        return self.by_column(a), self.by_column(u) * (B @ recurrent_weights)

    def queries(self, x: Float[Tensor, "*steps in"]) -> Float[Tensor, "*steps _"]:
        """Return C_t."""
        return nn.functional.silu(self.C(x))

    def read(self, output: Float[Tensor, "*steps _"], x: Float[Tensor, "*steps in"]) -> Float[Tensor, "*steps hidden"]:
        """Return H_t C_t."""
        return (self.queries(x)[..., None, :] @ output.unflatten(-1, (self.key_size, -1))).squeeze(-2)

    def finish(self, read: Float[Tensor, "*steps hidden"], x: Float[Tensor, "*steps in"]) -> Tensor:
        """Return y_t."""
        y = read + self.by_unit(self.D) * nn.functional.silu(self.values(x))
        return self.out(self.norm(y * nn.functional.silu(self.gate(x))))

    def in_chunks(
        self, x: Float[Tensor, "batch time in"], state: State, outputs: Literal["every", "last"]
    ) -> tuple[Float[Tensor, "batch time hidden"] | None, State]:
        """Run all steps: H_t C_t = a_1 ... a_t H_0 C_t + sum_s a_{s+1} ... a_t (B_s C_t) Delta_s u_s."""
        chunks, step = Chunks(x.shape[1], self.key_size), self.decay.steps(x)
        between = decays_between(chunks.of(self.decay.logarithms(step), self.heads).squeeze(-1))
        u = chunks.of(self.by_unit(step) * nn.functional.silu(self.values(x)), self.heads)
        B_T = chunks.of(nn.functional.silu(self.B(x)), 1).mT
        added = (B_T * between[..., -1:, 1:]) @ u
        at_start, H = starts(self.matrices(state[0]), between[..., -1:, :1], added, torch.mul)
        if outputs == "last":
            return None, (self.flat(H),)
        C = chunks.of(self.queries(x), 1)
        within = (C @ B_T) * between[..., 1:, 1:]
        return chunks.joined(within @ u + (C * between[..., 1:, :1]) @ at_start), (self.flat(H),)

    def claims(self) -> list[Claim]:
        """Return that decays are between 0 and 1, and that the gradient does not explode."""
        return [decays_never_negative(self), never_grows("a_t")]
