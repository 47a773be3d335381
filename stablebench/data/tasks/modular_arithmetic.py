"""Modular arithmetic without brackets (regular language): the value of an expression, modulo 5 by default.

Numbers 0 ... modulus - 1 and operators, independent and uniform, products before sums: 1 + 2 * 3 - 4 =. Tokens are the
numbers, then + - * =. The expression ends with = at the last step, where the answer is read.
"""

from typing import Annotated

import torch
from pydantic import Field

from stablebench.data.batch import Batch, Sizes

PLUS, MINUS, TIMES = range(3)
"""Signs, after the numbers."""


def sizes(*, length: int, modulus: int) -> Sizes:
    """Return the sizes: one-hot numbers and signs in, numbers out; an odd length is one step longer."""
    return Sizes(inputs=modulus + 4, outputs=modulus, steps=length + length % 2)


def generate(
    n: int,
    *,
    length: Annotated[int, Field(ge=2)] = 40,
    modulus: Annotated[int, Field(ge=2)] = 5,
    rng: torch.Generator,
) -> Batch:
    """Draw expressions.

    Args:
        n: Number of expressions.
        length: Tokens of one, with its =; an odd length is one longer.
        modulus: Numbers are 0 ... modulus - 1.
        rng: Source of randomness.

    Returns:
        Tokens (n, steps), values (n,).
    """
    return from_draws(draw(n, length=length, modulus=modulus, rng=rng), modulus=modulus)


def draw(n: int, *, length: int, modulus: int, rng: torch.Generator) -> Batch:
    """Return tokens (n, steps), and the numbers that they begin with, (n,); see `generate`."""
    steps = sizes(length=length, modulus=modulus).steps
    numbers = torch.randint(modulus, (n, steps // 2), generator=rng)
    signs = torch.randint(3, (n, steps // 2 - 1), generator=rng)
    tokens = torch.full((n, steps), modulus + 3)
    tokens[:, ::2] = numbers
    tokens[:, 1:-1:2] = modulus + signs
    return Batch(tokens, numbers[:, 0])


def from_draws(draws: Batch, *, modulus: int) -> Batch:
    """Return expressions with their values; see `generate`. Zeros behind an = leave a value as it is."""
    tokens, term = draws.inputs, draws.targets
    total = torch.zeros_like(term)
    for sign, number in zip((tokens[:, 1:-1:2] - modulus).unbind(1), tokens[:, 2::2].unbind(1), strict=True):
        product = sign == TIMES
        total = torch.where(product, total, (total + term) % modulus)
        signed = torch.where(sign == MINUS, -number, number)
        term = torch.where(product, term * number % modulus, signed % modulus)
    return Batch(tokens, (total + term) % modulus)
