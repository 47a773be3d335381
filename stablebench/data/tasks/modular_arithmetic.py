"""Modular arithmetic without brackets (regular language): the value of an expression, modulo 5 by default.

Numbers 0 ... modulus - 1 and operators, independent and uniform, products before sums: 1 + 2 * 3 - 4 =. Tokens are the
numbers, then + - * =. The expression ends with = at the last step, where the answer is read.
"""

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from stablebench.data.batch import Batch, Sizes

PLUS, MINUS, TIMES = range(3)


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
    steps = sizes(length=length, modulus=modulus).steps
    numbers = torch.randint(modulus, (n, steps // 2), generator=rng)
    signs = torch.randint(3, (n, steps // 2 - 1), generator=rng)
    tokens = torch.full((n, steps), modulus + 3)
    tokens[:, ::2] = numbers
    tokens[:, 1:-1:2] = modulus + signs
    return Batch(tokens, _values(numbers, signs, modulus))


def _values(numbers: Tensor, signs: Tensor, modulus: int) -> Tensor:
    """Return the values of expressions, (n,), from numbers (n, k) and the signs between them (n, k - 1)."""
    total, term = torch.zeros_like(numbers[:, 0]), numbers[:, 0]
    for sign, number in zip(signs.unbind(1), numbers[:, 1:].unbind(1), strict=True):
        product = sign == TIMES
        total = torch.where(product, total, (total + term) % modulus)
        signed = torch.where(sign == MINUS, -number, number)
        term = torch.where(product, term * number % modulus, signed % modulus)
    return (total + term) % modulus
