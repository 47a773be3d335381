"""Multi-query associative recall (Arora et al. 2023, Zoology): say again what followed each key.

Tokens are 0 ... vocabulary - 1: blank 0, keys 1 ... vocabulary // 2 - 1, values from vocabulary // 2 on. A sequence
begins with `pairs` keys, each followed by its value; keys differ from each other, and so do values. In the rest every
key comes once more, at an even distance from the end of the pairs, and the answer at that step is its value:

    key value key value | key  .  .  .  key  .         pairs 2, length 10
     .    .    .    .   | value .  .  . value .        only these steps are trained and scored

Places are drawn without repetition, the i-th with probability proportional to (i + 1)^(power - 1), one after another
in the order of the keys: with a power near 0 most questions come soon. What lies between is blank, or any token of the
vocabulary where `filled`. This is the generator of the paper's code; its figure 2 has blanks (its default is filled).
"""

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from stablebench.data.batch import Batch, Embedding, Sizes
from stablebench.errors import UserError
from stablebench.schema.strict import Count, Positive

_BLOCK = 100
"""Sequences drawn at once: a draw without repetition needs a number for each token."""


def sizes(*, length: int, pairs: int, vocabulary: int, embedding: int = 128) -> Sizes:
    """Return the sizes: tokens in, embedded in trained vectors, and tokens out.

    Raises:
        UserError: The length is odd, or there is no room for the questions, or there are too few keys.
    """
    if length % 2:
        raise UserError(f"`length` must be even (keys stand at even steps), got {length}.")
    if length < 4 * pairs:
        raise UserError(
            f"`length` must be >= 4 * pairs = {4 * pairs} (each pair has two tokens, each question two steps), "
            f"got {length}."
        )
    if vocabulary // 2 - 1 < pairs:
        raise UserError(
            f"`vocabulary` must be >= {2 * pairs + 2} (half of it are keys, 0 is none, and {pairs} of them differ), "
            f"got {vocabulary}."
        )
    return Sizes(inputs=vocabulary, outputs=vocabulary, steps=length, embedding=Embedding(embedding))


def generate(
    n: int,
    *,
    length: Annotated[int, Field(ge=4)] = 64,
    pairs: Count = 4,
    vocabulary: Annotated[int, Field(ge=4)] = 8192,
    power: Positive = 0.01,
    filled: bool = False,
    embedding: Count = 128,
    rng: torch.Generator,
) -> Batch:
    """Draw sequences.

    Args:
        n: Number of sequences.
        length: Steps, even, >= 4 pairs.
        pairs: Keys and values; each key is queried once.
        vocabulary: Number of tokens, more than twice the pairs.
        power: Of the distribution of the questions' places; 1 is uniform.
        filled: Whether random tokens stand between the questions, in place of blanks.
        embedding: Width of a token's vector; for `sizes`.
        rng: Source of randomness.

    Returns:
        Tokens (n, length), answers of the same shape (0 where there is no answer), and the mask of the queries.
    """
    sizes(length=length, pairs=pairs, vocabulary=vocabulary)
    keys_end = vocabulary // 2
    keys = 1 + _different(n, pairs, keys_end - 1, rng)
    values = keys_end + _different(n, pairs, vocabulary - keys_end, rng)
    places = torch.arange(1, (length - 2 * pairs) // 2 + 1, dtype=torch.float64) ** (power - 1)
    queries = 2 * pairs + 2 * torch.multinomial(places.expand(n, -1), pairs, generator=rng)

    inputs = torch.zeros(n, length, dtype=torch.long)
    inputs[:, 0 : 2 * pairs : 2] = keys
    inputs[:, 1 : 2 * pairs : 2] = values
    inputs.scatter_(1, queries, keys)
    if filled:
        anything = torch.randint(vocabulary, (n, length), generator=rng)
        inputs = torch.where(inputs == 0, anything, inputs)
    targets = torch.zeros(n, length, dtype=torch.long).scatter_(1, queries, values)
    mask = torch.zeros(n, length, dtype=torch.bool).scatter_(1, queries, True)
    return Batch(inputs, targets, mask=mask)


def _different(n: int, count: int, choices: int, rng: torch.Generator) -> Tensor:
    """Draw `count` different numbers of 0 ... choices - 1, all ordered choices equally likely, (n, count)."""
    blocks = [min(_BLOCK, n - start) for start in range(0, n, _BLOCK)]
    draws = (torch.rand(k, choices, generator=rng, dtype=torch.float64) for k in blocks)
    return torch.cat([draw.topk(count, dim=1).indices for draw in draws])
