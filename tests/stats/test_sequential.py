"""Seeds added until models are told apart: how often a decision is false, and how often there is one."""

import itertools

import numpy as np
import pytest

from stablebench.stats import rank_sum_p, seed_plan


def false_decisions(models: int, most: int, rounded: bool, repetitions: int = 2000) -> float:
    """Return how often any two of identical models are called different, and check that the plan's looks are kept."""
    plan, rng, count = seed_plan(models * (models - 1) // 2, most), np.random.default_rng(models), 0
    assert plan is not None and plan.looks[-1] == most
    for _ in range(repetitions):
        drawn = rng.normal(size=(models, most))
        scores = (np.round(drawn) if rounded else drawn).tolist()
        count += any(
            rank_sum_p([a[:n]], [b[:n]]) <= plan.level for n in plan.looks for a, b in itertools.combinations(scores, 2)
        )
    return count / repetitions


@pytest.mark.parametrize(("models", "most", "rounded"), [(2, 20, False), (3, 20, False), (2, 20, True), (4, 12, False)])
def test_identical_models_are_told_apart_in_5_percent_at_most(models: int, most: int, rounded: bool) -> None:
    assert false_decisions(models, most, rounded) <= 0.05


def test_looking_unguarded_is_wrong_far_more_often() -> None:
    rng, count = np.random.default_rng(1), 0
    for _ in range(500):
        a, b = rng.normal(size=(2, 20)).tolist()
        count += any(rank_sum_p([a[:n]], [b[:n]]) <= 0.05 for n in range(5, 21))
    assert count / 500 > 0.1


def test_models_that_differ_are_told_apart() -> None:
    plan, rng = seed_plan(1, 20), np.random.default_rng(2)
    assert plan is not None
    stopped = []
    for _ in range(300):
        a, b = rng.normal(size=20).tolist(), rng.normal(1.5, size=20).tolist()
        stopped.append(next((n for n in plan.looks if rank_sum_p([a[:n]], [b[:n]]) <= plan.level), None))
    assert sum(n is not None for n in stopped) / 300 > 0.9
    assert np.mean([n for n in stopped if n is not None]) < 13


def test_a_plan_has_no_look_that_cannot_decide() -> None:
    one, many = seed_plan(1, 20), seed_plan(10, 20)
    assert one is not None and one.looks == (5, 7, 10, 14, 20) and one.level == pytest.approx(0.01)
    # ten pairs and four looks: 0.00125, which 7 seeds reach (2 / 3432) and 6 do not (2 / 924)
    assert many is not None and many.looks == (7, 10, 14, 20) and many.level == pytest.approx(0.00125)
    assert seed_plan(1, 4) is None and seed_plan(100, 5) is None
    half = seed_plan(1, 20, questions=2)
    assert half is not None and half.level == pytest.approx(0.05 / len(half.looks) / 2)
