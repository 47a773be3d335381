"""Random arithmetic expressions with brackets, for the tasks that read them.

Of n tokens: a number d of one token; -d of two; (d) of three; (-d) of four; else (left sign right), where the length of
`left` is uniform over 1 ... n - 4. That is how Deletang et al. 2023 draw them.
"""

from dataclasses import dataclass

import torch

PLUS, MINUS, TIMES, OPEN, CLOSE = range(5)
"""Signs, after the numbers."""


@dataclass
class Draws:
    """Uniform draws of one expression, taken one after the other.

    Args:
        values: Numbers in [0, 1).
    """

    values: list[float]
    taken: int = 0

    def below(self, end: int) -> int:
        """Return a uniform one of 0 ... end - 1."""
        self.taken += 1
        return int(self.values[self.taken - 1] * end)


def expressions(n: int, length: int, modulus: int, signs: int, rng: torch.Generator) -> list[tuple[list[int], int]]:
    """Return the tokens and the value of n expressions.

    Args:
        n: How many.
        length: Tokens of each, >= 1.
        modulus: Numbers are 0 ... modulus - 1, and so are values.
        signs: How many of + - * there are, from the first.
        rng: Source of randomness.
    """
    rows = torch.rand(n, 2 * length, generator=rng, dtype=torch.float64).tolist()
    return [_expression(length, modulus, signs, Draws(row)) for row in rows]


def _expression(length: int, modulus: int, signs: int, draws: Draws) -> tuple[list[int], int]:
    tokens: list[int] = []
    value = _written(tokens, length, modulus, signs, draws)
    return tokens, value


def _written(tokens: list[int], length: int, modulus: int, signs: int, draws: Draws) -> int:
    """Write an expression to the end of `tokens` and return its value."""
    if length < 5:
        number, bracketed, negative = draws.below(modulus), length > 2, length % 2 == 0
        tokens += [modulus + OPEN] * bracketed + [modulus + MINUS] * negative + [number]
        tokens += [modulus + CLOSE] * bracketed
        return -number % modulus if negative else number
    tokens.append(modulus + OPEN)
    left_length = 1 + draws.below(length - 4)
    sign = draws.below(signs)
    left = _written(tokens, left_length, modulus, signs, draws)
    tokens.append(modulus + sign)
    right = _written(tokens, length - 3 - left_length, modulus, signs, draws)
    tokens.append(modulus + CLOSE)
    return (left + right if sign == PLUS else left - right if sign == MINUS else left * right) % modulus
