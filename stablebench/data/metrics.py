"""Metrics and losses: name, formula, unit, and which direction is better, decided once.

Each is a mean over what a batch counts, so a split evaluated in pieces is summed and divided at the end.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from stablebench.errors import StablebenchError

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
        least: No value is below.
        most: No value is above.
    """

    unit: str
    higher_is_better: bool
    formula: str
    least: float = 0.0
    most: float = math.inf


METRICS: dict[str, Metric] = {
    "loss": Metric(
        "nats or squared units, as the task's loss", False, "mean of the task's loss over the counted steps"
    ),
    "accuracy": Metric("fraction", True, "share of the scored steps whose likeliest class is the target", most=1),
    "sequence_accuracy": Metric("fraction", True, "share of the sequences in which every scored step is right", most=1),
    "scaled_accuracy": Metric(
        "fraction", True, "(accuracy - chance) / (1 - chance): 0 is guessing, 1 is perfect", least=-math.inf, most=1
    ),
    "mse": Metric("squared units", False, "mean of (output - target)^2"),
    "nrmse": Metric("fraction", False, "square root of sum (output - target)^2 / sum target^2"),
    "bpc": Metric("bits per character", False, "mean cross-entropy / ln 2"),
    "perplexity": Metric("equally likely words", False, "exp(mean cross-entropy)", least=1),
}


def higher_is_better(name: str) -> bool:
    """Return whether a larger value of the metric is better."""
    return METRICS[name].higher_is_better


def is_better(name: str, value: float, other: float) -> bool:
    """Return whether a value of the metric is better than another; equal ones are not."""
    return value > other if higher_is_better(name) else value < other


def clipped(name: str, ends: tuple[float, float]) -> tuple[float, float]:
    """Return both ends of an interval, cut to the values that the metric can have."""
    metric = METRICS[name]
    low, high = (min(max(end, metric.least), metric.most) for end in ends)
    return low, high


def beats_baseline(metric: str, baseline: float) -> Callable[[float], bool]:
    """Return whether a value is under 0.9 of the baseline, or 0.05 over it where higher is better."""
    if higher_is_better(metric):
        return lambda value: value >= baseline + 0.05
    return lambda value: value < 0.9 * baseline


def reaches_target(metric: str, target: float) -> Callable[[float], bool]:
    """Return whether a value is at the target or better."""
    if higher_is_better(metric):
        return lambda value: value >= target
    return lambda value: value <= target


def stalls(name: str, values: Sequence[float]) -> int:
    """Return how many values of the metric, in the order of time, are not better than all before them."""
    count, best = 0, None
    for value in values:
        if best is None or is_better(name, value, best):
            best = value
        else:
            count += 1
    return count


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


def binary_cross_entropy_sum(output: "Tensor", batch: "Batch") -> "tuple[Tensor, int]":
    """Return the sum of -log of the probability of the target, one logit of class 1 being given, and the number.

    Args:
        output: Logits (n, 1) or (n, time, 1).
        batch: Targets 0 or 1, (n,) or (n, time), and the mask.
    """
    import torch.nn.functional as F

    output, targets = _counted(output, batch.targets, batch.mask)
    logits = output.squeeze(-1)
    return F.binary_cross_entropy_with_logits(logits, targets.to(logits.dtype), reduction="sum"), targets.numel()


def correct_sum(output: "Tensor", batch: "Batch") -> "tuple[Tensor, int]":
    """Return the number of scored steps whose likeliest class is the target, and the number of scored steps.

    Args:
        output: Scores (n, classes) or (n, time, classes); of one column, logits of class 1, or values with its sign.
        batch: Targets (n,) or (n, time), of one column also (n, 1), 0 or -1 and 1; and which steps are scored.
    """
    scored = batch.mask if batch.scored is None else batch.scored
    output, targets = _counted(output, batch.targets, scored)
    if output.shape[-1] == 1:
        return ((output.squeeze(-1) > 0) == (targets > 0)).sum(), targets.numel()
    return (output.argmax(-1) == targets).sum(), targets.numel()


def right_sequences_sum(output: "Tensor", batch: "Batch") -> "tuple[Tensor, int]":
    """Return the number of sequences whose scored steps are all right, and that of those with a scored step.

    Args:
        output: Scores (n, time, classes); of one column, logits of class 1.
        batch: Targets (n, time), and which steps are scored.
    """
    scored = batch.mask if batch.scored is None else batch.scored
    answers = (output.squeeze(-1) > 0).to(batch.targets.dtype) if output.shape[-1] == 1 else output.argmax(-1)
    wrong = answers != batch.targets
    if scored is None:
        return (~wrong.any(1)).sum(), len(wrong)
    counted = scored.any(1)
    return (counted & ~(wrong & scored).any(1)).sum(), int(counted.sum())


def scaled_accuracy(accuracy: float, chance: float) -> float | None:
    """Return the accuracy on a scale where guessing is 0 and perfect is 1, below 0 where it is worse than guessing.

    Args:
        accuracy: A fraction.
        chance: The accuracy of guessing; there is no such scale where that is 1.
    """
    return None if chance >= 1 else (accuracy - chance) / (1 - chance)


def relative_error_sum(output: "Tensor", batch: "Batch") -> "tuple[Tensor, float]":
    """Return the sum of squared errors and that of squared targets over the counted steps.

    Args:
        output: Values (n, out) or (n, time, out).
        batch: Targets of the same shape, and the mask.
    """
    targets = batch.targets if batch.mask is None else batch.targets[batch.mask]
    return squared_error_sum(output, batch)[0], targets.to(output.dtype).square().sum().item()


def _counted(output: "Tensor", targets: "Tensor", mask: "Tensor | None") -> "tuple[Tensor, Tensor]":
    if mask is not None:
        return output[mask], targets[mask]
    return output.flatten(0, -2), targets.flatten()


LOSS_SUMS = {
    "cross_entropy": cross_entropy_sum,
    "binary_cross_entropy": binary_cross_entropy_sum,
    "mse": squared_error_sum,
}
_METRIC_SUMS = {
    "accuracy": correct_sum,
    "sequence_accuracy": right_sequences_sum,
    "mse": squared_error_sum,
    "nrmse": relative_error_sum,
    "bpc": cross_entropy_sum,
    "perplexity": cross_entropy_sum,
}
_OF_MEANS: dict[str, Callable[[float], float]] = {
    "nrmse": math.sqrt,
    "bpc": lambda nats: nats / math.log(2),
    "perplexity": lambda nats: math.exp(min(nats, 700.0)),  # a diverging network's is beyond float64
}


class Mean:
    """A metric over a split that is evaluated in pieces.

    Args:
        name: The metric.
        loss: What the metric `loss` is.
    """

    def __init__(self, name: str, loss: str) -> None:
        self._sums = LOSS_SUMS[loss] if name == "loss" else _METRIC_SUMS[name]
        self._of_mean = _OF_MEANS.get(name, lambda mean: mean)
        self._total = self._count = 0.0

    def add(self, output: "Tensor", batch: "Batch") -> None:
        """Add a piece."""
        total, count = self._sums(output, batch)
        self._total += total.item()
        self._count += count

    @property
    def value(self) -> float:
        """The metric over all pieces.

        Raises:
            StablebenchError: Nothing was counted.
        """
        if not self._count:
            raise StablebenchError("There is nothing to score: no step of the split counts.")
        mean = self._total / self._count
        return self._of_mean(mean) if math.isfinite(mean) else mean
