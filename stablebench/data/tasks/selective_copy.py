"""Selective copying (Gu & Dao 2023, Mamba, section 4.1.1): copying where content says what to remember.

Tokens: noise 0, symbols 1 ... alphabet, marker alphabet + 1. S symbols stand at random different steps among the first
length + S, the others are noise; then come S markers, and the i-th marker asks for the i-th symbol. Nothing but the
answers is trained or scored, and the classes are only the symbols: class c is token c + 1.

A network that does the same at every step whatever it reads cannot solve it: how far back a symbol lies is different
in every sequence. The layout is that of the S4 code's copying data set with `variable=True`, which the Mamba paper
extends: 4,096 noise tokens, 16 symbols, 16 tokens in all, of which noise and marker are two.
"""

from typing import Annotated

import torch
from pydantic import Field

from stablebench.data.batch import Batch, Sizes
from stablebench.data.tasks.scattered import scattered


def sizes(*, length: int, S: int, alphabet: int) -> Sizes:
    """Return the sizes: one-hot symbols, noise and marker in; symbols out."""
    return Sizes(inputs=alphabet + 2, outputs=alphabet, steps=length + 2 * S)


def generate(
    n: int,
    *,
    length: Annotated[int, Field(ge=1)] = 256,
    S: Annotated[int, Field(ge=1)] = 16,
    alphabet: Annotated[int, Field(ge=2)] = 14,
    rng: torch.Generator,
) -> Batch:
    """Draw sequences.

    Args:
        n: Number of sequences.
        length: Noise tokens.
        S: Symbols to remember.
        alphabet: Number of different symbols.
        rng: Source of randomness.

    Returns:
        Tokens (n, length + 2 S), classes of the same shape (0 where there is no answer), the mask of the last S steps.
    """
    steps = sizes(length=length, S=S, alphabet=alphabet).steps
    symbols = torch.randint(alphabet, (n, S), generator=rng)
    inputs = torch.full((n, steps), alphabet + 1)
    inputs[:, : length + S] = scattered(symbols + 1, length + S, rng)
    targets = torch.zeros(n, steps, dtype=torch.long)
    targets[:, -S:] = symbols
    mask = torch.zeros(n, steps, dtype=torch.bool)
    mask[:, -S:] = True
    return Batch(inputs, targets, mask=mask)
