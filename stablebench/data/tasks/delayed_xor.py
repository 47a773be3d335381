"""Delayed exclusive or (Engelken 2023, gradient flossing): at every step, do two earlier bits differ?

With a lag of d the answer at step t is x_{t - d/2} xor x_{t - d}; steps before the first answer count nothing. A lag of
0 is the twin without memory: both bits are then those of the same step, x and a second channel y, and what is learned
is the exclusive or alone. In every lag a step has both channels, of which y is noise where the lag is not 0.
"""

from typing import Annotated

import torch
from pydantic import Field

from stablebench.data.batch import Batch, Sizes


def sizes(*, length: int, lag: int) -> Sizes:
    """Return the sizes: two bits in; equal or different out."""
    return Sizes(inputs=2, outputs=2, steps=length + lag)


def generate(
    n: int,
    *,
    length: Annotated[int, Field(ge=1)] = 100,
    lag: Annotated[int, Field(ge=0, multiple_of=2)] = 20,
    rng: torch.Generator,
) -> Batch:
    """Draw strings.

    Args:
        n: Number of strings.
        length: Steps that have an answer; a string has `lag` more.
        lag: Steps from the earlier bit to the answer, even; 0 for the twin.
        rng: Source of randomness.

    Returns:
        Bits (n, length + lag, 2) float, answers (n, length + lag), the mask of the steps with an answer.
    """
    steps = length + lag
    bits = torch.randint(2, (n, steps, 2), generator=rng)
    x, y = bits.unbind(2)
    answers = torch.zeros(n, steps, dtype=torch.long)
    answers[:, lag:] = (x[:, lag // 2 : steps - lag // 2] ^ x[:, :length]) if lag else x ^ y
    mask = torch.zeros(n, steps, dtype=torch.bool)
    mask[:, lag:] = True
    return Batch(bits.float(), answers, mask=mask)
