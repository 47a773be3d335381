"""Rank correlations of early numbers with how runs end, and predictions of models that are left out."""

import math

import numpy
import pytest
from scipy import stats as scipy_stats

from stablebench.stats.prediction import MIN_MODELS, correlation_interval, left_out_skill, rank_correlation


def test_rank_correlation_is_spearmans_with_ties() -> None:
    random = numpy.random.default_rng(1)
    x, y = random.integers(0, 6, size=40).tolist(), random.integers(0, 6, size=40).tolist()
    theirs = scipy_stats.spearmanr(x, y)[0]
    assert rank_correlation(x, y) == pytest.approx(theirs, abs=1e-12)


def test_infinite_numbers_are_ranked() -> None:
    assert rank_correlation([-math.inf, 0.0, 1.0, math.inf], [1.0, 2.0, 3.0, 4.0]) == pytest.approx(1)


@pytest.mark.parametrize(("x", "y"), [([1, 1, 1], [1, 2, 3]), ([1, 2, 3], [5, 5, 5]), ([1, 2], [1, 2])])
def test_what_does_not_vary_has_no_correlation(x: list[float], y: list[float]) -> None:
    assert rank_correlation(x, y) is None


def test_the_interval_resamples_models_not_runs() -> None:
    """Twenty equal runs of a model are worth one: the interval does not shrink with their number."""
    x = [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]
    y = [1.0, 0.0, 2.0, 3.0, 5.0, 4.0]
    names = list("abcdef")
    one = correlation_interval(x, y, names)
    many = correlation_interval(x * 20, y * 20, names * 20)
    assert one is not None and many is not None
    assert many == pytest.approx(one, abs=0.03) and one[1] - one[0] > 0.3
    runs = correlation_interval(x * 20, y * 20, [str(i) for i in range(120)])
    assert runs is not None and runs[1] - runs[0] < (many[1] - many[0]) / 3
    assert correlation_interval(x[: MIN_MODELS - 1], y[: MIN_MODELS - 1], names[: MIN_MODELS - 1]) is None


@pytest.mark.parametrize("x", [[1.0, 1.0, -math.inf, 2.0, 0.5, 3.0, 3.0, 1.0, 7.0], [4.0] * 9])
def test_the_interval_is_that_of_resamples_made_one_by_one(x: list[float]) -> None:
    y, names = [0.0, 2.0, 1.0, 1.0, 5.0, 4.0, -math.inf, 6.0, 3.0], list("abcdeabca")
    random, values = numpy.random.default_rng(4), []
    for _ in range(200):
        models = [sorted(set(names))[i] for i in random.integers(5, size=5)]
        drawn = [i for model in models for i, name in enumerate(names) if name == model]
        values.append(rank_correlation([x[i] for i in drawn], [y[i] for i in drawn]) or 0.0)
    expected = tuple(numpy.quantile(values, [0.025, 0.975]))
    assert correlation_interval(x, y, names, resamples=200, seed=4) == pytest.approx(expected, abs=1e-12)


def test_of_unrelated_numbers_the_interval_holds_zero() -> None:
    random, held = numpy.random.default_rng(3), 0
    for _ in range(60):
        x, y = random.normal(size=12), random.normal(size=12)
        interval = correlation_interval(x.tolist(), y.tolist(), [str(i) for i in range(12)], resamples=300)
        assert interval is not None
        held += interval[0] <= 0 <= interval[1]
    assert held >= 52


def test_skill_is_near_one_for_an_exact_probe_and_none_for_noise() -> None:
    names = [f"m{i}" for i in range(20) for _ in range(3)]
    y = [float(i) for i in range(60)]
    exact = left_out_skill([math.exp(value / 10) for value in y], y, names)
    backwards = left_out_skill([-value for value in y], y, names)
    assert exact is not None and backwards is not None and exact > 0.93 and backwards == pytest.approx(exact, abs=0.02)
    random = numpy.random.default_rng(5)
    noise = [left_out_skill(random.normal(size=60).tolist(), y, names) for _ in range(20)]
    assert all(value is not None and value < 0.3 for value in noise)
    assert numpy.mean([value for value in noise if value is not None]) < 0.02


def test_a_probe_that_knows_the_model_by_heart_does_not_help() -> None:
    """A number of its own for each model says nothing about a model that was not seen."""
    random = numpy.random.default_rng(7)
    label, ends = random.permutation(30).astype(float), random.permutation(30).astype(float)
    names = [f"m{i}" for i in range(30) for _ in range(4)]
    x, y = numpy.repeat(label, 4), numpy.repeat(ends, 4) + 0.01 * random.normal(size=120)
    skill = left_out_skill(x.tolist(), y.tolist(), names)
    assert skill is not None and skill < 0.15


def test_skill_needs_models_and_ends_that_differ() -> None:
    assert left_out_skill([1.0, 2.0, 3.0, 4.0], [1.0, 2.0, 3.0, 4.0], list("abcd")) is None
    assert left_out_skill([1.0, 2.0, 3.0, 4.0, 5.0], [1.0] * 5, list("abcde")) is None
