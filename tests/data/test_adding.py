import math

import pytest
import torch

from stablebench.data.tasks import adding


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


MARKERS: list[adding.Markers] = ["one_per_half", "any_two", "first_tenth"]
VALUES: list[adding.Values] = ["unit", "centred"]


def marked(markers: adding.Markers, length: int, n: int = 5000) -> torch.Tensor:
    """Return the marked steps in order, (n, 2)."""
    marks = adding.generate(n, length=length, markers=markers, rng=rng()).inputs[:, :, 1]
    assert set(marks.unique().tolist()) <= {0.0, 1.0}
    steps = marks.nonzero()[:, 1]
    assert len(steps) == 2 * n  # two different steps everywhere
    return steps.view(n, 2)


@pytest.mark.parametrize(("length", "half"), [(2, 1), (9, 4), (10, 5)])
def test_one_mark_stands_in_each_half(length: int, half: int):
    first, second = marked("one_per_half", length).unbind(1)
    assert first.unique().tolist() == list(range(half))
    assert second.unique().tolist() == list(range(half, length))


def test_any_two_steps_are_equally_likely():
    n, length = 60_000, 5
    pairs = marked("any_two", length, n)
    counts = torch.bincount(pairs[:, 0] * length + pairs[:, 1])
    p = 1 / math.comb(length, 2)
    assert (counts > 0).sum() == math.comb(length, 2)
    assert (counts[counts > 0] / n - p).abs().max() < 4.5 * math.sqrt(p * (1 - p) / n)


@pytest.mark.parametrize(("length", "tenth"), [(2, 1), (40, 4), (49, 4)])
def test_first_mark_stands_in_first_tenth(length: int, tenth: int):
    """First mark stands in the first tenth and the other in the second half."""
    first, second = marked("first_tenth", length).unbind(1)
    assert first.unique().tolist() == list(range(tenth))
    assert second.unique().tolist() == list(range(length // 2, length))


def test_layout_step_by_step():
    batch = adding.generate(1, length=6, rng=rng(3))
    assert batch.inputs.shape == (1, 6, 2) and batch.targets.shape == (1, 1)
    numbers, marks = batch.inputs[0].unbind(1)
    i, j = marks.nonzero().flatten().tolist()
    assert i < 3 <= j
    assert batch.targets.item() == (numbers[i] + numbers[j]).item()


@pytest.mark.parametrize("values", VALUES)
def test_numbers_fill_their_interval(values: adding.Values):
    numbers = adding.generate(2000, length=50, values=values, rng=rng()).inputs[:, :, 0]
    low = 0.0 if values == "unit" else -0.5
    assert low <= numbers.min() < low + 1e-3 and low + 1 - 1e-3 < numbers.max() < low + 1


@pytest.mark.parametrize("markers", MARKERS)
def test_an_oracle_that_multiplies_and_adds_is_perfect(markers: adding.Markers):
    batch = adding.generate(100, length=30, markers=markers, rng=rng())
    answers = batch.inputs.double().prod(2).sum(1, keepdim=True)
    assert torch.allclose(answers, batch.targets.double(), rtol=0, atol=1e-6)  # float32 sums of two numbers


@pytest.mark.parametrize("markers", MARKERS)
@pytest.mark.parametrize("values", VALUES)
def test_baseline_is_the_variance_of_the_sum(markers: adding.Markers, values: adding.Values):
    targets = adding.generate(40_000, length=20, markers=markers, values=values, rng=rng()).targets.double()
    errors = (targets - (1.0 if values == "unit" else 0.0)).square()
    standard_error = errors.std().item() / math.sqrt(len(errors))
    assert errors.mean().item() == pytest.approx(1 / 6, abs=4 * standard_error)


def test_no_linear_function_adds_the_marked_numbers() -> None:
    """Its least error is 1/6 - 1/(3 length): a number tells of the sum as often as it is marked, 2 of `length` times.

    So a linear recurrence with a linear readout stays at the baseline (models/recurrent/lru.py).
    """
    length = 20
    batch = adding.generate(40_000, length=length, rng=rng())
    inputs = torch.cat([batch.inputs.flatten(1).double(), torch.ones(40_000, 1, dtype=torch.float64)], 1)
    targets = batch.targets.double()
    errors = (inputs @ torch.linalg.lstsq(inputs, targets, driver="gelsd").solution - targets).square()
    standard_error = errors.std().item() / math.sqrt(len(errors))
    assert errors.mean().item() == pytest.approx(1 / 6 - 1 / (3 * length), abs=4 * standard_error)
    assert 4 * standard_error < 1 / (3 * length)  # the two are told apart


def test_numbers_stay_float32_whatever_torch_s_default_is():
    before = torch.get_default_dtype()
    expected = adding.generate(3, length=8, rng=rng())
    torch.set_default_dtype(torch.float64)
    try:
        batch = adding.generate(3, length=8, rng=rng())
    finally:
        torch.set_default_dtype(before)
    assert batch.inputs.dtype == torch.float32
    assert torch.equal(batch.inputs, expected.inputs) and torch.equal(batch.targets, expected.targets)
