import itertools
import math

import pytest
import torch

from stablebench.data.tasks import kth_highest
from stablebench.errors import UserError
from stablebench.schema.chances import kth_highest_mode


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize(("k", "length"), [(1, 1), (1, 30), (3, 3), (3, 30)])
def test_oracle_that_sorts_is_perfect(k: int, length: int):
    """An oracle that sorts is perfect and equal numbers count apart."""
    batch = kth_highest.generate(300, length=length, k=k, alphabet=6, rng=rng())  # 6 numbers: nearly all sequences tie
    assert batch.inputs.shape == (300, length, 1)
    numbers = (batch.inputs.double() * 5).round().long().squeeze(2)
    assert batch.targets.tolist() == [sorted(sequence)[-k] for sequence in numbers.tolist()]


def test_inputs_are_the_numbers_scaled_to_the_unit_interval():
    inputs = kth_highest.generate(500, length=20, k=1, alphabet=5, rng=rng()).inputs
    assert inputs.unique().tolist() == [0.0, 0.25, 0.5, 0.75, 1.0]


def test_too_few_numbers_are_refused():
    with pytest.raises(UserError, match=r"`k` must be <= length = 2 .* got 3"):
        kth_highest.sizes(length=2, k=3, alphabet=10)


@pytest.mark.parametrize(
    ("alphabet", "k", "length"), [(1, 1, 2), (2, 2, 3), (3, 1, 4), (4, 3, 5), (5, 2, 2), (3, 6, 6)]
)
def test_likeliest_answer_agrees_with_counting_all_sequences(alphabet: int, k: int, length: int):
    answers = [sorted(sequence)[-k] for sequence in itertools.product(range(alphabet), repeat=length)]
    counted = max(answers.count(number) for number in range(alphabet)) / len(answers)
    assert kth_highest_mode(alphabet, k, length) == pytest.approx(counted, rel=1e-12)


@pytest.mark.parametrize(("alphabet", "length"), [(100, 100), (2000, 100), (2000, 400)])
def test_baseline_agrees_with_the_generator(alphabet: int, length: int):
    n = 20_000
    fitted = kth_highest.generate(n, length=length, alphabet=alphabet, rng=rng(1)).targets
    p = kth_highest_mode(alphabet, 3, length)
    # the likeliest answer is where the density P(A < v + 1) - P(A < v) peaks; take the probabilities of all answers
    shares = torch.bincount(fitted, minlength=alphabet).double() / n
    standard_error = math.sqrt(p * (1 - p) / n)
    near = p - 4 * standard_error <= shares.max().item()
    assert near and shares.max().item() <= p + 5 * standard_error  # a maximum of many shares lies a little above


def test_no_constant_answer_comes_near_target_at_card_s_lengths():
    """No constant answer comes near the target at the card's lengths."""
    assert [kth_highest_mode(2000, 3, length) < 0.06 for length in (100, 200, 400)] == [True] * 3
    assert kth_highest_mode(100, 3, 400) > 0.76  # why the alphabet is not 100
