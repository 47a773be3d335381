"""K-th highest term (poster on uRNN and uGRU, toy task 2): read a sequence of numbers, say the k-th highest.

Numbers are 0 ... alphabet - 1, independent and uniform, and equal ones count apart: of 5 9 9 7 the third highest is 7.
A step has one feature, the number divided by alphabet - 1; the answer is a class, the number itself.

The highest terms of a long sequence crowd at the top, so with a small alphabet one constant answer is often right: of
100 numbers the third highest of 400 is 98 or 99 in 98 of 100 sequences. For length much below alphabet the likeliest
answer has probability about 0.27 length / alphabet (k 3), so the alphabet must be several times the length.
"""

from typing import Annotated

import torch
from pydantic import Field

from stablebench.data.batch import Batch, Sizes
from stablebench.errors import UserError


def sizes(*, length: int, k: int, alphabet: int) -> Sizes:
    """Return the sizes: one number in, a class for each number out.

    Raises:
        UserError: There is no k-th highest of so few numbers.
    """
    if k > length:
        raise UserError(f"`k` must be <= length = {length} (there are no more terms), got {k}.")
    return Sizes(inputs=1, outputs=alphabet, steps=length)


def generate(
    n: int,
    *,
    length: Annotated[int, Field(ge=1)] = 100,
    k: Annotated[int, Field(ge=1)] = 3,
    alphabet: Annotated[int, Field(ge=2)] = 2000,
    rng: torch.Generator,
) -> Batch:
    """Draw sequences.

    Args:
        n: Number of sequences.
        length: Steps of a sequence.
        k: Which of the highest is asked for, from 1, at most `length`.
        alphabet: Number of different numbers.
        rng: Source of randomness.

    Returns:
        Numbers scaled to [0, 1] (n, length, 1), answers (n,).
    """
    sizes(length=length, k=k, alphabet=alphabet)
    numbers = torch.randint(alphabet, (n, length), generator=rng)
    return Batch((numbers.to(torch.float32) / (alphabet - 1)).unsqueeze(2), numbers.topk(k, dim=1).values[:, -1])
