"""First-term recall (poster on uRNN and uGRU, toy task 1): read a sequence, say its first token.

Tokens are 0 ... alphabet - 1, independent and uniform; the answer is the token of step 0, asked for at the last step.
With a lag of 0 it is the token of the last step itself: the twin that needs no memory.
"""

from typing import Annotated, Literal

import torch
from pydantic import Field

from stablebench.data.batch import Batch, Sizes


def sizes(*, length: int, alphabet: int) -> Sizes:
    """Return the sizes: one-hot tokens in, tokens out."""
    return Sizes(inputs=alphabet, outputs=alphabet, steps=length)


def generate(
    n: int,
    *,
    length: Annotated[int, Field(ge=1)] = 50,
    alphabet: Annotated[int, Field(ge=2)] = 10,
    lag: Literal[0] | None = None,
    rng: torch.Generator,
) -> Batch:
    """Draw sequences.

    Args:
        n: Number of sequences.
        length: Steps of a sequence.
        alphabet: Number of different tokens.
        lag: 0 for the twin without memory; None for the first token.
        rng: Source of randomness.

    Returns:
        Tokens (n, length), answers (n,).
    """
    inputs = torch.randint(alphabet, (n, length), generator=rng)
    return Batch(inputs, inputs[:, 0 if lag is None else -1].clone())
