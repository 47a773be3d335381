"""Examples of different lengths in one batch: each one's length is drawn, and shorter ones are padded at the end."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from stablebench.data.batch import Batch
from stablebench.errors import UserError

RANGES = ("train_lengths", "test_lengths")
"""Parameters of every task with a length: [least, most] of training, and of validation and test."""


def checked_range(name: str, value: Any) -> list[int]:
    """Return a range of lengths as `[least, most]`.

    Args:
        name: What a message calls it.
        value: Two whole numbers, 1 <= least <= most.

    Raises:
        UserError: It is something else.
    """
    whole = isinstance(value, (list, tuple)) and len(value) == 2 and all(type(end) is int for end in value)
    if not whole or not 1 <= value[0] <= value[1]:
        raise UserError(f"`{name}` must be [least, most], two whole numbers with 1 <= least <= most, got {value}.")
    return list(value)


def draw_lengths(
    generate: Callable[[int, int], Batch], n: int, ends: tuple[int, int] | list[int], rng: torch.Generator
) -> Batch:
    """Draw n examples, each of a length that is uniform over a range, in random order.

    Args:
        generate: Takes a number of examples and their length.
        n: Number of examples.
        ends: Least and greatest length.
        rng: Source of randomness.

    Returns:
        A batch padded at the end with zeros, which neither loss nor accuracy counts, and its `lengths`, in steps.
    """
    drawn = torch.randint(ends[0], ends[1] + 1, (n,), generator=rng)
    lengths, counts = drawn.unique(return_counts=True)
    parts = [generate(count, length) for length, count in zip(lengths.tolist(), counts.tolist(), strict=True)]
    return _padded(parts, drawn.argsort(stable=True))


def cut(batch: Batch, draws: Batch) -> Batch:
    """Return examples that were computed of padded draws with zeros behind their ends.

    Args:
        batch: Tokens (n, steps), answers (n, steps) or at the last step (n,), and which of them count.
        draws: What they were computed of, as `draw_lengths` returns it.
    """
    assert draws.lengths is not None
    real = torch.arange(batch.inputs.shape[1]) < draws.lengths[:, None]
    if batch.targets.dim() == 1:
        return Batch(batch.inputs * real, batch.targets, lengths=draws.lengths)
    mask = real if batch.mask is None else batch.mask & real
    return Batch(batch.inputs * real, batch.targets * real, mask, None, draws.lengths)


def _padded(parts: list[Batch], places: Tensor) -> Batch:
    """Return batches of different lengths as one; `places` are the rows of their examples, batch after batch."""
    steps = [part.inputs.shape[1] for part in parts]
    longest = max(steps)
    every = parts[0].targets.dim() > 1 and parts[0].targets.shape[1] == steps[0]
    rows = torch.empty_like(places)
    rows[places] = torch.arange(len(places))

    def joined(tensors: list[Tensor], in_time: bool) -> Tensor:
        return (_at_equal_length(tensors, longest) if in_time else torch.cat(tensors))[rows]

    masks = [torch.ones(part.inputs.shape[:2], dtype=torch.bool) if part.mask is None else part.mask for part in parts]
    scored = [part.scored for part in parts if part.scored is not None]
    counts = torch.cat([torch.full((len(part.inputs),), n) for part, n in zip(parts, steps, strict=True)])
    return Batch(
        joined([part.inputs for part in parts], True),
        joined([part.targets for part in parts], every),
        joined(masks, True) if every else None,
        joined(scored, True) if scored else None,
        counts[rows],
    )


def _at_equal_length(tensors: list[Tensor], steps: int) -> Tensor:
    """Return tensors (n, time, ...) after each other, with zeros at the ends of the shorter ones."""
    whole = tensors[0].new_zeros(sum(map(len, tensors)), steps, *tensors[0].shape[2:])
    row = 0
    for tensor in tensors:
        whole[row : row + len(tensor), : tensor.shape[1]] = tensor
        row += len(tensor)
    return whole
