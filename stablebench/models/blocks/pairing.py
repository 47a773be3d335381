"""Pairings of coordinates in round-robin order, and angles of rotations whose product is one cycle."""

import math

import torch
from torch import Tensor

from stablebench.errors import UserError


def round_robin(n: int, rounds: int) -> Tensor:
    """Return pairings of n coordinates in the circle method's order, (rounds, floor(n/2), 2), the smaller one first.

    One coordinate stays, the others move on by one place a round, and opposite places are a pair. All n - 1 rounds (n
    for odd n, where each round leaves out another coordinate) pair every two coordinates exactly once.

    Args:
        n: Number of coordinates, >= 2.
        rounds: 1 to n - 1, to n for odd n.
    """
    places = n + n % 2  # odd n: the coordinate opposite the empty place is left out
    moving = torch.arange(1, places)
    order = torch.stack([torch.cat([torch.zeros(1, dtype=torch.long), moving.roll(k)]) for k in range(rounds)])
    pairs = torch.stack([order[:, : places // 2], order.flip(1)[:, : places // 2]], dim=2)
    return pairs[pairs.amax(dim=2) < n].view(rounds, n // 2, 2).sort(dim=2).values


def ring_angles(n: int, rotations: int) -> Tensor:
    """Return angles (rotations, floor(n/2)) whose product moves every coordinate to the next place of one ring.

    A quarter turn swaps a pair up to a sign. The pairs of two rounds together form one path or ring through all
    coordinates, and swapping along both moves every second coordinate forwards and the others backwards: one cycle of
    n for a path (odd n), two of n/2 for a ring. Leaving one pair of the second round as it is opens the ring.

    Args:
        n: Number of coordinates, >= 3.
        rotations: Rounds, >= 2.

    Raises:
        UserError: There are fewer than two rounds, or two coordinates, which have only one.
    """
    if rotations < 2:
        raise UserError(f"`angle_start` ring needs at least 2 `rotations` and 3 units, got {rotations} and {n}.")
    angles = torch.zeros(rotations, n // 2)
    angles[:2] = math.pi / 2
    if n % 2 == 0:
        angles[1, 0] = 0.0
    return angles
