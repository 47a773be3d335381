import math
from collections import Counter
from itertools import permutations

import pytest
import torch

from stablebench import registry
from stablebench.data.batch import Batch
from stablebench.data.task import resolve_params
from stablebench.data.tasks import mqar
from stablebench.errors import UserError


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def asked_steps(batch: Batch) -> list[list[int]]:
    assert batch.mask is not None
    return [row.nonzero().flatten().tolist() for row in batch.mask]


def test_pairs_come_first_and_each_key_is_asked_once():
    """Pairs come first and each key is asked once at an even step."""
    batch = mqar.generate(300, length=16, pairs=3, vocabulary=20, rng=rng())
    for inputs, targets, asked in zip(batch.inputs.tolist(), batch.targets.tolist(), asked_steps(batch), strict=True):
        keys, values = inputs[0:6:2], inputs[1:6:2]
        assert len(set(keys)) == len(set(values)) == 3
        assert all(1 <= key < 10 for key in keys) and all(10 <= value < 20 for value in values)
        assert len(asked) == 3 and all(step >= 6 and step % 2 == 0 for step in asked)
        assert sorted(inputs[step] for step in asked) == sorted(keys)
        assert all(inputs[step] == targets[step] == 0 for step in range(6, 16) if step not in asked)


def test_all_keys_values_and_places_occur():
    batch = mqar.generate(4000, length=12, pairs=2, vocabulary=10, rng=rng())
    assert batch.inputs[:, [0, 2]].unique().tolist() == [1, 2, 3, 4]
    assert batch.inputs[:, [1, 3]].unique().tolist() == [5, 6, 7, 8, 9]
    assert {step for steps in asked_steps(batch) for step in steps} == {4, 6, 8, 10}
    ordered = Counter(map(tuple, batch.inputs[:, [0, 2]].tolist()))
    assert set(ordered) == set(permutations(range(1, 5), 2))
    assert all(abs(times - 4000 / 12) < 5 * math.sqrt(4000 / 12) for times in ordered.values())


@pytest.mark.parametrize("power", [0.01, 0.5, 1.0])
def test_the_first_key_s_question_follows_the_power_law(power: float):
    n, length = 20_000, 20
    batch = mqar.generate(n, length=length, pairs=2, vocabulary=6, power=power, rng=rng(4))
    space = (length - 4) // 2
    weights = [power * (i + 1) ** (power - 1) for i in range(space)]  # as the paper's code has it
    first_key = batch.inputs[:, :1]
    place = ((batch.inputs[:, 4:] == first_key).long().argmax(dim=1)) // 2
    shares = torch.bincount(place, minlength=space) / n
    for share, weight in zip(shares.tolist(), weights, strict=True):
        p = weight / sum(weights)
        assert share == pytest.approx(p, abs=4.5 * math.sqrt(p / n))


def test_filled_sequences_ask_the_same_questions():
    """Filled sequences have random tokens where blanks were and the same questions."""
    blank = mqar.generate(50, length=32, pairs=4, vocabulary=64, rng=rng(2))
    filled = mqar.generate(50, length=32, pairs=4, vocabulary=64, filled=True, rng=rng(2))
    assert torch.equal(blank.targets, filled.targets) and torch.equal(blank.mask, filled.mask)  # type: ignore[arg-type]
    shown = blank.inputs != 0
    assert torch.equal(blank.inputs[shown], filled.inputs[shown])
    assert len(filled.inputs[~shown].unique()) > 60


@pytest.mark.parametrize("filled", [False, True])
def test_an_oracle_with_a_dictionary_is_perfect(filled: bool):
    batch = mqar.generate(100, length=64, pairs=8, vocabulary=8192, filled=filled, rng=rng())
    assert batch.mask is not None
    for inputs, targets, asked in zip(batch.inputs.tolist(), batch.targets.tolist(), asked_steps(batch), strict=True):
        memory = dict(zip(inputs[0:16:2], inputs[1:16:2], strict=True))
        assert [memory[inputs[step]] for step in asked] == [targets[step] for step in asked]


@pytest.mark.parametrize("variant", ["t64", "t512", "small_t64"])
def test_baseline_is_the_score_of_any_value_that_was_shown(variant: str):
    card = registry.task_card("mqar")
    params = resolve_params(card, variant=variant)
    batch = mqar.generate(500, **params, rng=rng(5))
    pairs = params["pairs"]
    values = batch.inputs[:, 1 : 2 * pairs : 2]
    first, right = values[:, :1], []
    for i, asked in enumerate(asked_steps(batch)):
        right += (batch.targets[i, asked] == first[i]).tolist()
        assert set(batch.targets[i, asked].tolist()) == set(values[i].tolist())
    # one value is right exactly once in every sequence
    assert sum(right) / len(right) == pytest.approx(card.baseline("accuracy", params), rel=1e-12)
    assert card.baseline("loss", params) == pytest.approx(-math.log(1 / pairs), rel=1e-12)


def test_lengths_that_do_not_fit_are_refused():
    with pytest.raises(UserError, match=r"`length` must be even .* got 9"):
        mqar.sizes(length=9, pairs=2, vocabulary=64)
    with pytest.raises(UserError, match=r"`length` must be >= 4 \* pairs = 12 .* got 10"):
        mqar.sizes(length=10, pairs=3, vocabulary=64)
    with pytest.raises(UserError, match=r"`vocabulary` must be >= 8 .* got 7"):
        mqar.sizes(length=16, pairs=3, vocabulary=7)
    assert mqar.generate(2, length=12, pairs=3, vocabulary=8, rng=rng()).inputs.shape == (2, 12)
