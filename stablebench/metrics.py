"""Metrics and losses: name, formula, unit, and which direction is better, decided once.

Each is a mean over what a batch counts, so a split evaluated in pieces is summed and divided at the end.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # reading a leaderboard needs no torch
    from torch import Tensor

    from stablebench.data.batch import Batch


@dataclass(frozen=True)
class Metric:
    """What a metric is.

    Args:
        unit: Its unit, in words.
        higher_is_better: Its direction.
        formula: What it computes.
    """

    unit: str
    higher_is_better: bool
    formula: str


METRICS: dict[str, Metric] = {
    "loss": Metric(
        "nats or squared units, as the task's loss", False, "mean of the task's loss over the counted steps"
    ),
    "accuracy": Metric("fraction", True, "share of the scored steps whose likeliest class is the target"),
    "mse": Metric("squared units", False, "mean of (output - target)^2"),
}


def higher_is_better(name: str) -> bool:
    """Return whether a larger value of the metric is better."""
    return METRICS[name].higher_is_better


def cross_entropy_sum(output: "Tensor", batch: "Batch") -> "tuple[Tensor, int]":
    """Return the sum of -log softmax(output)[target] over the counted steps, and their number.

    Args:
        output: Scores (n, classes) or (n, time, classes).
        batch: Targets (n,) or (n, time), and the mask.
    """
    import torch.nn.functional as F

    output, targets = _counted(output, batch.targets, batch.mask)
    return F.cross_entropy(output, targets, reduction="sum"), targets.numel()


def squared_error_sum(output: "Tensor", batch: "Batch") -> "tuple[Tensor, int]":
    """Return the sum of squared errors over the counted steps, and the number of values.

    Args:
        output: Values (n, out) or (n, time, out).
        batch: Targets of the same shape, and the mask.
    """
    targets = batch.targets if batch.mask is None else batch.targets[batch.mask]
    output = output if batch.mask is None else output[batch.mask]
    return (output - targets.to(output.dtype)).square().sum(), targets.numel()


def correct_sum(output: "Tensor", batch: "Batch") -> "tuple[Tensor, int]":
    """Return the number of scored steps whose likeliest class is the target, and the number of scored steps.

    Args:
        output: Scores (n, classes) or (n, time, classes).
        batch: Targets (n,) or (n, time), and which steps are scored.
    """
    scored = batch.mask if batch.scored is None else batch.scored
    output, targets = _counted(output, batch.targets, scored)
    return (output.argmax(-1) == targets).sum(), targets.numel()


def _counted(output: "Tensor", targets: "Tensor", mask: "Tensor | None") -> "tuple[Tensor, Tensor]":
    if mask is not None:
        return output[mask], targets[mask]
    return output.flatten(0, -2), targets.flatten()


LOSS_SUMS = {"cross_entropy": cross_entropy_sum, "mse": squared_error_sum}
METRIC_SUMS = {"accuracy": correct_sum, "mse": squared_error_sum}
