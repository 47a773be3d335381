"""Solve equation (context-free language): which number stands for x in (3 + x) - 1 = 2, modulo 5 by default?

Expressions are those of `bracketed` with + and - alone, so that there is one solution; one of the numbers, each equally
likely, is x. Tokens are the numbers, then + - * ( ) = x, of which * does not occur. The answer is read at the last
step, that of the value.
"""

from typing import Annotated

import torch
from pydantic import Field

from stablebench.data.batch import Batch, Sizes
from stablebench.data.tasks.bracketed import expressions

EQUALS, X = 5, 6
"""After the signs of `bracketed`."""


def sizes(*, length: int, modulus: int) -> Sizes:
    """Return the sizes: one-hot numbers and signs in, numbers out."""
    return Sizes(inputs=modulus + X + 1, outputs=modulus, steps=length)


def generate(
    n: int,
    *,
    length: Annotated[int, Field(ge=3)] = 40,
    modulus: Annotated[int, Field(ge=2)] = 5,
    rng: torch.Generator,
) -> Batch:
    """Draw equations.

    Args:
        n: Number of equations.
        length: Tokens of one, with its = and its value.
        modulus: Numbers are 0 ... modulus - 1.
        rng: Source of randomness.

    Returns:
        Tokens (n, length), solutions (n,).
    """
    drawn = expressions(n, length - 2, modulus, 2, rng)
    tokens = torch.tensor([[*tokens, modulus + EQUALS, value] for tokens, value in drawn])
    numbers = tokens[:, :-2] < modulus
    draws = torch.rand(numbers.shape, generator=rng, dtype=torch.float64)
    places = torch.where(numbers, draws, -1.0).argmax(1, keepdim=True)
    solutions = tokens.gather(1, places).squeeze(1)
    return Batch(tokens.scatter(1, places, modulus + X), solutions)
