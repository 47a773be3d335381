"""The denoising problem (Jing et al. 2017, GORU): copying with the symbols strewn among noise.

Tokens: noise and blank 0, symbols 1 ... alphabet, marker alphabet + 1. S symbols stand at random steps of the noisy
part, in random order, and are to be given back, in the order they came, from the step after the marker on:

    steps 0 ... length - 1               S symbols at different steps, noise elsewhere
    step  length                         marker
    steps length + 1 ... length + S      blanks; the answer is the next symbol

Everywhere else the target is blank. Where symbols stand is drawn for every sequence, uniformly among all choices
of S steps. GORU's code draws the steps with repetition, so that some of its symbols are never shown.
"""

from typing import Annotated

import torch
from pydantic import Field

from stablebench.data.batch import Batch, Sizes
from stablebench.data.tasks.scattered import scattered
from stablebench.errors import UserError


def sizes(*, length: int, S: int, alphabet: int) -> Sizes:
    """Return the sizes: one-hot symbols, noise and marker in; symbols and blank out.

    Raises:
        UserError: The noisy part has no room for the symbols.
    """
    if length < S:
        raise UserError(f"`length` must be >= S = {S} (the symbols stand at different steps), got {length}.")
    return Sizes(inputs=alphabet + 2, outputs=alphabet + 1, steps=length + S + 1)


def generate(
    n: int,
    *,
    length: Annotated[int, Field(ge=1)] = 200,
    S: Annotated[int, Field(ge=1)] = 10,
    alphabet: Annotated[int, Field(ge=2)] = 9,
    recall_only: bool = False,
    rng: torch.Generator,
) -> Batch:
    """Draw sequences.

    Args:
        n: Number of sequences.
        length: Steps of the noisy part, >= S.
        S: Symbols to remember.
        alphabet: Number of different symbols.
        recall_only: Whether the loss counts only the recalled steps (NRU) or all (GORU).
        rng: Source of randomness.

    Returns:
        Tokens (n, length + S + 1), targets of the same shape; accuracy counts the recalled steps only.
    """
    steps = sizes(length=length, S=S, alphabet=alphabet).steps
    symbols = torch.randint(1, alphabet + 1, (n, S), generator=rng)
    inputs = torch.zeros(n, steps, dtype=torch.long)
    inputs[:, :length] = scattered(symbols, length, rng)
    inputs[:, length] = alphabet + 1
    targets = torch.zeros(n, steps, dtype=torch.long)
    targets[:, -S:] = symbols
    recalled = torch.zeros(n, steps, dtype=torch.bool)
    recalled[:, -S:] = True
    return Batch(inputs, targets, mask=recalled if recall_only else None, scored=recalled)
