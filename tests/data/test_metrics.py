"""Metrics against their formulas, in pieces."""

import math

import pytest
import torch

from stablebench.data.batch import Batch
from stablebench.data.metrics import LOSS_SUMS, METRICS, Mean
from stablebench.errors import StablebenchError


def in_pieces(name: str, output: torch.Tensor, batch: Batch, loss: str = "mse") -> float:
    mean = Mean(name, loss)
    for part in (slice(0, 2), slice(2, None)):
        mean.add(output[part], Batch(*(None if p is None else p[part] for p in batch)))  # pyright: ignore
    return mean.value


def test_nrmse_is_the_error_over_the_size_of_the_target() -> None:
    output, targets = torch.tensor([[1.0], [2.0], [0.0]]), torch.tensor([[1.0], [1.0], [2.0]])
    batch = Batch(output, targets)
    assert in_pieces("nrmse", output, batch) == pytest.approx(math.sqrt((0 + 1 + 4) / (1 + 1 + 4)))
    assert in_pieces("mse", output, batch) == pytest.approx(5 / 3)


def test_nrmse_counts_masked_steps_alone() -> None:
    output, targets = torch.ones(3, 2, 1), torch.tensor([[[1.0], [9.0]], [[3.0], [9.0]], [[2.0], [9.0]]])
    mask = torch.tensor([[True, False]] * 3)
    assert in_pieces("nrmse", output, Batch(output, targets, mask)) == pytest.approx(math.sqrt(5 / 14))


def test_bits_and_perplexity_of_a_guess_are_the_alphabets() -> None:
    """Bits and perplexity of a uniform guess are those of the alphabet."""
    output, batch = torch.zeros(3, 4, 8), Batch(torch.zeros(3, 4), torch.randint(8, (3, 4)))
    assert in_pieces("bpc", output, batch, "cross_entropy") == pytest.approx(3)
    assert in_pieces("perplexity", output, batch, "cross_entropy") == pytest.approx(8)
    assert in_pieces("loss", output, batch, "cross_entropy") == pytest.approx(math.log(8))


def test_one_logit_is_scored_as_class_1() -> None:
    output, batch = torch.tensor([[2.0], [-1.0], [0.5]]), Batch(torch.zeros(3), torch.tensor([1, 0, 0]))
    assert in_pieces("accuracy", output, batch) == pytest.approx(2 / 3)
    expected = sum(math.log1p(math.exp(-z if y else z)) for z, y in ((2.0, 1), (-1.0, 0), (0.5, 0))) / 3
    total, count = LOSS_SUMS["binary_cross_entropy"](output, batch)
    assert total.item() / count == pytest.approx(expected, rel=1e-6)


def test_an_empty_split_is_an_error() -> None:
    mean = Mean("accuracy", "cross_entropy")
    mean.add(torch.zeros(2, 3, 4), Batch(torch.zeros(2, 3), torch.zeros(2, 3).long(), torch.zeros(2, 3).bool()))
    with pytest.raises(StablebenchError, match="nothing to score"):
        _ = mean.value


def test_a_loss_that_is_not_finite_stays_so() -> None:
    mean = Mean("perplexity", "cross_entropy")
    mean.add(torch.full((1, 2), math.nan), Batch(torch.zeros(1), torch.zeros(1).long()))
    assert math.isnan(mean.value)


def test_every_metric_can_be_taken() -> None:
    for name in METRICS.keys() - {"scaled_accuracy"}:  # which follows from the accuracy
        Mean(name, "mse")
