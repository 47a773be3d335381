r"""Mamba-3: Mamba-2 with states that the input rotates, and a second-order step that weighs the previous input, too.

Equation (a head's matrix H, d_v x N; one input and one output a head):

    H_t = alpha_t (H_{t-1} + (1 - lambda_t) Delta_t u_{t-1} B_{t-1}^T) R_t^T + lambda_t Delta_t u_t B_t^T
    alpha_t = exp(-Delta_t softplus(W_A x_t + b_A)),  Delta_t = softplus(W_Delta x_t + b_Delta)
    lambda_t = sigmoid(W_lambda x_t + b_lambda),  u_t = W_u x_t + b_u
    B_t = RMSNorm(W_B x_t + b_B) + B_0,  C_t = RMSNorm(W_C x_t + b_C) + C_0      (B_0, C_0 one vector a head)
    y_t = W_o ((H_t C_t + D u_t) * silu(W_z x_t + b_z))

    R_t turns the columns j and N / 2 + j of H, j = 1 ... N / 2, as a plane by the angle Delta_t theta_t,j, theta_t =
    W_theta x_t + b_theta: the state is N / 2 complex numbers for each unit, with eigenvalues alpha exp(i Delta theta).

Shapes: x_t (batch, in); u_t, y_t (batch, hidden); B_t, C_t (batch, heads N); theta_t (batch, N / 2); alpha_t, Delta_t,
    lambda_t (batch, heads); the state (batch, hidden N + heads N + hidden): the first columns of all heads' H, then the
    second ones, and so on, then B_t and u_t; B_0, C_0 (heads, N), D (heads); RMSNorm's weights (N); W_o (hidden,
    hidden). `hidden` = heads d_v, N = `key_size`, even.
Parameters: `(2 * hidden + 2 * key_size + 3 * heads + key_size / 2) * (inputs + 1) + hidden ** 2 + 2 * key_size + 2 *
    heads * key_size + heads`.
Cost per step: `hidden ** 2 + hidden * key_size + (3 * hidden + 2 * key_size + 3 * heads + key_size / 2) * inputs + 2.5
    * heads * key_size ** 2 * hidden` multiply-adds; u is computed before and again after the recurrence. The last term
    are products with fixed matrices of 0 and 1 that copy the numbers of B and of the angles to where they act.
Init: all affine maps as torch.nn.Linear, but b_Delta: softplus of it is 0.001 to 0.1, uniform in its logarithm; B_0,
    C_0, D and RMSNorm's weights 1. H_0 = 0 and no previous input.
Stability claim: dH_t/dH_{t-1} is alpha_t R_t, a rotation that shrinks, so its singular values are alpha_t in (0, 1) and
    its eigenvalues alpha_t exp(+-i Delta theta), real and negative at an angle of pi. Asserted in
    tests/models/test_mamba3.py.
Reference: Lahoti, Li, Chen, Wang, Bick, Kolter, Dao, Gu. Mamba-3: Improved Sequence Modeling using State Space
    Principles. ICLR 2026. https://arxiv.org/abs/2603.15569
Differs from the paper:
    - One input and output a head; its form with several (MIMO) is left out. All pairs of columns are turned, where the
      authors' code turns half of them by default.
    - With as many inner units as the output has (no expansion); A_t is not kept away from 0.
    - The affine maps have biases, since here a first layer reads inputs as they are, of one feature perhaps.
    - Chunks of 16 to 32 steps, where the authors' code has 64: on a CPU fewer are faster.
"""

from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from stablebench.errors import UserError
from stablebench.models.base import State
from stablebench.models.blocks.chunkwise import Chunks, ChunkwiseMemory, decays_between, starts
from stablebench.models.blocks.delta_rule import biased_for_small_steps
from stablebench.models.blocks.matrix_memory import spread_of_keys
from stablebench.models.claims.claim import Claim
from stablebench.models.claims.linear_steps import maps_of_heads, within
from stablebench.models.registry import register_model
from stablebench.schema.strict import Count


@register_model
class Mamba3(ChunkwiseMemory):
    """See the module docstring for the equation.

    Args:
        in_features: Number of input features, the width of x_t, >= 1.
        hidden: Width of the values u_t and of the output, heads times d_v, >= 1.
        heads: Number of heads, each with a decay and a step size of its own, >= 1; it divides `hidden`.
        key_size: Number N of columns of a head's matrix, even and >= 2; the matrices have `hidden` times as many
            numbers.
    """

    spread_angles: Tensor

    def __init__(self, in_features: int, hidden: int, *, heads: Count = 1, key_size: Count = 8) -> None:
        super().__init__(in_features, hidden, heads=heads, key_size=key_size)
        if key_size % 2:
            raise UserError(f"`key_size` must be even (columns are turned in pairs), got {key_size}.")
        self.register_buffer("spread_angles", spread_of_keys(heads, key_size // 2, hidden), persistent=False)
        self.values = nn.Linear(in_features, hidden)
        self.B = nn.Linear(in_features, key_size)
        self.C = nn.Linear(in_features, key_size)
        self.B_norm = nn.RMSNorm(key_size, eps=1e-5)
        self.C_norm = nn.RMSNorm(key_size, eps=1e-5)
        self.B_bias = nn.Parameter(torch.ones(heads, key_size))
        self.C_bias = nn.Parameter(torch.ones(heads, key_size))
        self.step_size = biased_for_small_steps(nn.Linear(in_features, heads))
        self.rate = nn.Linear(in_features, heads)
        self.trapezoid = nn.Linear(in_features, heads)
        self.angles = nn.Linear(in_features, key_size // 2)
        self.D = nn.Parameter(torch.ones(heads))
        self.gate = nn.Linear(in_features, hidden)
        self.out = nn.Linear(hidden, hidden, bias=False)

    @property
    def state_sizes(self) -> tuple[int, ...]:
        """The width of all matrices and of the previous B and u."""
        return (sum(self._parts),)

    @property
    def _parts(self) -> list[int]:
        return [self.hidden * self.key_size, self.heads * self.key_size, self.hidden]

    def input_projection(self, x: Float[Tensor, "batch time in"]) -> tuple[Tensor, ...]:
        """Return B_t, u_t, cosines and sines of the angles times alpha_t, and what weighs both inputs, by unit."""
        dt, log_alpha, share, angle = self._dynamics(x)
        alpha = torch.exp(log_alpha)
        turns = [(alpha[..., None] * part).flatten(-2) for part in (torch.cos(angle), torch.sin(angle))]
        return self._keys(x), self.values(x), *turns, self.by_unit((1 - share) * dt), self.by_unit(share * dt)

    def _dynamics(self, x: Float[Tensor, "batch time in"]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return Delta_t, log alpha_t and lambda_t, (batch, time, heads), and angles, (batch, time, heads, N / 2)."""
        dt = nn.functional.softplus(self.step_size(x))
        log_alpha = -dt * nn.functional.softplus(self.rate(x))
        angle = dt[..., None] * self.angles(x)[..., None, :]
        return dt, log_alpha, torch.sigmoid(self.trapezoid(x)), angle

    def _keys(self, x: Float[Tensor, "batch time in"]) -> Float[Tensor, "batch time _"]:
        """Return B_t of all heads."""
        return (self.B_norm(self.B(x))[..., None, :] + self.B_bias).flatten(-2)

    def recurrent_weights(self) -> tuple[Tensor, Tensor]:
        """Return the matrices that spread B and the angles over the state."""
        return self.spread, self.spread_angles

    def step(self, projected: Any, state: State, recurrent_weights: tuple[Tensor, Tensor]) -> State:
        """Return the columns of H_t, and B_t and u_t."""
        B, u, cosine, sine, before, now = projected
        (packed,) = state
        spread, spread_angles = recurrent_weights
        H, B_before, u_before = packed.split(self._parts, dim=-1)
        H = H + self.by_column(before * u_before) * (B_before @ spread)
        cosine, sine = cosine @ spread_angles, sine @ spread_angles
        first, second = H.chunk(2, dim=-1)
        H = torch.cat([cosine * first - sine * second, sine * first + cosine * second], dim=-1)
        return (torch.cat([H + self.by_column(now * u) * (B @ spread), B, u], dim=-1),)

    def queries(self, x: Float[Tensor, "*steps in"]) -> Float[Tensor, "*steps _"]:
        """Return C_t."""
        return (self.C_norm(self.C(x))[..., None, :] + self.C_bias).flatten(-2)

    def read(self, output: Float[Tensor, "*steps _"], x: Float[Tensor, "*steps in"]) -> Float[Tensor, "*steps hidden"]:
        """Return H_t C_t."""
        return self.read_with(output[..., : self.hidden * self.key_size], self.queries(x))

    def finish(self, read: Float[Tensor, "*steps hidden"], x: Float[Tensor, "*steps in"]) -> Tensor:
        """Return y_t."""
        return self.out((read + self.by_unit(self.D) * self.values(x)) * nn.functional.silu(self.gate(x)))

    def in_chunks(
        self, x: Float[Tensor, "batch time in"], state: State, outputs: Literal["every", "last"]
    ) -> tuple[Float[Tensor, "batch time hidden"] | None, State]:
        """Run all steps, in coordinates that turn along: as those of Mamba-2, of keys and queries that are turned back.

        An input is written where it arrives, times lambda Delta, and at the next step again; both together for all that
        read it later. What is written again at the first step of a chunk is added to the memory at its start.
        """
        chunks, heads = Chunks(x.shape[1], self.key_size), self.heads
        H, B_before, u_before = state[0].split(self._parts, dim=-1)
        dt, log_alpha, share, angle = self._dynamics(x)
        B, u = self._keys(x), self.values(x)
        between = decays_between(chunks.of(log_alpha, heads).squeeze(-1))
        angle = chunks.of(angle.flatten(-2), heads).cumsum(-2)  # from the start of the chunk
        again, now = (chunks.of(weight, heads) for weight in ((1 - share) * dt, share * dt))
        keys, values = chunks.of(B, heads), chunks.of(u, heads)
        first = [
            torch.cat([before.unflatten(-1, (1, heads, 1, -1)), part[:, :-1, :, -1:]], dim=1)
            for before, part in ((B_before, keys), (u_before, values))
        ]
        back = turned(keys, -angle).mT
        weights = (now + nn.functional.pad(again[..., 1:, :], (0, 0, 0, 1))).mT
        whole_turn = turned(torch.eye(self.key_size, dtype=x.dtype, device=x.device), angle[..., -1:, :]).mT
        at_entry = again[..., :1, :] * first[0].mT @ first[1]
        added = whole_turn @ ((back * between[..., -1:, 1:] * weights) @ values)
        carry = between[..., -1:, :1] * whole_turn
        at_start, H = starts(self.matrices(H), carry, added + carry @ at_entry)
        after = (torch.cat([self.flat(H), B[:, -1], u[:, -1]], dim=-1),)
        if outputs == "last":
            return None, after
        queries = turned(chunks.of(self.queries(x), heads), -angle)
        reach = between[..., 1:, 1:].tril(-1) * weights + torch.diag_embed(now.squeeze(-1))
        read = (queries @ back * reach) @ values
        return chunks.joined(read + (queries * between[..., 1:, :1]) @ (at_start + at_entry)), after

    def claims(self) -> list[Claim]:
        """Return that a step turns a head's matrix and shrinks it."""

        def unequal() -> Tensor:
            values = torch.linalg.svdvals(maps_of_heads(self))
            return values[..., 0] - values[..., -1]

        largest = "singular values of dH_t/dH_{t-1}, alpha_t, for any input: least and greatest"
        return [
            within(largest, lambda: torch.linalg.svdvals(maps_of_heads(self)), 0.0, 1.0),
            within("a rotation times alpha_t: greatest less least singular value of a head's step", unequal, 0.0, 0.0),
        ]


def turned(x: Float[Tensor, "*any _"], angle: Float[Tensor, "*any _"]) -> Tensor:
    """Return numbers j and n / 2 + j of n, the last axis, turned as a plane by the angle j of n / 2."""
    first, second = x.chunk(2, dim=-1)
    cosine, sine = torch.cos(angle), torch.sin(angle)
    return torch.cat([cosine * first - sine * second, sine * first + cosine * second], dim=-1)
