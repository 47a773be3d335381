"""The double moon: its geometry, and what its baselines say of it."""

import math

import pytest
import torch
from torch import Tensor

from stablebench import registry
from stablebench.data.metrics import correct_sum, squared_error_sum
from stablebench.data.task import Task, resolve_params
from stablebench.data.tasks import digits, digits_flat, double_moon

DISTANCES = [1.0, 0.0, -4.0, -5.0]


def moons(distance: float) -> tuple[Tensor, Tensor, Tensor]:
    """Return all points and labels of both parts, and which points are the upper moon's."""
    parts = [double_moon.load(name, distance=distance) for name in ("train", "test")]
    points, labels = (torch.cat([part[i] for part in parts]).double() for i in (0, 1))  # pyright: ignore
    return points, labels, labels[:, 0] > 0


@pytest.mark.parametrize("distance", DISTANCES)
def test_points_lie_in_the_half_rings_of_the_book(distance: float) -> None:
    points, labels, upper = moons(distance)
    centres = torch.where(upper[:, None], torch.tensor([0.0, 0.0]), torch.tensor([10.0, -distance]))
    x, y = (points - centres).unbind(1)
    away = torch.hypot(x, y)
    rounding = 1e-5  # of coordinates up to 23 in float32
    assert away.min() > 7 - rounding and away.max() < 13 + rounding
    assert (y[upper] > -rounding).all() and (y[~upper] < rounding).all()
    assert set(labels.flatten().tolist()) == {-1.0, 1.0} and labels.sum() == 0


def test_points_are_even_over_the_rings_area() -> None:
    points, _, upper = moons(-5.0)
    away = torch.linalg.vector_norm(points[upper], dim=1)
    inside = (away**2 < (7**2 + 13**2) / 2).double()  # half of the ring's area
    assert abs(inside.mean() - 0.5) < 4 * 0.5 / math.sqrt(len(inside))
    angle = torch.atan2(points[upper, 1], points[upper, 0])
    assert abs(angle.mean() - math.pi / 2) < 4 * math.pi / math.sqrt(12 * len(angle))


def test_cards_moons_do_not_touch() -> None:
    """The cards moons do not touch and lie 7 inside the figure of the paper."""
    card = registry.task_card("double_moon")
    assert resolve_params(card)["distance"] == -5.0
    points, _, upper = moons(-5.0)
    assert torch.cdist(points[upper], points[~upper]).min() > 1
    low, high = (-13, 5 - 13), (10 + 13, 13)  # of the two half rings
    assert (points >= torch.tensor(low)).all() and (points <= torch.tensor(high)).all()
    assert (low[0] - 7, low[1] - 7, high[0] + 7, high[1] + 7) == (-20, -15, 30, 20)


def least_squares(points: Tensor, labels: Tensor) -> Tensor:
    plane = torch.cat([points, torch.ones(len(points), 1, dtype=points.dtype)], dim=1)
    return plane @ torch.linalg.lstsq(plane, labels).solution


@pytest.mark.parametrize("distance", DISTANCES)
def test_the_baseline_is_the_error_of_the_least_squares_plane(distance: float) -> None:
    card = registry.task_card("double_moon")
    points, labels, _ = moons(distance)
    found = (least_squares(points, labels) - labels).square().mean().item()
    expected = card.baseline("mse", resolve_params(card, settings={"distance": distance}))
    assert found == pytest.approx(expected, rel=0.04)  # 3,500 points: a few standard errors of about 1 %


def test_constant_answers_score_what_the_card_says() -> None:
    card = registry.task_card("double_moon")
    batch = Task(card, resolve_params(card)).split("test")
    zeros = torch.zeros(len(batch.inputs), 1)
    total, count = squared_error_sum(zeros, batch)
    assert total / count == next(b.value for b in card.baselines if b.name == "mean") == 1.0
    total, count = correct_sum(zeros + 1, batch)
    assert total / count == card.baseline("accuracy", {}) == 0.5 and count == len(batch.inputs)


def test_line_leaves_about_12_percent_on_wrong_side() -> None:
    """The line leaves about 12 percent on the wrong side and an oracle none."""
    card = registry.task_card("double_moon")
    batch = Task(card, resolve_params(card)).split("test")
    total, count = correct_sum(least_squares(batch.inputs.double(), batch.targets.double()), batch)
    assert total / count == pytest.approx(0.88, abs=0.01)
    x, y = batch.inputs.unbind(1)
    from_upper, from_lower = (torch.hypot(x, y) - 10).abs(), (torch.hypot(x - 10, y - 5) - 10).abs()
    in_upper, in_lower = (from_upper <= 3) & (y >= 0), (from_lower <= 3) & (y <= 5)
    assert (in_upper ^ in_lower).all()
    oracle = torch.where(in_upper, 1.0, -1.0)[:, None]
    total, count = correct_sum(oracle, batch)
    assert total == count and squared_error_sum(oracle, batch)[0] == 0


def test_training_and_held_out_points_are_different_ones() -> None:
    card = registry.task_card("double_moon")
    task = Task(card, resolve_params(card))
    train, validation = task.train_batch(0, 0, 1000), task.split("validation")
    assert len(train.inputs) == 1000 and len(validation.inputs) == 500
    assert torch.cdist(train.inputs, validation.inputs).min() > 0
    assert torch.equal(task.train_batch(0, 0, 1000).inputs, train.inputs)


def test_flat_digits_are_the_digits() -> None:
    for name in ("train", "test"):
        flat, sequence = digits_flat.load(name), digits.load(name)
        assert torch.equal(flat.inputs, sequence.inputs[:, :, 0]) and torch.equal(flat.targets, sequence.targets)
