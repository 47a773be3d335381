"""Finite groups as multiplication tables, for the word problem.

Cyclic groups Zn, symmetric groups Sn, alternating groups An and direct products of them, written S3, A5 or A4xZ5. The
identity is element 0.
"""

import math
import re
from functools import cache
from itertools import permutations, product

import torch
from torch import Tensor

from stablebench.errors import UserError

MAX_ORDER = 720
_FACTOR = re.compile(r"([ZSA])([1-9][0-9]*)$")


@cache
def multiplication_table(group: str) -> Tensor:
    """Return the table (order, order) of a group: row a, column b has the product a b, in which b comes first.

    Args:
        group: Its name.

    Raises:
        UserError: There is no such group, or it has more than `MAX_ORDER` elements.
    """
    tables = [_factor_table(factor, group) for factor in group.split("x")]
    if math.prod(map(len, tables)) > MAX_ORDER:
        raise UserError(f"group {group}: must have at most {MAX_ORDER} elements.")
    table = tables[0]
    for other in tables[1:]:
        n, m = len(table), len(other)
        table = (table[:, None, :, None] * m + other[None, :, None, :]).reshape(n * m, n * m)
    return table


def order(group: str) -> int:
    """Return how many elements a group has."""
    return len(multiplication_table(group))


def _factor_table(name: str, group: str) -> Tensor:
    matched = _FACTOR.match(name)
    if matched is None:
        raise UserError(f"group {group}: must be Zn, Sn or An, or a product of them such as A4xZ5, got '{name}'.")
    kind, n = matched[1], int(matched[2])
    if (kind == "Z" and n > MAX_ORDER) or (kind != "Z" and math.factorial(min(n, 8)) > 2 * MAX_ORDER):
        raise UserError(f"group {group}: must have at most {MAX_ORDER} elements.")
    if kind == "Z":
        each = torch.arange(n)
        return (each[:, None] + each) % n
    elements = [p for p in permutations(range(n)) if kind == "S" or _even(p)]
    index = {element: i for i, element in enumerate(elements)}
    rows = [[index[tuple(a[b[i]] for i in range(n))] for b in elements] for a in elements]
    return torch.tensor(rows)


def _even(permutation: tuple[int, ...]) -> bool:
    return sum(a > b for (i, a), (j, b) in product(enumerate(permutation), repeat=2) if i < j) % 2 == 0
