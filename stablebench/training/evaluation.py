"""Losses and metrics of a network over a whole split, evaluated in pieces."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import torch

from stablebench.data.batch import Batch
from stablebench.data.metrics import Mean, scaled_accuracy
from stablebench.data.task import Split, Task
from stablebench.models.network import AnyNetwork
from stablebench.schema.card import TaskCard

_KEPT_BYTES = 2**28
"""A split up to this size stays in memory between evaluations."""


def to_device(batch: Batch, device: torch.device) -> Batch:
    """Return the batch on `device`."""
    return batch if device.type == "cpu" else batch.map(lambda part: part.to(device, non_blocking=True))


def metric_names(card: TaskCard) -> list[str]:
    """Return the names of what an evaluation computes on a task: the loss and its metrics, each once.

    Where there is an answer at several steps, it counts sequences that are all right next to single answers.
    """
    names = ["loss", card.metric, *card.extra_metrics]
    whole = card.readout == "every" and card.data.stream is None and "accuracy" in names
    names += ["sequence_accuracy"] if whole else []
    return [name for name in dict.fromkeys(names) if name != "scaled_accuracy"]


def chance(card: TaskCard, params: Mapping[str, Any]) -> float | None:
    """Return the accuracy of guessing on a task's test examples; None where its card has none.

    Of a range of lengths it is that of the length in its middle.
    """
    ends = params.get("test_lengths", params.get("train_lengths"))
    if ends is not None and card.length is not None:
        params = {**params, card.length: sum(ends) // 2}
    return card.baseline("accuracy", params)


def with_scaled_accuracy(metrics: dict[str, float], card: TaskCard, params: Mapping[str, Any]) -> dict[str, float]:
    """Return metrics of the test split with the scaled accuracy, where there is an accuracy and one of guessing."""
    guessing = chance(card, params) if "accuracy" in metrics else None
    scaled = None if guessing is None else scaled_accuracy(metrics["accuracy"], guessing)
    return metrics if scaled is None else metrics | {"scaled_accuracy": scaled}


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
