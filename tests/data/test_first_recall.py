import math

import pytest
import torch

from stablebench.data.tasks import first_recall


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("length", [1, 20])
def test_answer_is_the_first_token(length: int):
    batch = first_recall.generate(200, length=length, alphabet=7, rng=rng())
    assert batch.inputs.shape == (200, length)
    assert batch.targets.tolist() == [sequence[0] for sequence in batch.inputs.tolist()]


def test_every_token_is_answer_equally_often():
    """Every token is the answer equally often whatever the last one is."""
    n, alphabet = 60_000, 5
    batch = first_recall.generate(n, length=3, alphabet=alphabet, rng=rng())
    joint = torch.bincount(batch.targets * alphabet + batch.inputs[:, -1], minlength=alphabet**2).double() / n
    p = 1 / alphabet**2
    assert (joint - p).abs().max() < 4.5 * math.sqrt(p * (1 - p) / n)
