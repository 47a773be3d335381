"""Losses and metrics of a network over a whole split, evaluated in pieces."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch

from stablebench.data.batch import Batch
from stablebench.data.metrics import Mean
from stablebench.data.task import Split, Task
from stablebench.models.network import AnyNetwork
from stablebench.schema.card import TaskCard

_KEPT_BYTES = 2**28
"""A split up to this size stays in memory between evaluations."""


def to_device(batch: Batch, device: torch.device) -> Batch:
    """Return the batch on `device`."""
    return batch if device.type == "cpu" else batch.map(lambda part: part.to(device, non_blocking=True))


def metric_names(card: TaskCard) -> list[str]:
    """Return the names of what an evaluation computes on a task: the loss and its metrics, each once."""
    return list(dict.fromkeys(["loss", card.metric, *card.extra_metrics]))


def kept_pieces(task: Task, split: Split) -> Callable[[], Iterable[Batch]]:
    """Return a function that yields the pieces of a split, each time it is called; from memory if they are small."""
    kept: list[Batch] = []
    size = 0
    for piece in task.pieces(split):
        size += sum(part.nbytes for part in piece if part is not None)
        if size > _KEPT_BYTES:
            return lambda: task.pieces(split)
        kept.append(piece)
    return lambda: kept


@torch.no_grad()
def evaluate(
    network: AnyNetwork,
    pieces: Iterable[Batch],
    loss: str,
    metrics: list[str],
    chunk: int,
    *,
    carried: bool = False,
    between: Callable[[], None] = lambda: None,
) -> dict[str, float]:
    """Return `metrics` over all examples of a split.

    Args:
        network: The network; its mode (train, eval) is left as it was.
        pieces: The split, in pieces.
        loss: The loss that the metric `loss` stands for.
        metrics: Names of `stablebench.data.metrics`.
        chunk: Examples that go through the network at once.
        carried: Whether a piece continues, in time, where the one before it ended: the states are carried over.
        between: Called before each piece goes through; what it raises ends the evaluation.
    """
    means = {name: Mean(name, loss) for name in metrics}
    device = next(network.head.parameters()).device
    training = network.training
    network.eval()
    states: Any = None
    try:
        for piece in pieces if carried else cut(pieces, chunk):
            between()
            batch = to_device(piece, device)
            output, states = network(batch.inputs, states if carried else None, batch.lengths)
            for mean in means.values():
                mean.add(output, batch)
    finally:
        network.train(training)
    return {name: mean.value for name, mean in means.items()}


def cut(pieces: Iterable[Batch], chunk: int) -> Iterator[Batch]:
    """Yield pieces of at most `chunk` examples."""
    for piece in pieces:
        for start in range(0, len(piece.inputs), chunk):
            yield piece.map(lambda part, start=start: part[start : start + chunk])
