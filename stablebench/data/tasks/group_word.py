"""Word problem of a group (Merrill et al. 2024): the product of the elements read so far, at every step.

Elements x_1, x_2, ... are independent and uniform, y_t = x_t y_{t-1}, y_0 the identity: a permutation x_t is applied to
what the earlier ones made. In a solvable group (Zn, S3, S4, A4xZ5) this is in TC0, in A5 and S5, which are not, it is
complete for NC1: a linear recurrence with a diagonal transition cannot do it at all lengths if TC0 is not NC1.

Products are uniform whatever was read before the last element, so no part of a word tells anything of its product.
"""

from typing import Annotated

import torch
from pydantic import Field

from stablebench.data.batch import Batch, Sizes
from stablebench.data.tasks.groups import multiplication_table, order


def sizes(*, length: int, group: str) -> Sizes:
    """Return the sizes: one-hot elements in, elements out.

    Raises:
        UserError: There is no such group.
    """
    return Sizes(inputs=order(group), outputs=order(group), steps=length)


def generate(n: int, *, length: Annotated[int, Field(ge=1)] = 32, group: str = "S3", rng: torch.Generator) -> Batch:
    """Draw words.

    Args:
        n: Number of words.
        length: Elements of a word.
        group: Zn, Sn, An or a product of them, as A4xZ5; at most 720 elements.
        rng: Source of randomness.

    Returns:
        Elements (n, length), products (n, length).

    Raises:
        UserError: There is no such group.
    """
    table = multiplication_table(group)
    elements = torch.randint(len(table), (n, length), generator=rng)
    products = [elements[:, 0]]
    for element in elements[:, 1:].unbind(1):
        products.append(table[element, products[-1]])
    return Batch(elements, torch.stack(products, dim=1))
