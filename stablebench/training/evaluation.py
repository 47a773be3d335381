"""Losses and metrics of a network over a whole split, evaluated in pieces."""

import torch
from torch import Tensor

from stablebench.data.batch import Batch
from stablebench.metrics import LOSS_SUMS, METRIC_SUMS
from stablebench.models.network import AnyNetwork


def to_device(batch: Batch, device: torch.device) -> Batch:
    """Return the batch on `device`."""
    if device.type == "cpu":
        return batch
    return Batch(*(None if part is None else part.to(device, non_blocking=True) for part in batch))  # pyright: ignore


def loss_sum(loss: str, output: Tensor, batch: Batch) -> tuple[Tensor, int]:
    """Return the summed loss over what the batch counts, and how much that is."""
    return LOSS_SUMS[loss](output, batch)


@torch.no_grad()
def evaluate(network: AnyNetwork, batch: Batch, loss: str, metrics: list[str], chunk: int) -> dict[str, float]:
    """Return the means of `metrics` over all examples of a split.

    Args:
        network: The network; its mode (train, eval) is left as it was.
        batch: The split.
        loss: What the metric `loss` is.
        metrics: Names of `stablebench.metrics`.
        chunk: Examples in a piece.
    """
    totals, counts = dict.fromkeys(metrics, 0.0), dict.fromkeys(metrics, 0)
    training = network.training
    network.eval()
    try:
        for start in range(0, len(batch.inputs), chunk):
            piece = Batch(*(None if part is None else part[start : start + chunk] for part in batch))  # pyright: ignore
            output, _ = network(piece.inputs)
            for name in metrics:
                total, count = (LOSS_SUMS[loss] if name == "loss" else METRIC_SUMS[name])(output, piece)
                totals[name] += total.item()
                counts[name] += count
    finally:
        network.train(training)
    return {name: totals[name] / counts[name] for name in metrics}
