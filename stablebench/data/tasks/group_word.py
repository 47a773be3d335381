"""Word problem of a group (Merrill et al. 2024): the product of the elements read so far, at every step.

Elements x_1, x_2, ... are independent and uniform, y_t = x_t y_{t-1}, y_0 the identity: a permutation x_t is applied to
what the earlier ones made. In a solvable group (Zn, S3, S4, A4xZ5) this is in TC0, in A5 and S5, which are not, it is
complete for NC1: a linear recurrence with a diagonal transition cannot do it at all lengths if TC0 is not NC1.

Products are uniform whatever was read before the last element, so no part of a word tells anything of its product.

With `held_out_pairs` some transitions (x_t, x_{t+1}) are in no word that is trained or validated on, and in every test
word there is at least one: does a network know the operation, or the transitions that it has seen? Every element has
as many held-out successors as every other, and as many held-out predecessors, so that single elements stay uniform.
The pairs are decided by the group and their number alone: all runs have the same.
"""

from functools import cache
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor

from stablebench.data.batch import Batch, Sizes
from stablebench.data.tasks.groups import multiplication_table, order
from stablebench.errors import UserError

_PAIRS_SEED = 0


def sizes(*, length: int, group: str, held_out_pairs: int | None = None) -> Sizes:
    """Return the sizes: one-hot elements in, elements out.

    Raises:
        UserError: There is no such group, it has no so many pairs to hold out, or a word is too short for a pair.
    """
    if held_out_pairs is not None:
        held_out(group, held_out_pairs)
        if length < 2:
            raise UserError(f"`length` must be >= 2 with `held_out_pairs`: a pair has two elements; got {length}.")
    return Sizes(inputs=order(group), outputs=order(group), steps=length)


def generate(
    n: int,
    *,
    length: Annotated[int, Field(ge=1)] = 32,
    group: str = "S3",
    held_out_pairs: Annotated[int, Field(ge=1)] | None = None,
    part: Literal["train", "validation", "test"] = "train",
    rng: torch.Generator,
) -> Batch:
    """Draw words.

    Args:
        n: Number of words.
        length: Elements of a word.
        group: Zn, Sn, An or a product of them, as A4xZ5; at most 720 elements.
        held_out_pairs: Pairs of consecutive elements that only test words have, each at least one: a multiple of the
            group's order below its square. None: there are none.
        part: What the words are for.
        rng: Source of randomness.

    Returns:
        Elements (n, length), products (n, length).

    Raises:
        UserError: There is no such group, or it has no so many pairs to hold out.
    """
    drawn = draw(n, length=length, group=group, held_out_pairs=held_out_pairs, part=part, rng=rng)
    return from_draws(drawn, group=group)


def draw(
    n: int, *, length: int, group: str, held_out_pairs: int | None = None, part: str = "train", rng: torch.Generator
) -> Batch:
    """Return words (n, length), and the elements that they begin with, (n,); see `generate`."""
    if held_out_pairs is None:
        elements = torch.randint(order(group), (n, length), generator=rng)
    elif part == "test":
        elements = _words_with(held_out(group, held_out_pairs), n, length, rng)
    else:
        elements = _words_without(held_out(group, held_out_pairs), n, length, rng)
    return Batch(elements, elements[:, 0])


def from_draws(draws: Batch, *, group: str) -> Batch:
    """Return words with their products at every step; see `generate`."""
    table = multiplication_table(group)
    products = [draws.targets]
    for element in draws.inputs[:, 1:].unbind(1):
        products.append(table[element, products[-1]])
    return Batch(draws.inputs, torch.stack(products, dim=1))


@cache
def held_out(group: str, pairs: int) -> Tensor:
    """Return which pairs are held out, (order, order) bool: row x, column y the transition from x to y.

    In two random orders of the elements, a and b, they are (a_i, b_{i + j}) for j below pairs / order: each row and
    each column has as many.

    Raises:
        UserError: There is no such group, or it has no so many pairs to hold out.
    """
    size = order(group)
    if pairs % size or not 0 < pairs < size**2:
        raise UserError(
            f"`held_out_pairs` must be a multiple of {size}, the order of {group}, and below {size**2:,}, all of its "
            f"pairs, got {pairs}: every element has as many held-out successors."
        )
    rng = torch.Generator().manual_seed(_PAIRS_SEED)
    first, second = torch.randperm(size, generator=rng), torch.randperm(size, generator=rng)
    held = torch.zeros(size, size, dtype=torch.bool)
    for shift in range(pairs // size):
        held[first, second.roll(-shift)] = True
    return held


def _words_without(held: Tensor, n: int, length: int, rng: torch.Generator) -> Tensor:
    """Return words in which every next element is uniform over those that may follow."""
    followers = (~held).nonzero()[:, 1].view(len(held), -1)
    elements = torch.randint(len(held), (n, length), generator=rng)
    drawn = torch.randint(followers.shape[1], (n, length), generator=rng)
    for t in range(1, length):
        elements[:, t] = followers[elements[:, t - 1], drawn[:, t]]
    return elements


def _words_with(held: Tensor, n: int, length: int, rng: torch.Generator) -> Tensor:
    """Return uniform words, into each of which one held-out pair is written at a uniform place."""
    followers = held.nonzero()[:, 1].view(len(held), -1)
    elements = torch.randint(len(held), (n, length), generator=rng)
    place = torch.randint(length - 1, (n, 1), generator=rng)
    drawn = torch.randint(followers.shape[1], (n, 1), generator=rng)
    return elements.scatter(1, place + 1, followers[elements.gather(1, place), drawn])
