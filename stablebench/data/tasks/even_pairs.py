"""Even pairs (regular language): is the number of neighbouring bits that differ even?

01 and 10 alternate along a string, so the answer is yes just where the first and the last bit are equal: it needs one
bit to be remembered, and no counting.
"""

from typing import Annotated

import torch
from pydantic import Field

from stablebench.data.batch import Batch, Sizes


def sizes(*, length: int) -> Sizes:
    """Return the sizes: one-hot bits in, even or odd out."""
    return Sizes(inputs=2, outputs=2, steps=length)


def generate(n: int, *, length: Annotated[int, Field(ge=2)] = 40, rng: torch.Generator) -> Batch:
    """Draw strings.

    Args:
        n: Number of strings.
        length: Bits of a string.
        rng: Source of randomness.

    Returns:
        Bits (n, length), answers (n,): 1 where the number of unequal neighbours is odd.
    """
    bits = torch.randint(2, (n, length), generator=rng)
    return Batch(bits, (bits[:, 1:] != bits[:, :-1]).sum(1) % 2)
