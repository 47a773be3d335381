"""Matrix memories that are written to by the delta rule: before a value is stored, what lies under its key is read.

    S -> alpha * S,    then for each of the keys of a time step    S -> S - beta (S k - v) k^T

The second is S (I - beta k k^T) + beta v k^T: with |k| = 1 it turns the value that is stored under k into a mean of it
and v, and keeps the rest. In the direction of k the eigenvalue is 1 - beta: with beta in (0, 2) it may be negative.
"""

import math
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from stablebench.models.base import State
from stablebench.models.blocks.in_block import inverse_softplus
from stablebench.models.blocks.matrix_memory import MatrixMemory, MemoryReadout, unit_length
from stablebench.models.claims.claim import Claim, largest_singular_value_at_most


class DeltaRule(MatrixMemory):
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
        keys = unit_length(nn.functional.silu(self.key(x)), self.householders * self.heads)
        values = nn.functional.silu(self.value(x))
        beta = self.largest_beta * torch.sigmoid(self.beta(x))
        parts = [part.chunk(self.householders, dim=-1) for part in (keys, values, beta)]
        writes = [part for key, value, b in zip(*parts, strict=True) for part in (key, value, self.by_unit(b))]
        return tuple(writes) if self.decay is None else (*writes, self.by_unit(self.decay(x)))

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

    def layer_output(
        self, output: Float[Tensor, "*steps _"], x: Float[Tensor, "*steps in"]
    ) -> Float[Tensor, "*steps hidden"]:
        """Return what is read with the query."""
        q = unit_length(nn.functional.silu(self.query(x)), self.heads)
        return self.readout(self.read_with(output, q), x)

    def claims(self) -> list[Claim]:
        """Return that no direction grows."""
        return [
            Claim(
                "log10 of the largest singular value of dh_T/dh_1, a product of alpha (I - beta k k^T), <= 0",
                "0 <= beta <= 2, |k| = 1, by construction",
                lambda e: largest_singular_value_at_most(e, 0.0, 2 * e.steps * e.weights_eps),
            )
        ]


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

    def of_steps(self, steps: Float[Tensor, "*steps heads"]) -> Float[Tensor, "*steps heads"]:
        """Return alpha_t of Delta_t."""
        return torch.exp(-torch.exp(self.A_log) * steps)

    def forward(self, x: Float[Tensor, "*steps in"]) -> Float[Tensor, "*steps heads"]:
        """Return alpha_t."""
        return self.of_steps(self.steps(x))


def biased_for_small_steps(linear: nn.Linear) -> nn.Linear:
    """Return a map whose biases are drawn again: softplus of them is 0.001 to 0.1, uniform in its logarithm."""
    low, high = math.log(0.001), math.log(0.1)
    with torch.no_grad():
        linear.bias.copy_(inverse_softplus(torch.exp(torch.empty_like(linear.bias).uniform_(low, high))))
    return linear
