"""A batch of examples, and what a source of them says about its sizes."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from torch import Tensor


class Batch(NamedTuple):
    """Examples of a task.

    Args:
        inputs: Tokens (n, time) int64, values (n, time, features) float, or static values (n, features) float.
        targets: Read at the last step: classes (n,) int64 or values (n, out) float. Read at every step: classes
            (n, time) int64 or values (n, time, out) float.
        mask: Steps that the loss counts, (n, time) bool; None for all.
        scored: Steps that accuracy counts, (n, time) bool; None for those of `mask`.
        lengths: Real steps of each sequence, (n,) int64, 1 ... time; what follows them is padding. None for all.
    """

    inputs: Tensor
    targets: Tensor
    mask: Tensor | None = None
    scored: Tensor | None = None
    lengths: Tensor | None = None

    def map(self, function: Callable[[Tensor], Tensor]) -> "Batch":
        """Return a batch of what a function makes of each part; a part that is not there stays so."""
        return Batch(*(None if part is None else function(part) for part in self))  # pyright: ignore[reportArgumentType]


@dataclass(frozen=True)
class Embedding:
    """How tokens become vectors, where they are not fed one-hot.

    Args:
        width: Features of a token's vector; drawn N(0, 1) unless the task has vectors of its own.
        trained: Whether they are trained.
    """

    width: int
    trained: bool = True


@dataclass(frozen=True)
class Sizes:
    """The sizes that a generator's parameters imply.

    Args:
        inputs: Alphabet of the input tokens, or features of the input values.
        outputs: Classes, or width of the target values.
        steps: Time steps of one sequence: the horizon of the chain; 1 for static inputs.
        embedding: How tokens are embedded; None for one-hot.
    """

    inputs: int
    outputs: int
    steps: int
    embedding: Embedding | None = None
