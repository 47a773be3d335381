"""Counting: has a string of bits had more 1s, more 0s, or as many of both, after every bit?

A one-counter language: the state is the difference, which grows with the square root of the length.
"""

from typing import Annotated

import torch
from pydantic import Field

from stablebench.data.batch import Batch, Sizes

FEWER, EQUAL, MORE = range(3)


def sizes(*, length: int) -> Sizes:
    """Return the sizes: one-hot bits in; fewer, as many or more 1s out."""
    return Sizes(inputs=2, outputs=3, steps=length)


def generate(n: int, *, length: Annotated[int, Field(ge=1)] = 40, rng: torch.Generator) -> Batch:
    """Draw strings.

    Args:
        n: Number of strings.
        length: Bits of a string.
        rng: Source of randomness.

    Returns:
        Bits (n, length), answers (n, length): 0 fewer 1s than 0s so far, 1 as many, 2 more.
    """
    bits = torch.randint(2, (n, length), generator=rng)
    return Batch(bits, (2 * bits - 1).cumsum(1).sign() + 1)
