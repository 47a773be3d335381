"""Dyck words (context-free language): which bracket may be closed next, after every token?

Brackets of several kinds. Where none is open, one of a random kind is opened; else one is opened or the last one is
closed, either with probability 1/2. The answer at a step is the kind of the last open bracket, or 0 where none is: what
a recogniser must know to tell which closing bracket is right. It counts after closing brackets, as an opening one says
it itself. Depth grows with the square root of the length.

Tokens: 0 ... kinds - 1 open, kinds ... 2 kinds - 1 close a bracket of each kind. Class 0 is none, class 1 + k kind k.
"""

from typing import Annotated

import torch
from pydantic import Field

from stablebench.data.batch import Batch, Sizes


def sizes(*, length: int, kinds: int) -> Sizes:
    """Return the sizes: one-hot brackets in; none or a kind out."""
    return Sizes(inputs=2 * kinds, outputs=kinds + 1, steps=length)


def generate(
    n: int,
    *,
    length: Annotated[int, Field(ge=2)] = 40,
    kinds: Annotated[int, Field(ge=1)] = 2,
    rng: torch.Generator,
) -> Batch:
    """Draw words.

    Args:
        n: Number of words.
        length: Brackets of a word; those that are open at its end stay so.
        kinds: Kinds of brackets.
        rng: Source of randomness.

    Returns:
        Brackets (n, length), answers (n, length), the mask of the steps that close a bracket.
    """
    opens = torch.randint(2, (n, length), generator=rng).bool()
    drawn = torch.randint(kinds, (n, length), generator=rng)
    stack = torch.zeros(n, length + 1, dtype=torch.long)  # the kinds that are open, from 1; 0 below them
    depth = torch.zeros(n, 1, dtype=torch.long)
    tokens, answers = torch.empty_like(drawn), torch.empty_like(drawn)
    for t in range(length):
        opening = opens[:, t : t + 1] | (depth == 0)
        kind = torch.where(opening, drawn[:, t : t + 1], stack.gather(1, depth) - 1)
        tokens[:, t : t + 1] = torch.where(opening, kind, kinds + kind)
        depth = torch.where(opening, depth + 1, depth - 1)
        stack.scatter_(1, depth, torch.where(opening, kind + 1, stack.gather(1, depth)))
        answers[:, t : t + 1] = stack.gather(1, depth)
    return Batch(tokens, answers, mask=tokens >= kinds)
