"""Cycle navigation (regular language): where on a cycle does a walk end that begins at 0?

Moves are 0 (stay), 1 (one step forward) and 2 (one step back), independent and uniform; the state is the cyclic group.
"""

from typing import Annotated

import torch
from pydantic import Field

from stablebench.data.batch import Batch, Sizes


def sizes(*, length: int, places: int) -> Sizes:
    """Return the sizes: one-hot moves in, places out."""
    return Sizes(inputs=3, outputs=places, steps=length)


def generate(
    n: int,
    *,
    length: Annotated[int, Field(ge=1)] = 40,
    places: Annotated[int, Field(ge=2)] = 5,
    rng: torch.Generator,
) -> Batch:
    """Draw walks.

    Args:
        n: Number of walks.
        length: Moves of a walk.
        places: Places on the cycle.
        rng: Source of randomness.

    Returns:
        Moves (n, length), places of the ends (n,).
    """
    moves = torch.randint(3, (n, length), generator=rng)
    return Batch(moves, ((moves == 1).sum(1) - (moves == 2).sum(1)) % places)
