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
    return from_draws(draw(n, length=length, kinds=kinds, rng=rng), kinds=kinds)


def draw(n: int, *, length: int, kinds: int, rng: torch.Generator) -> Batch:
    """Return whether a bracket is opened where one may be closed, and of which kind; (n, length) each."""
    opens = torch.randint(2, (n, length), generator=rng).bool()
    return Batch(opens, torch.randint(kinds, (n, length), generator=rng))


def from_draws(draws: Batch, *, kinds: int) -> Batch:
    """Return the words, whose steps depend on the draws up to them; see `generate`."""
    opens, drawn = draws.inputs, draws.targets
    n, length = opens.shape
    # a walk that would step below 0 steps up instead: 2 more for the 1st, 3rd, 5th ... time that it is as low as never
    walk = torch.where(opens, 1, -1).cumsum(1)
    depth = walk + 2 * ((1 - walk.cummin(1).values.clamp(max=0)) // 2)
    opening = depth.diff(dim=1, prepend=torch.zeros(n, 1, dtype=torch.long)) > 0
    # the last open bracket is the last that was opened to this depth: sorted by depth, then by time, the one before
    place, order = (depth * length + torch.arange(length)).sort(1)
    opened = place.where(opening.gather(1, order), -1).cummax(1).values % length
    opened = torch.empty_like(opened).scatter_(1, order, opened)
    answers = (drawn.gather(1, opened) + 1).where(depth > 0, 0)
    last = torch.nn.functional.pad(answers[:, :-1], (1, 0)) - 1  # what a closing bracket closes
    return Batch(torch.where(opening, drawn, kinds + last), answers, mask=~opening)
