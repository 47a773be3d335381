"""The adding problem (Hochreiter & Schmidhuber 1997, experiment 4): the sum of the two marked numbers.

A step has two features, a random number and a mark, which is 1 at two steps and 0 elsewhere. Where public codes put
the marks, steps counted from 0:

    one_per_half  one in [0, length // 2), one in [length // 2, length)            uRNN, coRNN, roaRNN, LEM
    any_two       two different steps anywhere                                     TCN, oRNN
    first_tenth   one in the first tenth, one in [length // 2, length)             Skip RNN

Numbers are `unit`, U[0, 1), or `centred`, U[-1/2, 1/2), as Skip RNN has them.

With a lag of 0 the answer is a function of the last step's number u alone, the twin that needs no memory: the quantile
of the sum's distribution at u, so that answers are distributed as sums are,

    q(u) = sqrt(2 u) for u < 1/2, else 2 - sqrt(2 (1 - u))
"""

from typing import Annotated, Literal

import torch
from pydantic import Field

from stablebench.data.batch import Batch, Sizes

Markers = Literal["one_per_half", "any_two", "first_tenth"]
Values = Literal["unit", "centred"]


def sizes(*, length: int) -> Sizes:
    """Return the sizes: number and mark in, the sum out."""
    return Sizes(inputs=2, outputs=1, steps=length)


def generate(
    n: int,
    *,
    length: Annotated[int, Field(ge=2)] = 200,
    markers: Markers = "one_per_half",
    values: Values = "unit",
    lag: Literal[0] | None = None,
    rng: torch.Generator,
) -> Batch:
    """Draw sequences.

    Args:
        n: Number of sequences.
        length: Steps of a sequence.
        markers: Where the two marks stand.
        values: What the numbers are.
        lag: 0 for the twin without memory; None for the sum.
        rng: Source of randomness.

    Returns:
        Numbers and marks (n, length, 2), sums (n, 1).
    """
    uniform = torch.rand(n, length, generator=rng, dtype=torch.float32)
    numbers = uniform - 0.5 if values == "centred" else uniform
    positions = torch.stack(_positions(n, length, markers, rng), dim=1)
    marks = torch.zeros_like(numbers).scatter_(1, positions, 1.0)
    if lag is None:
        answers = numbers.gather(1, positions).sum(1, keepdim=True)
    else:
        answers = _quantile_of_sum(uniform[:, -1:]) - (1.0 if values == "centred" else 0.0)
    return Batch(torch.stack([numbers, marks], dim=2), answers)


def _quantile_of_sum(u: torch.Tensor) -> torch.Tensor:
    """Return the value below which a share u of the sums of two numbers of U[0, 1) lies."""
    return torch.where(u < 0.5, (2 * u).sqrt(), 2 - (2 * (1 - u)).sqrt())


def _positions(n: int, length: int, markers: Markers, rng: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the two marked steps, each (n,)."""
    if markers == "any_two":
        one = torch.randint(length, (n,), generator=rng)
        other = torch.randint(length - 1, (n,), generator=rng)
        return one, other + (other >= one)  # skip the first: all ordered pairs are equally likely
    end = length // 2 if markers == "one_per_half" else max(1, length // 10)
    return torch.randint(end, (n,), generator=rng), torch.randint(length // 2, length, (n,), generator=rng)
