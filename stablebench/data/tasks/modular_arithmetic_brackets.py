"""Modular arithmetic with brackets (context-free language): the value of a nested expression, modulo 5 by default.

Expressions are those of `bracketed`; tokens are the numbers, then + - * ( ) =. The last token is =, where the answer
is read. Brackets nest as deep as the length allows, so that no fixed number of states is enough for all lengths.
"""

from typing import Annotated, Literal

import torch
from pydantic import Field

from stablebench.data.batch import Batch, Sizes
from stablebench.data.tasks.bracketed import expressions

EQUALS = 5
"""After the signs of `bracketed`."""


def sizes(*, length: int, modulus: int) -> Sizes:
    """Return the sizes: one-hot numbers and signs in, numbers out."""
    return Sizes(inputs=modulus + EQUALS + 1, outputs=modulus, steps=length)


def generate(
    n: int,
    *,
    length: Annotated[int, Field(ge=2)] = 40,
    modulus: Annotated[int, Field(ge=2)] = 5,
    operators: Literal["+-", "+-*"] = "+-*",
    rng: torch.Generator,
) -> Batch:
    """Draw expressions.

    Args:
        n: Number of expressions.
        length: Tokens of one, with its =.
        modulus: Numbers are 0 ... modulus - 1.
        operators: The signs that are drawn.
        rng: Source of randomness.

    Returns:
        Tokens (n, length), values (n,).
    """
    drawn = expressions(n, length - 1, modulus, len(operators), rng)
    tokens = torch.tensor([[*tokens, modulus + EQUALS] for tokens, _ in drawn])
    return Batch(tokens, torch.tensor([value for _, value in drawn]))
