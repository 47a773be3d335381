"""Matrix memories in chunks of time steps: all steps of a chunk by matrix products, and one chunk after the other.

What a step reads is what the memory held before the chunk and what the steps of the chunk have written so far, each
times the decays in between. So the memory is made where a chunk begins, and at no other step.

The decays between two steps are the exponential of the sum of their logarithms, all of them negative: nothing is
divided by, and nothing is subtracted that has forgotten what it is subtracted from.
"""

import abc
from collections.abc import Callable
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from stablebench.models.base import State
from stablebench.models.blocks.matrix_memory import MatrixMemory

_MIN_WRITES, _MAX_WRITES = 16, 32
"""Of a chunk: with more, the products within chunks cost more than they save between them. Measured on a CPU, with 1 to
4 heads and d_k from 8 to 64."""


class ChunkwiseMemory(MatrixMemory):
    """A memory that can be run in chunks; a class that overrides what it computes from has to override `in_chunks`.

    Subclasses write `in_chunks`, which computes what `step` and `read` of all steps do, and `finish`.
    """

    @abc.abstractmethod
    def queries(self, x: Float[Tensor, "*steps in"]) -> Float[Tensor, "*steps _"]:
        """Return what the memory is read with."""

    @abc.abstractmethod
    def finish(self, read: Float[Tensor, "*steps hidden"], x: Float[Tensor, "*steps in"]) -> Tensor:
        """Return the layer's output, (..., hidden), of what was read from the memory."""

    @abc.abstractmethod
    def in_chunks(
        self, x: Float[Tensor, "batch time in"], state: State, outputs: Literal["every", "last"]
    ) -> tuple[Float[Tensor, "batch time hidden"] | None, State]:
        """Run all steps.

        Args:
            x: Inputs (batch, time, in), time >= 1.
            state: The state before the first step.
            outputs: Whether `every` step reads, or none (`last`).

        Returns:
            What every step reads, or None; and the state after the last step.
        """

    def read(self, output: Float[Tensor, "*steps _"], x: Float[Tensor, "*steps in"]) -> Float[Tensor, "*steps hidden"]:
        """Return what is read from the output state."""
        return self.read_with(output, self.queries(x))

    def layer_output(
        self, output: Float[Tensor, "*steps _"], x: Float[Tensor, "*steps in"]
    ) -> Float[Tensor, "*steps hidden"]:
        """Return y_t."""
        return self.finish(self.read(output, x), x)

    def matrices(self, S: Float[Tensor, "batch _"]) -> Float[Tensor, "batch heads keys values"]:
        """Return a flat state as the transposed matrix of each head, (batch, heads, d_k, d_v)."""
        return S.unflatten(-1, (self.key_size, self.heads, -1)).transpose(1, 2)

    def flat(self, S: Float[Tensor, "batch heads keys values"]) -> Float[Tensor, "batch _"]:
        """Return the state whose `matrices` these are."""
        return S.transpose(1, 2).flatten(1)


class Chunks:
    """Where the chunks of a sequence lie, of equal length; the last has a step of the sequence and is filled up.

    Args:
        steps: Time steps, >= 1.
        key_size: d_k.
        writes: Writes of a time step, >= 1.
    """

    def __init__(self, steps: int, key_size: int, writes: int = 1) -> None:
        self.steps = steps
        self.count = -(-steps // max(1, min(max(_MIN_WRITES, key_size), _MAX_WRITES) // writes))
        self.length = -(-steps // self.count)

    def of(
        self, x: Float[Tensor, "batch time _"], heads: int, behind: float = 0.0
    ) -> Float[Tensor, "batch chunks heads length width"]:
        """Return numbers of every step, head after head, chunk by chunk.

        Args:
            x: (batch, time, heads * width).
            heads: Heads.
            behind: What stands behind the last step.
        """
        missing = self.count * self.length - self.steps
        x = torch.nn.functional.pad(x, (0, 0, 0, missing), value=behind) if missing else x
        return x.unflatten(1, (self.count, self.length)).unflatten(-1, (heads, -1)).transpose(2, 3)

    def joined(self, x: Float[Tensor, "batch chunks heads length width"]) -> Float[Tensor, "batch time _"]:
        """Return what `of` takes, from what it returns."""
        return x.transpose(2, 3).flatten(-2).flatten(1, 2)[:, : self.steps]


def decays_between(log_decay: Float[Tensor, "*chunk length"]) -> Float[Tensor, "*chunk later earlier"]:
    """Return the products of decays after one step and up to another, (..., length + 1, length + 1); zero backwards.

    Args:
        log_decay: Logarithms of the decays of the steps 1 ... length, <= 0 each. Step 0 is before the chunk.
    """
    return log_decays_between(log_decay).exp()


def log_decays_between(log_decay: Float[Tensor, "*chunk length"]) -> Float[Tensor, "*chunk later earlier"]:
    """Return the logarithms of `decays_between`, of any sign; -inf backwards."""
    later = torch.nn.functional.pad(log_decay, (1, 0))[..., :, None]
    n = later.shape[-2]
    ones = torch.ones(n, n, dtype=torch.bool, device=log_decay.device)
    # sums of the logarithms from `earlier` + 1 to `later`, not differences of sums from the first step on
    sums = later.masked_fill(~ones.tril(-1), 0.0).cumsum(-2)
    return sums.masked_fill(~ones.tril(), float("-inf"))


def starts(
    S: Tensor, carry: Tensor, added: Tensor, product: Callable[[Tensor, Tensor], Tensor] = torch.matmul
) -> tuple[Float[Tensor, "batch chunks heads keys values"], Float[Tensor, "batch heads keys values"]]:
    """Return the memory at the start of each chunk, and after the last one.

    Args:
        S: The memory before the first chunk, (batch, heads, d_k, d_v).
        carry: What a chunk multiplies it with, (batch, chunks, heads, any, any).
        added: What a chunk adds, (batch, chunks, heads, d_k, d_v).
        product: Of `carry` and the memory: `torch.mul` where `carry` is a number.
    """
    at_start = []
    for of_chunk, new in zip(carry.unbind(1), added.unbind(1), strict=True):
        at_start.append(S)
        S = product(of_chunk, S) + new
    return torch.stack(at_start, dim=1), S
