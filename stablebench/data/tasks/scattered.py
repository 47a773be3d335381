"""Symbols at random steps of a sequence of noise, for tasks where content and not time says what matters."""

import torch
from torch import Tensor


def scattered(symbols: Tensor, length: int, rng: torch.Generator) -> Tensor:
    """Return sequences that show `symbols` in their order at random different steps, and 0 elsewhere.

    Args:
        symbols: Tokens (n, S), S <= length.
        length: Steps.
        rng: Source of randomness; every choice of S steps is equally likely.

    Returns:
        Tokens (n, length).
    """
    n, count = symbols.shape
    draws = torch.rand(n, length, generator=rng, dtype=torch.float64)  # in float32 equal draws would not be rare
    steps = draws.topk(count, dim=1).indices.sort(dim=1).values
    return torch.zeros(n, length, dtype=torch.long).scatter_(1, steps, symbols)
