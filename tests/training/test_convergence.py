"""When a run arrived: the first of three evaluations running."""

import pytest

from stablebench.data.metrics import beats_baseline, reaches_target
from stablebench.training.targets import first_sustained


def curve(*values: float) -> list[tuple[int, float, float]]:
    return [(10 * (i + 1), 0.5 * (i + 1), value) for i, value in enumerate(values)]


def under_half(value: float) -> bool:
    return value < 0.5


def test_the_first_of_three_running_is_returned() -> None:
    assert first_sustained(curve(0.9, 0.4, 0.3, 0.2, 0.1), under_half) == (20, 1.0)


def test_one_that_falls_back_does_not_count() -> None:
    assert first_sustained(curve(0.4, 0.4, 0.9, 0.4, 0.9, 0.4, 0.4, 0.4), under_half) == (60, 3.0)


def test_too_few_are_none() -> None:
    assert first_sustained(curve(0.9, 0.4, 0.4), under_half) is None
    assert first_sustained([], under_half) is None


def test_what_is_lost_again_later_was_still_reached() -> None:
    assert first_sustained(curve(0.4, 0.4, 0.4, 0.9), under_half) == (10, 0.5)


def test_one_running_is_the_first() -> None:
    assert first_sustained(curve(0.9, 0.4), under_half, running=1) == (20, 1.0)


@pytest.mark.parametrize(("value", "beats"), [(0.0899, True), (0.0901, False), (0.1, False), (float("nan"), False)])
def test_a_loss_beats_the_baseline_under_nine_tenths(value: float, beats: bool) -> None:
    assert beats_baseline("loss", 0.1)(value) is beats
    assert beats_baseline("mse", 0.1)(value) is beats


@pytest.mark.parametrize(("value", "beats"), [(0.1499, False), (0.151, True), (0.0, False), (float("nan"), False)])
def test_an_accuracy_beats_it_by_five_points(value: float, beats: bool) -> None:
    assert beats_baseline("accuracy", 0.1)(value) is beats


def test_a_target_is_reached_at_it() -> None:
    assert reaches_target("accuracy", 0.99)(0.99)
    assert not reaches_target("accuracy", 0.99)(0.9899)
    assert reaches_target("mse", 0.01)(0.01)
    assert not reaches_target("mse", 0.01)(0.011)
