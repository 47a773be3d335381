"""States that are matrices, one a head: written to by outer products of a value and a key, read by a query.

A head's matrix S is (d_v, d_k), d_v = hidden / heads and d_k = `key_size`. The state is flat: the first columns of all
heads side by side, which are `hidden` numbers, then the second columns, and so on. So it has hidden * d_k numbers,
whatever the heads, and a step is elementwise but for copying keys to where they act. More heads of one key size are
more keys and smaller values: the parameters of queries and keys grow with heads * d_k, those of the rest do not.

    keys k (heads * d_k): head after head          values v, outputs S q (hidden): head after head
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from stablebench.errors import UserError
from stablebench.models.base import RecurrentModel


class MatrixMemory(RecurrentModel):
    """A recurrence whose state is a matrix for every head.

    Args:
        in_features: Width of x_t.
        hidden: Width of values and outputs, heads * d_v.
        heads: Number of heads; it divides `hidden`.
        key_size: d_k.
    """

    spread: Tensor

    def __init__(self, in_features: int, hidden: int, *, heads: int, key_size: int) -> None:
        super().__init__(in_features, hidden)
        if hidden % heads:
            raise UserError(f"`heads` must divide `hidden`, got {heads} and {hidden}.")
        self.heads, self.key_size = heads, key_size
        self.register_buffer("spread", spread_of_keys(heads, key_size, hidden), persistent=False)

    @property
    def state_sizes(self) -> tuple[int, ...]:
        """The width of all matrices."""
        return (self.hidden * self.key_size,)

    @property
    def out_features(self) -> int:
        """The width of the output."""
        return self.hidden

    def by_unit(self, x: Float[Tensor, "*steps heads"]) -> Float[Tensor, "*steps hidden"]:
        """Return one number a head for each of its units."""
        return x.repeat_interleave(self.hidden // self.heads, dim=-1)

    def by_column(self, v: Float[Tensor, "*steps hidden"]) -> Float[Tensor, "*steps _"]:
        """Return values, for each column of the state."""
        return torch.cat([v] * self.key_size, dim=-1)

    def times_key(self, S: Tensor, spread: Tensor) -> Tensor:
        """Return S k of a flat state and of keys as `k @ spread`, (batch, hidden)."""
        columns = (S * spread).chunk(self.key_size, dim=-1)
        return total([columns[j] for j in range(self.key_size)])

    def read_with(self, S: Float[Tensor, "*steps _"], q: Float[Tensor, "*steps _"]) -> Float[Tensor, "*steps _"]:
        """Return S q of flat states and of queries, head after head; a column may be wider than `hidden`."""
        if self.heads == 1:
            return (q[..., None, :] @ S.unflatten(-1, (self.key_size, -1))).squeeze(-2)
        columns = S.unflatten(-1, (self.key_size, self.heads, -1)).unbind(-3)  # no copies
        queries = q.unflatten(-1, (self.heads, self.key_size)).unbind(-1)
        return total([c * k[..., None] for c, k in zip(columns, queries, strict=True)]).flatten(-2)


class MemoryReadout(nn.Module):
    """W_o (RMSNorm(y) * silu(W_g x + b_g)): every head normalised, and perhaps gated, before an affine-free map.

    Args:
        in_features: Width of x_t.
        hidden: Width of y and of the output.
        heads: Number of heads, each normalised by itself.
        gated: Whether there is a gate.
    """

    def __init__(self, in_features: int, hidden: int, *, heads: int, gated: bool) -> None:
        super().__init__()
        self.heads = heads
        self.norm = nn.RMSNorm(hidden // heads, eps=1e-5)
        self.gate = nn.Linear(in_features, hidden) if gated else None
        self.out = nn.Linear(hidden, hidden, bias=False)

    def forward(self, y: Float[Tensor, "*steps hidden"], x: Float[Tensor, "*steps in"]) -> Tensor:
        """Return the output, (..., hidden)."""
        y = self.norm(y.unflatten(-1, (self.heads, -1))).flatten(-2)
        return self.out(y if self.gate is None else y * nn.functional.silu(self.gate(x)))


def spread_of_keys(heads: int, key_size: int, width: int) -> Float[Tensor, "keys wide"]:
    """Return the 0/1 matrix that takes keys to one number for each number of the flat state.

    Args:
        heads: Number of heads.
        key_size: d_k.
        width: Numbers of a column of all heads, a multiple of `heads`.
    """
    of_head = torch.eye(heads).repeat_interleave(width // heads, dim=1)  # (heads, width)
    return torch.einsum("hw,jc->hjcw", of_head, torch.eye(key_size)).reshape(heads * key_size, key_size * width)


def unit_length(x: Float[Tensor, "*steps _"], heads: int) -> Tensor:
    """Return vectors, head after head, divided by their norms."""
    return nn.functional.normalize(x.unflatten(-1, (heads, -1)), dim=-1).flatten(-2)


def total(parts: list[Tensor]) -> Tensor:
    """Return the sum, of pairs and pairs of pairs, so that rounding grows with the logarithm of their number."""
    while len(parts) > 1:
        paired = [a + b for a, b in zip(parts[::2], parts[1::2], strict=False)]
        parts = paired + parts[2 * len(paired) :]
    return parts[0]
