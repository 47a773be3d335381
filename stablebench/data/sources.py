"""What a module of `stablebench.data.tasks` may have next to its source of examples."""

from collections.abc import Callable
from typing import Any, Protocol, runtime_checkable

import torch

from stablebench.data.batch import Batch


@runtime_checkable
class TransformsExamples(Protocol):
    """A module whose examples are stored otherwise than a network sees them: as bytes, or without their noise.

    `transform(batch, *, rng, ...)` turns examples of `load` into what is seen. `rng` and parameters of `load` are
    passed by name where it takes them. It is called for each training batch with a generator that depends on (seed,
    index), and for validation and test examples in blocks, with one that depends on split and block.
    """

    transform: Callable[..., Batch]


@runtime_checkable
class OrdersValidation(Protocol):
    """A module that says which training examples a card holds out for validation; else they are drawn at random.

    `validation_order(*, data_dir, ...)` returns indices of the training examples, (n,) int64: the first ones validate,
    the last ones train.
    """

    validation_order: Callable[..., torch.Tensor]


@runtime_checkable
class ComputesFromDraws(Protocol):
    """A module whose examples up to a step depend on what was drawn for these steps only.

    `draw(n, *, rng, ...)` takes the parameters of `generate` and returns all that is random: inputs of every step, and
    targets of every step or of one. `from_draws(draws, ...)` takes that, and those parameters that it names, to the
    examples. Longer draws give the same steps and more, so that one call computes examples of many lengths.
    """

    draw: Callable[..., Batch]
    from_draws: Callable[..., Batch]


@runtime_checkable
class EmbedsTokens(Protocol):
    """A module with vectors that the embedding of its tokens starts from.

    `initial_embedding(*, data_dir, ...)` takes the parameters of `load` and returns (alphabet, width).
    """

    initial_embedding: Callable[..., torch.Tensor]


@runtime_checkable
class WritesText(Protocol):
    """A module whose stream of tokens is text.

    `text(*, data_dir, ...)` takes the parameters of `stream` that it names and returns how the tokens are written.
    """

    text: Callable[..., Any]
