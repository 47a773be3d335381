"""Matrix memories that are written to by the delta rule: before a value is stored, what lies under its key is read.

    S -> alpha * S,    then for each of the keys of a time step    S -> S - beta (S k - v) k^T

The second is S (I - beta k k^T) + beta v k^T: with |k| = 1 it turns the value that is stored under k into a mean of it
and v, and keeps the rest. In the direction of k the eigenvalue is 1 - beta: with beta in (0, 2) it may be negative.

In chunks of n writes (Yang et al. 2024, section 3.2; with alpha Yang, Kautz & Hatamizadeh 2025, section 3.3), g_ij the
product of the alphas after write j up to write i, g_i that from the start, where the memory is S_0:

    u_i = beta_i (v_i - g_i S_0 k_i - sum_{j<i} g_ij (k_i k_j) u_j)        what write i adds to the memory under k_i
    S q_i = g_i S_0 q_i + sum_{j<=i} g_ij (q_i k_j) u_j,    S_n = g_n S_0 + sum_j g_nj u_j k_j^T

The first is a triangular system, (I + A) U = diag(beta) (V - K' S_0) with u_i, v_i and k'_i = g_i k_i as rows. All that
is made of U is linear in it; so Z = M (I + A)^-1 diag(beta), the rows of M those of the sums above, is solved for, d_k
+ n rows whatever d_v, and M U = Z V - (Z K') S_0.
"""

import math
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from stablebench.models.base import State
from stablebench.models.blocks.chunkwise import Chunks, ChunkwiseMemory, decays_between, starts
from stablebench.models.blocks.in_block import inverse_softplus
from stablebench.models.blocks.matrix_memory import MemoryReadout, unit_length
from stablebench.models.claims.claim import Claim
from stablebench.models.claims.linear_steps import maps_of_heads, never_grows, within


class DeltaRule(ChunkwiseMemory):
    """A memory with `householders` writes a time step, and perhaps a decay before them.

    Args:
        in_features: Width of x_t.
        hidden: Width of values and outputs.
        heads: Number of heads.
        key_size: d_k.
        negative_eigenvalues: Whether beta is in (0, 2), not (0, 1).
        householders: Keys of a time step.
        decay: Whether there is alpha.
        gated: Whether the output has a gate.
    """

    def __init__(
        self,
        in_features: int,
        hidden: int,
        *,
        heads: int,
        key_size: int,
        negative_eigenvalues: bool,
        householders: int = 1,
        decay: bool = False,
        gated: bool = False,
    ) -> None:
        super().__init__(in_features, hidden, heads=heads, key_size=key_size)
        self.householders = householders
        self.largest_beta = 2.0 if negative_eigenvalues else 1.0
        self.query = nn.Linear(in_features, heads * key_size)
        self.key = nn.Linear(in_features, householders * heads * key_size)
        self.value = nn.Linear(in_features, householders * hidden)
        self.beta = nn.Linear(in_features, householders * heads)
        self.decay = HeadDecay(in_features, heads) if decay else None
        self.readout = MemoryReadout(in_features, hidden, heads=heads, gated=gated)

    def input_projection(self, x: Float[Tensor, "batch time in"]) -> tuple[Tensor, ...]:
        """Return the keys, values and beta of every write, (batch, time, any) each, and alpha if there is one."""
        parts = [part.chunk(self.householders, dim=-1) for part in self._writes(x)]
        writes = [part for key, value, b in zip(*parts, strict=True) for part in (key, value, self.by_unit(b))]
        return tuple(writes) if self.decay is None else (*writes, self.by_unit(self.decay(x)))

    def _writes(self, x: Float[Tensor, "batch time in"]) -> tuple[Tensor, Tensor, Tensor]:
        """Return keys, values and beta, (batch, time, any) each, all of the first write first, head after head."""
        keys = unit_length(nn.functional.silu(self.key(x)), self.householders * self.heads)
        values = nn.functional.silu(self.value(x))
        return keys, values, self.largest_beta * torch.sigmoid(self.beta(x))

    def recurrent_weights(self) -> Tensor:
        """Return the matrix that spreads keys over the state."""
        return self.spread

    def step(self, projected: Any, state: State, recurrent_weights: Tensor) -> State:
        """Return S_t."""
        (S,) = state
        if self.decay is not None:
            S = self.by_column(projected[-1]) * S
        for i in range(self.householders):
            key, value, beta = projected[3 * i : 3 * i + 3]
            spread = key @ recurrent_weights
            written = beta * (value - self.times_key(S, spread))
            S = S + self.by_column(written) * spread
        return (S,)

    def queries(self, x: Float[Tensor, "*steps in"]) -> Float[Tensor, "*steps _"]:
        """Return q_t."""
        return unit_length(nn.functional.silu(self.query(x)), self.heads)

    def finish(self, read: Float[Tensor, "*steps hidden"], x: Float[Tensor, "*steps in"]) -> Tensor:
        """Return y_t."""
        return self.readout(read, x)

    def in_chunks(
        self, x: Float[Tensor, "batch time in"], state: State, outputs: Literal["every", "last"]
    ) -> tuple[Float[Tensor, "batch time hidden"] | None, State]:
        """Run all steps; see the module docstring."""
        n_h, heads, d_k = self.householders, self.heads, self.key_size
        chunks = Chunks(x.shape[1], d_k, n_h)
        keys, values, beta = (self._by_write(chunks, part) for part in self._writes(x))
        between = decays_between(self._log_decays(chunks, x))  # of steps
        of_writes = between[..., 1:, 1:].repeat_interleave(n_h, dim=-1)  # (..., step, write)
        to_end = between[..., -1:, 1:].repeat_interleave(n_h, dim=-1)
        from_start = between[..., 1:, :1]
        k_mT = keys.mT
        A = (beta * (keys @ k_mT) * of_writes.repeat_interleave(n_h, dim=-2)).tril(-1)
        M = k_mT * to_end
        if outputs == "every":
            queries = chunks.of(self.queries(x), heads)
            M = torch.cat([M, queries @ k_mT * of_writes], dim=-2)
        Z = torch.linalg.solve_triangular(A, M, upper=False, left=False, unitriangular=True) * beta.mT
        of_start = Z @ (keys * from_start.repeat_interleave(n_h, dim=-2))
        carry = between[..., -1:, :1] * torch.eye(d_k, dtype=x.dtype, device=x.device) - of_start[..., :d_k, :]
        added = Z[..., :d_k, :] @ values
        at_start, S = starts(self.matrices(state[0]), carry, added)
        if outputs == "last":
            return None, (self.flat(S),)
        of_start = queries * from_start - of_start[..., d_k:, :]
        return chunks.joined(Z[..., d_k:, :] @ values + of_start @ at_start), (self.flat(S),)

    def _by_write(self, chunks: Chunks, x: Float[Tensor, "batch time _"]) -> Tensor:
        """Return numbers of every write, (batch, chunks, heads, writes, width)."""
        parts = [chunks.of(part, self.heads) for part in x.chunk(self.householders, dim=-1)]
        return torch.stack(parts, dim=-2).flatten(-3, -2)

    def _log_decays(self, chunks: Chunks, x: Float[Tensor, "batch time in"]) -> Float[Tensor, "*chunk length"]:
        """Return the logarithms of alpha, (batch, chunks, heads, length); of no alpha, zeros, (length)."""
        if self.decay is None:
            return x.new_zeros(chunks.length)
        return chunks.of(self.decay.logarithms(self.decay.steps(x)), self.heads).squeeze(-1)

    def claims(self) -> list[Claim]:
        """Return where the eigenvalues of a step lie, and that no direction grows."""
        grown = never_grows("alpha (I - beta k k^T)", "0 <= beta <= 2, |k| = 1, by construction", 2.0)
        if self.householders > 1:
            moduli = "moduli of the eigenvalues of a step, for any input: least and greatest"
            return [within(moduli, lambda: torch.linalg.eigvals(maps_of_heads(self)).abs(), 0.0, 1.0), grown]
        values = "eigenvalues of a step, for any input: least and greatest"
        least = -1.0 if self.largest_beta > 1 else 0.0
        return [within(values, lambda: torch.linalg.eigvalsh(maps_of_heads(self)), least, 1.0), grown]


class HeadDecay(nn.Module):
    """alpha_t = exp(-exp(A_log) Delta_t), Delta_t = softplus(W x_t + b), in (0, 1), one a head: the decay of Mamba-2.

    Args:
        in_features: Width of x_t.
        heads: Number of heads.
    """

    def __init__(self, in_features: int, heads: int) -> None:
        super().__init__()
        self.step_size = biased_for_small_steps(nn.Linear(in_features, heads))
        self.A_log = nn.Parameter(torch.empty(heads).uniform_(1, 16).log())

    def steps(self, x: Float[Tensor, "*steps in"]) -> Float[Tensor, "*steps heads"]:
        """Return Delta_t."""
        return nn.functional.softplus(self.step_size(x))

    def logarithms(self, steps: Float[Tensor, "*steps heads"]) -> Float[Tensor, "*steps heads"]:
        """Return log alpha_t of Delta_t, which stays finite where alpha_t does not differ from 0."""
        return -torch.exp(self.A_log) * steps

    def forward(self, x: Float[Tensor, "*steps in"]) -> Float[Tensor, "*steps heads"]:
        """Return alpha_t."""
        return torch.exp(self.logarithms(self.steps(x)))


def biased_for_small_steps(linear: nn.Linear) -> nn.Linear:
    """Return a map whose biases are drawn again: softplus of them is 0.001 to 0.1, uniform in its logarithm."""
    low, high = math.log(0.001), math.log(0.1)
    with torch.no_grad():
        linear.bias.copy_(inverse_softplus(torch.exp(torch.empty_like(linear.bias).uniform_(low, high))))
    return linear
