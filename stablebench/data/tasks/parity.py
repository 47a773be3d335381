"""Parity (regular language): is the number of 1s in a random string of bits odd?

The smallest task of state tracking: one bit of state, which every 1 flips. A network with a transition of non-negative
eigenvalues cannot solve it at all lengths in finite precision (Grazzi et al. 2025, theorem 1).
"""

from typing import Annotated

import torch
from pydantic import Field

from stablebench.data.batch import Batch, Sizes


def sizes(*, length: int) -> Sizes:
    """Return the sizes: one-hot bits in, even or odd out."""
    return Sizes(inputs=2, outputs=2, steps=length)


def generate(n: int, *, length: Annotated[int, Field(ge=1)] = 40, rng: torch.Generator) -> Batch:
    """Draw strings.

    Args:
        n: Number of strings.
        length: Bits of a string.
        rng: Source of randomness.

    Returns:
        Bits (n, length), answers (n,): 1 where the number of 1s is odd.
    """
    bits = torch.randint(2, (n, length), generator=rng)
    return Batch(bits, bits.sum(1) % 2)
