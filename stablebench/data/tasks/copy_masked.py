"""The copying problem as DizzyRNN has it (Dorobantu, Stromhaug & Renteria 2016): only the copied part counts.

Tokens: blank 0, symbols 1 ... alphabet, trigger alphabet + 1. A sequence shows S symbols, then blanks, then a trigger,
and the S symbols are to be given back from the next step on:

    steps 0 ... S - 1                symbols
    step  length - 1                 trigger
    steps length ... length + S - 1  blanks; the answer is the symbol shown `length` steps before

The classes are only the symbols, because nothing else is ever an answer: class c is token c + 1.
"""

from typing import Annotated

import torch
from pydantic import Field

from stablebench.data.batch import Batch, Sizes
from stablebench.errors import UserError


def sizes(*, length: int, S: int, alphabet: int) -> Sizes:
    """Return the sizes: one-hot symbols, blank and trigger in; symbols out.

    Raises:
        UserError: The trigger would stand among the symbols.
    """
    if length <= S:
        raise UserError(
            f"`length` must be > S = {S} (the trigger stands at step length - 1, after S symbols), got {length}."
        )
    return Sizes(inputs=alphabet + 2, outputs=alphabet, steps=length + S)


def generate(
    n: int,
    *,
    length: Annotated[int, Field(ge=2)] = 90,
    S: Annotated[int, Field(ge=1)] = 10,
    alphabet: Annotated[int, Field(ge=2)] = 10,
    rng: torch.Generator,
) -> Batch:
    """Draw sequences.

    Args:
        n: Number of sequences.
        length: The time lag, > S: steps between a symbol and its recall.
        S: Symbols to remember.
        alphabet: Number of different symbols.
        rng: Source of randomness.

    Returns:
        Tokens (n, length + S), classes of the same shape (0 where there is no answer), the mask of the last S steps.
    """
    steps = sizes(length=length, S=S, alphabet=alphabet).steps
    symbols = torch.randint(alphabet, (n, S), generator=rng)
    inputs = torch.zeros(n, steps, dtype=torch.long)
    inputs[:, :S] = symbols + 1
    inputs[:, length - 1] = alphabet + 1
    targets = torch.zeros(n, steps, dtype=torch.long)
    targets[:, length:] = symbols
    mask = torch.zeros(n, steps, dtype=torch.bool)
    mask[:, length:] = True
    return Batch(inputs, targets, mask=mask)
