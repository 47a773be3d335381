"""Summaries of scores, on matrices small enough to work out by hand."""

import itertools
import random
import statistics

import numpy as np
import pytest
from scipy import stats as scipy_stats

from stablebench.stats import bootstrap_interval, iqm, median, stratified_interval


def test_the_interquartile_mean_leaves_a_quarter_out_at_either_end() -> None:
    assert iqm([100.0, 1.0, 2.0, 3.0]) == 2.5
    assert iqm([0, 1, 2, 3, 4, 5, 6, 1000]) == 3.5
    assert iqm([1.0, 2.0, 6.0]) == 3.0  # a quarter of three is none
    assert iqm([7.0]) == 7.0


def test_the_interquartile_mean_is_scipys_trimmed_mean() -> None:
    rng = np.random.default_rng(0)
    for n in range(1, 30):
        scores = rng.normal(size=n)
        assert iqm(scores.tolist()) == pytest.approx(scipy_stats.trim_mean(scores, 0.25), rel=1e-13)


def test_the_median() -> None:
    assert median([3.0, 1.0, 100.0]) == 3.0
    assert median([1.0, 2.0, 4.0, 100.0]) == 3.0


def test_the_interval_of_two_scores_is_that_of_their_four_resamples() -> None:
    # (0, 0), (0, 1), (1, 0), (1, 1) have means 0, 1/2, 1/2, 1, a quarter each at the ends: beyond 2.5 %
    assert bootstrap_interval([0.0, 1.0]) == (0.0, 1.0)
    # the middle 40 % lie inside the half that has mean 1/2
    assert bootstrap_interval([0.0, 1.0], confidence=0.4) == (0.5, 0.5)


def test_the_interval_of_three_scores_is_that_of_all_27_resamples() -> None:
    scores = [1.0, 2.0, 9.0]
    medians = sorted(statistics.median(draw) for draw in itertools.product(scores, repeat=3))
    # 7 of 27 resamples have the median 1, 13 have 2, 7 have 9: both ends are beyond 2.5 % and within 20 %
    assert [medians.count(x) for x in scores] == [7, 13, 7]
    assert bootstrap_interval(scores, "median") == (1.0, 9.0)
    assert bootstrap_interval(scores, "median", confidence=0.4) == (2.0, 2.0)


def test_the_interval_agrees_with_scipys_bootstrap() -> None:
    scores = np.random.default_rng(1).normal(size=12)
    theirs = scipy_stats.bootstrap(
        (scores,),
        lambda x, axis: scipy_stats.trim_mean(x, 0.25, axis=axis),
        method="percentile",
        n_resamples=20_000,
        rng=np.random.default_rng(2),
    ).confidence_interval
    ours = bootstrap_interval(scores.tolist())
    assert ours is not None
    width = theirs.high - theirs.low
    # two estimates from 2,000 and 20,000 draws: their 2.5 % quantiles differ by about 3 % of the width
    assert abs(ours[0] - theirs.low) < 0.1 * width
    assert abs(ours[1] - theirs.high) < 0.1 * width


def test_resampling_stays_within_strata() -> None:
    # 4 seeds x 2 tasks, equal within each task: whatever is drawn, the mean of the middle half is the same
    assert stratified_interval([[0.0] * 4, [1.0] * 4]) == (0.5, 0.5)
    mixed = bootstrap_interval([0.0] * 4 + [1.0] * 4)
    assert mixed is not None
    assert mixed[0] < 0.5 < mixed[1]


def test_the_stratified_interval_of_a_small_matrix() -> None:
    # Two seeds on each of two tasks: the four pooled scores lose their lowest and highest.
    # Draws: {1,1}, {1,3}, {3,3} (1/4, 1/2, 1/4) and {2,2}, {2,8}, {8,8}: middle two of the four, averaged:
    # lowest 1.5 (1,1 with any: mean(1,2) = 1.5, probability 1/4), highest 5.5 (3,3 with 8,8: mean(3,8), 1/16)
    assert stratified_interval([[1.0, 3.0], [2.0, 8.0]]) == (1.5, 5.5)


def test_equal_scores_have_themselves_as_interval_and_one_score_has_none() -> None:
    assert bootstrap_interval([0.3, 0.3, 0.3]) == (0.3, 0.3)
    assert bootstrap_interval([0.3]) is None
    assert bootstrap_interval([]) is None
    assert stratified_interval([[1.0, 2.0], [1.0]]) is None
    assert stratified_interval([]) is None


def test_global_random_state_has_no_influence_and_is_left_alone() -> None:
    scores = [0.1, 0.5, 0.2, 0.9, 0.4]
    random.seed(1)
    np.random.seed(1)  # noqa: NPY002 - the state that must not matter
    first, after = bootstrap_interval(scores), np.random.random()  # noqa: NPY002
    np.random.seed(1)  # noqa: NPY002
    assert np.random.random() == after  # noqa: NPY002
    random.seed(2)
    assert bootstrap_interval(scores) == first


def test_the_interval_moves_with_the_scores() -> None:
    scores = [0.1, 0.5, 0.2, 0.9, 0.4]
    low, high = bootstrap_interval(scores) or (0, 0)
    assert bootstrap_interval([x + 1 for x in scores]) == pytest.approx((low + 1, high + 1))
    assert min(scores) <= low < iqm(scores) < high <= max(scores)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
def test_a_score_that_is_no_number_is_refused(bad: float) -> None:
    with pytest.raises(ValueError, match="scores must be finite"):
        iqm([1.0, bad])
    with pytest.raises(ValueError, match="scores must be finite"):
        bootstrap_interval([1.0, bad])
    with pytest.raises(ValueError, match="at least one"):
        median([])
