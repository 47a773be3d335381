"""Summaries of scores, on matrices small enough to work out by hand."""

import itertools
import math
import random

import numpy as np
import pytest
from scipy import stats as scipy_stats

from stablebench.stats import (
    TimesToTarget,
    common_horizon,
    holm,
    integrated_scores,
    iqm,
    kaplan_meier,
    mean,
    mean_ranks,
    median,
    median_coverage,
    median_interval,
    median_times,
    pair_p_values,
    probability_of_improvement,
    profile,
    rank_intervals,
    rank_sum_p,
    restricted_mean,
    score_intervals,
    seeds_needed,
    smallest_p,
    standard_deviation,
    standard_error,
    stratified_intervals,
    student_interval,
    time_ratios,
)
from stablebench.stats import bootstrap as bootstrap_module
from stablebench.stats import ranks as ranks_module
from stablebench.stats.bootstrap import counts, draws, expanded_ends

INF = math.inf


def test_interquartile_mean_leaves_quarter_out_at_either_end() -> None:
    """The interquartile mean leaves a quarter out at either end."""
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


def iqm_interval(*strata: list[float]) -> tuple[float, float]:
    (found,) = stratified_intervals(list(strata), ["iqm"])
    assert found is not None
    return found


def test_the_interval_of_a_median_is_made_of_order_statistics() -> None:
    scores = [3.0, 1.0, 9.0, 5.0, 7.0]
    # all five lie on one side of the median in 2 of 32 cases
    assert median_interval(scores) == (1.0, 9.0) and median_coverage(5) == 1 - 2 / 32
    # of nine, at most one lies on a side in 2 (1 + 9) of 512 cases, at most two in 2 (1 + 9 + 36)
    assert median_interval([float(i) for i in range(9)]) == (1.0, 7.0) and median_coverage(9) == 1 - 20 / 512
    assert median_interval([1.0, 2.0, 3.0, INF, 5.0]) == (1.0, INF)
    assert median_interval([1.0, 2.0, 3.0, 4.0]) is None and median_coverage(4) is None
    # 1 - 2 P(B <= k - 1) as scipy has it, for the largest k that keeps 95 %
    for n in range(6, 60):
        coverage = [1 - 2 * scipy_stats.binom.cdf(k - 1, n, 0.5) for k in range(1, n // 2 + 1)]
        k = max(i for i, one in enumerate(coverage, 1) if one >= 0.95)
        assert median_interval([float(i) for i in range(n)]) == (k - 1, n - k)
        assert median_coverage(n) == pytest.approx(coverage[k - 1])


def test_students_interval_is_scipys() -> None:
    scores = np.random.default_rng(4).normal(size=7)
    theirs = scipy_stats.ttest_1samp(scores, 0.0).confidence_interval(0.95)
    assert student_interval(scores.tolist()) == pytest.approx((theirs.low, theirs.high))
    assert student_interval([1.0]) is None


POPULATIONS = {
    "normal": lambda rng, size: rng.normal(0.5, 0.1, size),
    "lognormal": lambda rng, size: rng.lognormal(-2.0, 1.0, size),
    "failing": lambda rng, size: np.where(
        rng.random(size) < 0.2, rng.uniform(0.09, 0.11, size), rng.normal(0.9, 0.03, size)
    ),
}
"""Scores of seeds: symmetric, skewed, and accuracies of which a fifth are at chance."""


@pytest.mark.parametrize("n", [5, 6, 10, 20])
@pytest.mark.parametrize("name", POPULATIONS)
def test_the_interval_of_a_median_covers_what_it_says(name: str, n: int) -> None:
    rng = np.random.default_rng(n)
    true = float(np.median(POPULATIONS[name](rng, 1_000_000)))
    intervals = [median_interval(scores) for scores in POPULATIONS[name](rng, (2000, n)).tolist()]
    covered = sum(ends is not None and ends[0] <= true <= ends[1] for ends in intervals) / 2000
    said = median_coverage(n) or 0
    assert said >= 0.9375 and (n == 5 or said >= 0.95)
    assert abs(covered - said) < 4 * math.sqrt(said * (1 - said) / 2000)  # four standard errors


@pytest.mark.parametrize("n", [5, 10])
@pytest.mark.parametrize("name", POPULATIONS)
def test_the_bootstrap_over_three_tasks_covers_nine_tenths(name: str, n: int) -> None:
    rng = np.random.default_rng(n)
    true = iqm(POPULATIONS[name](rng, 1_000_000).tolist())
    covered = 0
    for _ in range(300):
        low, high = iqm_interval(*POPULATIONS[name](rng, (3, n)).tolist())
        covered += low <= true <= high
    assert covered / 300 >= 0.9


def test_the_interval_agrees_with_scipys_bootstrap() -> None:
    scores = np.random.default_rng(1).normal(size=12)
    low, high = expanded_ends([12], 0.95)
    assert low == pytest.approx(scipy_stats.norm.cdf(-math.sqrt(12 / 11) * scipy_stats.t.ppf(0.975, 11)))
    theirs = scipy_stats.bootstrap(
        (scores,),
        lambda x, axis: scipy_stats.trim_mean(x, 0.25, axis=axis),
        method="percentile",
        confidence_level=high - low,
        n_resamples=20_000,
        rng=np.random.default_rng(2),
    ).confidence_interval
    ours = iqm_interval(scores.tolist())
    width = theirs.high - theirs.low
    # two estimates from 2,000 and 20,000 draws: their outer quantiles differ by about 3 % of the width
    assert abs(ours[0] - theirs.low) < 0.1 * width
    assert abs(ours[1] - theirs.high) < 0.1 * width


def test_resampling_stays_within_strata() -> None:
    # 5 seeds x 2 tasks, equal within each task: whatever is drawn, the mean of the middle is the same
    assert iqm_interval([0.0] * 5, [1.0] * 5) == (0.5, 0.5)
    low, high = iqm_interval([0.0] * 5 + [1.0] * 5)
    assert low < 0.5 < high


def test_equal_scores_are_their_interval_and_four_have_none() -> None:
    assert iqm_interval([0.3] * 5) == (0.3, 0.3)
    assert stratified_intervals([[0.3] * 4], ["iqm"]) == [None]
    assert stratified_intervals([[1.0] * 5, [1.0] * 4], ["iqm", "median"]) == [None, None]
    assert stratified_intervals([], ["iqm"]) == [None]


def test_global_random_state_has_no_influence_and_is_left_alone() -> None:
    scores = [0.1, 0.5, 0.2, 0.9, 0.4]
    random.seed(1)
    np.random.seed(1)  # noqa: NPY002 - the state that must not matter
    first, after = iqm_interval(scores), np.random.random()  # noqa: NPY002
    np.random.seed(1)  # noqa: NPY002
    assert np.random.random() == after  # noqa: NPY002
    random.seed(2)
    assert iqm_interval(scores) == first


def test_the_interval_moves_with_the_scores() -> None:
    scores = [0.1, 0.5, 0.2, 0.9, 0.4]
    low, high = iqm_interval(scores)
    assert iqm_interval([x + 1 for x in scores]) == pytest.approx((low + 1, high + 1))
    assert min(scores) <= low < iqm(scores) < high <= max(scores)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
def test_a_score_that_is_no_number_is_refused(bad: float) -> None:
    with pytest.raises(ValueError, match="scores must be finite"):
        iqm([1.0, bad])
    with pytest.raises(ValueError, match="scores must be finite"):
        stratified_intervals([[1.0, 2.0, 3.0, 4.0, bad]], ["iqm"])
    with pytest.raises(ValueError, match="at least one"):
        median([])


def test_what_papers_print() -> None:
    scores = [2.0, 4.0, 4.0, 4.0, 5.0, 5.0, 7.0, 9.0]  # mean 5, squared deviations sum to 32
    assert mean(scores) == 5.0
    assert standard_deviation(scores) == pytest.approx(math.sqrt(32 / 7))
    assert standard_error(scores) == pytest.approx(math.sqrt(32 / 7 / 8))
    assert standard_deviation([1.0]) is None and standard_error([1.0]) is None


# -- time to a target -------------------------------------------------------------------------------------------------


def test_the_kaplan_meier_curve_of_a_textbook_sample() -> None:
    # at risk 5, 4 arrive at 1 -> 4/5; one followed until 2 only; at 3, one of 3 arrives -> 4/5 x 2/3 = 8/15;
    # at 4, one of 2 -> 4/15; the last was followed until 6
    found = kaplan_meier(TimesToTarget((1.0, 3.0, 4.0), (2.0, 6.0)))
    assert found == [(0.0, 1.0), (1.0, 0.8), (3.0, pytest.approx(8 / 15)), (4.0, pytest.approx(4 / 15))]


def test_the_kaplan_meier_curve_is_that_of_scipy() -> None:
    rng = np.random.default_rng(2)
    times, followed = rng.integers(1, 9, size=30), rng.integers(1, 12, size=20)
    known = scipy_stats.ecdf(scipy_stats.CensoredData(times, right=followed)).sf
    expected = {float(t): float(s) for t, s in zip(known.quantiles, known.probabilities, strict=True) if t in times}
    found = kaplan_meier(TimesToTarget(tuple(times.tolist()), tuple(followed.tolist())))
    assert dict(found[1:]) == pytest.approx(expected, rel=1e-12)


def test_run_that_stops_as_another_arrives_is_still_at_risk() -> None:
    """A run that stops when another arrives is still at risk then."""
    assert kaplan_meier(TimesToTarget((2.0,), (2.0,))) == [(0.0, 1.0), (2.0, 0.5)]


def test_a_diverged_run_is_at_risk_for_ever() -> None:
    assert kaplan_meier(TimesToTarget((1.0, 2.0), (INF,))) == [
        (0.0, 1.0),
        (1.0, pytest.approx(2 / 3)),
        (2.0, pytest.approx(1 / 3)),
    ]
    assert kaplan_meier(TimesToTarget((), (INF, 5.0))) == [(0.0, 1.0)]
    # two diverged at the start and two later arrivals: half never arrives, though both were lost from sight early
    assert kaplan_meier(TimesToTarget((3.0, 3.0), (INF, INF)))[-1] == (3.0, 0.5)


def test_restricted_mean_is_mean_of_times_cut_at_horizon() -> None:
    """The restricted mean is the mean of times cut at the horizon."""
    # nobody is lost from sight before the horizon, so it is the plain mean: (2 + 4 + 10 + 10) / 4
    assert restricted_mean(TimesToTarget((2.0, 4.0), (10.0, INF)), 10.0) == pytest.approx(6.5)
    assert restricted_mean(TimesToTarget((2.0, 4.0), (10.0, INF)), 3.0) == pytest.approx((2 + 3 + 3 + 3) / 4)
    assert restricted_mean(TimesToTarget((), (10.0,)), 10.0) == 10.0
    # the textbook sample above, up to 5: 1 + 0.8 x 2 + 8/15 x 1 + 4/15 x 1
    assert restricted_mean(TimesToTarget((1.0, 3.0, 4.0), (2.0, 6.0)), 5.0) == pytest.approx(3.4)


def test_the_common_horizon_is_the_shortest_follow_up() -> None:
    arrived, late = TimesToTarget((5.0, 7.0)), TimesToTarget((3.0,), (INF,))
    assert common_horizon([arrived, late, TimesToTarget((4.0,), (20.0,)), TimesToTarget((), (30.0,))]) == 20.0
    assert common_horizon([arrived, late]) == 7.0
    assert TimesToTarget((5.0,), (3.0,)).known_until == INF  # the last one under way arrived
    assert common_horizon([TimesToTarget((), (INF,))]) == 0.0


@pytest.mark.parametrize("wrong", [((), ()), ((INF,), ()), ((-1.0,), ()), ((float("nan"),), ()), ((1.0,), (-2.0,))])
def test_what_is_no_time_is_refused(wrong: tuple[tuple[float, ...], tuple[float, ...]]) -> None:
    with pytest.raises(ValueError, match="times to a target need at least one run|times must be >= 0"):
        TimesToTarget(*wrong)


# -- profiles --------------------------------------------------------------------------------------------------------

TIMES = np.array([[10.0, 40.0, INF, INF], [20.0, 20.0, 50.0, INF], [45.0, INF, 100.0, INF]])


def test_time_ratios_on_a_hand_computed_matrix() -> None:
    assert time_ratios(TIMES).tolist() == [[1, 2, INF, INF], [2, 1, 1, INF], [4.5, INF, 2, INF]]


def test_integrated_scores_on_a_hand_computed_matrix() -> None:
    # a ratio r <= 4 is worth (4 - r) / 3: 1 -> 1, 2 -> 2/3, 4.5 and never -> 0; over four tasks
    assert integrated_scores(TIMES).tolist() == pytest.approx([(1 + 2 / 3) / 4, (2 / 3 + 2) / 4, (2 / 3) / 4])
    assert integrated_scores(TIMES, r_max=5.0).tolist()[2] == pytest.approx((0.125 + 0.75) / 4)


def test_the_score_is_the_mean_of_the_profile() -> None:
    for ratios, score in zip(time_ratios(TIMES).tolist(), integrated_scores(TIMES).tolist(), strict=True):
        corners = profile(ratios)
        area = sum(share * (after - tau) for (tau, share), (after, _) in itertools.pairwise(corners))
        assert area / 3 == pytest.approx(score)
    assert profile([2.0, 1.0, 1.0, INF]) == [(1.0, 0.5), (2.0, 0.75), (4.0, 0.75)]


def test_a_models_time_is_the_median_of_its_seeds() -> None:
    found = median_times([[[1.0, 3.0], [1.0, INF]], [[5.0, INF, 2.0], [INF, INF, 2.0]]])
    assert found.tolist() == [[2.0, INF], [5.0, INF]]


def test_the_interval_of_a_score_covers_what_its_seeds_allow() -> None:
    # one task: a's median is 10 or 40, b always at 20, so that a's ratio is 1 or 2
    (low, high), _ = score_intervals([[[10.0, 10.0, 10.0, 40.0, 40.0]], [[20.0] * 5]])  # pyright: ignore
    assert (low, high) == (pytest.approx(2 / 3), 1.0)
    assert score_intervals([[[10.0, 40.0]], [[20.0] * 5]]) == [None, None]


# -- ranks and improvement ---------------------------------------------------------------------------------------------


def test_mean_ranks_on_a_hand_computed_matrix() -> None:
    scores = [
        [[1.0, 2.0, 3.0], [0.5]],  # medians 2, 0.5
        [[4.0, 2.0, 2.0], [0.7]],  # medians 2, 0.7
        [[9.0, INF, INF], [0.1]],  # diverged in the median; 0.1
    ]
    # ranks 1.5, 1.5, 3 and 2, 3, 1
    assert mean_ranks(scores) == [1.75, 2.25, 2.0]


def test_equal_medians_share_their_mean_rank_as_in_scipy() -> None:
    values = np.random.default_rng(7).integers(0, 5, size=(40, 9)).astype(float)
    values[0, :3] = INF
    assert (ranks_module._ranked(values) == scipy_stats.rankdata(values, axis=1)).all()


def test_rank_intervals_know_what_is_sure() -> None:
    five = [1.0, 1.1, 1.2, 1.3, 1.4]
    assert rank_intervals([[five, five], [[2.0] * 5, [2.0] * 5]]) == [(1.0, 1.0), (2.0, 2.0)]
    # one task: a's median is 1 or 3, b's always 2
    assert rank_intervals([[[1.0, 1.0, 1.0, 3.0, 3.0]], [[2.0] * 5]]) == [(1.0, 2.0), (1.0, 2.0)]
    assert rank_intervals([[five], [[2.0] * 4]]) == [None, None]


@pytest.mark.parametrize("name", POPULATIONS)
@pytest.mark.parametrize(("apart", "least"), [(0.0, 0.98), (0.5, 0.85), (2.0, 0.98)])
def test_rank_intervals_cover_the_rank_of_the_true_medians(name: str, apart: float, least: float) -> None:
    """Three models on three tasks, five seeds, medians apart by so many standard deviations; docs/statistics.md."""
    rng = np.random.default_rng(0)
    spread = POPULATIONS[name](rng, 100_000).std()
    covered = np.zeros(3)
    for _ in range(100):
        drawn = [POPULATIONS[name](rng, (3, 5)) + model * apart * spread for model in range(3)]
        true = [1, 2, 3] if apart else [2, 2, 2]
        ends = rank_intervals([scores.tolist() for scores in drawn])
        covered += [low <= rank <= high for (low, high), rank in zip(ends, true, strict=True)]  # pyright: ignore
    assert covered.min() / 100 >= least


@pytest.mark.parametrize(("apart", "least", "most"), [(1.5, 0.95, 1.0), (1.0, 0.4, 0.8)])
def test_a_profile_covers_of_models_apart_and_not_of_equal_ones(apart: float, least: float, most: float) -> None:
    """Somebody is the fastest of any sample: of equal models, whose true score is 1, intervals lie below too often."""
    rng = np.random.default_rng(0)
    factors = apart ** np.arange(3)
    true = integrated_scores(np.repeat(factors[:, None], 3, axis=1))
    covered = np.zeros(3)
    for _ in range(100):
        times = rng.lognormal(0.0, 0.3, (3, 3, 5)) * factors[:, None, None]
        ends = score_intervals(times.tolist())
        covered += [low <= score <= high for (low, high), score in zip(ends, true, strict=True)]  # pyright: ignore
    assert least <= covered.min() / 100 and covered.max() / 100 <= most


def test_equal_models_are_resampled_apart() -> None:
    seeds = [1.0, 2.0, 3.0, 4.0, 5.0]
    (low, high), _ = rank_intervals([[seeds], [seeds]])  # pyright: ignore
    assert (low, high) == (1.0, 2.0)  # drawn together, their ranks would always be 1.5


def test_the_probability_of_improvement_on_hand_computed_scores() -> None:
    # task one: 1 beats both, 3 beats 4 only, ties with none: 3/4; task two: a tie and a win: (1/2 + 1) / 2
    assert probability_of_improvement([[1.0, 3.0], [2.0]], [[2.0, 4.0], [2.0, INF]]) == pytest.approx(0.75)
    assert probability_of_improvement([[INF]], [[INF]]) == 0.5


# -- tests of pairs ----------------------------------------------------------------------------------------------------


def test_p_values_of_small_samples_by_hand() -> None:
    # 3 against 3, all of one below all of the other: 2 of 20 arrangements
    assert pair_p_values([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]) == [(0, 1, pytest.approx(0.1))]
    assert smallest_p(3, 3) == pytest.approx(0.1) and smallest_p(5, 5) == pytest.approx(2 / 252)
    # with a tie: ranks 1, 2.5 | 2.5, 4; sums of two of the four: 3.5, 3.5, 5, 5, 6.5, 6.5, as far as 1.5: 4 of 6
    assert pair_p_values([[1.0, 2.0], [2.0, 3.0]]) == [(0, 1, pytest.approx(4 / 6))]
    assert pair_p_values([[1.0, 1.0], [1.0, 1.0]]) == [(0, 1, 1.0)]


def test_p_values_are_scipys_and_diverged_seeds_rank_last() -> None:
    rng = np.random.default_rng(3)
    scores = [rng.normal(size=n).tolist() for n in (4, 5, 5, 12)]
    for i, j, p in pair_p_values(scores):
        assert p == pytest.approx(scipy_stats.mannwhitneyu(scores[i], scores[j], method="exact").pvalue)
    tied = [[1.0, 2.0, 2.0, INF], [2.0, 5.0, INF, INF, 6.0]]
    ranks = scipy_stats.rankdata([*tied[0], *tied[1]])
    theirs = scipy_stats.permutation_test(
        (ranks[:4], ranks[4:]), lambda x, y: abs(x.sum() - 4 * 5), alternative="greater", vectorized=False
    )
    ((_, _, ours),) = pair_p_values(tied)
    assert ours == pytest.approx(theirs.pvalue)
    assert pair_p_values([[], [1.0], [INF]]) == [(1, 2, 1.0)]


def test_many_tied_seeds_take_the_normal_approximation() -> None:
    x, y = [0.0] * 60 + [1.0] * 60, [1.0] * 100 + [2.0] * 20
    ((_, _, p),) = pair_p_values([x, y])
    assert p == pytest.approx(scipy_stats.mannwhitneyu(x, y, method="asymptotic").pvalue)
    lower = scipy_stats.mannwhitneyu(x, y, method="asymptotic", alternative="less").pvalue
    assert rank_sum_p([x], [y], "lower") == pytest.approx(lower)
    assert pair_p_values([[1.0] * 12, [1.0] * 12]) == [(0, 1, 1.0)]


def test_p_values_over_tasks_by_hand() -> None:
    # 2 against 2 on two tasks, all of one below all of the other: 2 of 6 x 6 arrangements
    x, y = [[1.0, 2.0], [5.0, 6.0]], [[3.0, 4.0], [7.0, 8.0]]
    assert rank_sum_p(x, y) == pytest.approx(2 / 36)
    assert rank_sum_p(x, y, "lower") == pytest.approx(1 / 36) and rank_sum_p(y, x, "lower") == pytest.approx(1)
    # better on one task and worse on the other by as much: all arrangements are as far from the centre
    assert rank_sum_p([x[0], y[1]], [y[0], x[1]]) == pytest.approx(1)
    assert rank_sum_p([[1.0, 2.0, 3.0]], [[4.0, 5.0, 6.0]], "lower") == pytest.approx(1 / 20)


def test_of_identical_models_no_more_than_a_twentieth_differ() -> None:
    rng = np.random.default_rng(8)
    sizes = [((5,), (5,)), ((3, 3), (3, 3)), ((5, 7), (6, 5)), ((60,), (70,))]
    for n, m in sizes:
        p = [rank_sum_p([rng.normal(size=k) for k in n], [rng.normal(size=k) for k in m]) for _ in range(1000)]  # pyright: ignore
        assert np.mean(np.array(p) <= 0.05) < 0.05 + 3 * math.sqrt(0.05 * 0.95 / 1000)
        assert np.mean(np.array(p) <= 0.5) > 0.35  # and not for want of power


def test_seeds_that_an_effect_takes() -> None:
    # ((1.96 / sqrt 6 + 0.8416 sqrt(0.75 x 0.25)) / 0.25)^2 = 21.7
    assert seeds_needed(0.75) == seeds_needed(0.25) == 22
    assert seeds_needed(1.0) == 4 and seeds_needed(0.5) is None and seeds_needed(0.51) is None  # 2 / 70 is below 5 %
    assert seeds_needed(0.75, tasks=3) == 8 and (seeds_needed(0.75, comparisons=10) or 0) > 22
    # by simulation: two normals so far apart that P is as given
    rng = np.random.default_rng(9)
    for chance in (0.75, 0.9, 0.95):
        n, shift = seeds_needed(chance) or 0, math.sqrt(2) * scipy_stats.norm.ppf(chance)
        found = [rank_sum_p([rng.normal(size=n)], [rng.normal(shift, size=n)]) <= 0.05 for _ in range(500)]  # pyright: ignore
        assert 0.75 < np.mean(found) < 0.95


def test_holms_procedure_by_hand() -> None:
    # sorted 0.01, 0.02, 0.03, 0.04 times 4, 3, 2, 1 = 0.04, 0.06, 0.06, 0.04, never below the one before
    assert holm([0.04, 0.01, 0.03, 0.02]) == pytest.approx([0.06, 0.04, 0.06, 0.06])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []


def test_no_statistic_reads_global_random_state() -> None:
    rng = np.random.default_rng(0)
    scores = [[rng.normal(size=5).tolist() for _ in range(3)] for _ in range(3)]
    times = [[[abs(x) + 0.1 for x in seeds] for seeds in row] for row in scores]

    def everything() -> list[object]:
        return [
            rank_intervals(scores),
            stratified_intervals(scores[0], ["iqm", "median"]),
            score_intervals(times),
        ]

    np.random.seed(1)  # noqa: NPY002 - the state that must not matter
    first = everything()
    np.random.seed(2)  # noqa: NPY002
    assert everything() == first


def test_many_seeds_are_worked_on_in_blocks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Many seeds are worked on in blocks and give the intervals of the same resamples."""
    rng = np.random.default_rng(5)
    a, b = rng.integers(0, 50, size=150) / 50, rng.integers(0, 50, size=120) / 50
    drawn, ends = draws((150, 120), 0), expanded_ends([150, 120], 0.95)
    means = scipy_stats.trim_mean(np.concatenate([a[drawn[0]], b[drawn[1]]], axis=1), 0.25, axis=1)
    better = (a[:, None] < b) + 0.5 * (a[:, None] == b)
    assert probability_of_improvement([a.tolist()], [b.tolist()]) == pytest.approx(better.mean(), rel=1e-12)
    for most in (0, 2**30):  # elements of counts that are held at once
        monkeypatch.setattr(bootstrap_module, "_MAX_CACHED_COUNTS", most)
        assert iqm_interval(a.tolist(), b.tolist()) == pytest.approx(np.quantile(means, ends), rel=1e-12)
        blocks = list(counts((150, 120), 0))
        assert (len(blocks) == 1) == (most > 0)
        for parts, chosen, size in zip(zip(*blocks, strict=True), drawn, (150, 120), strict=True):
            assert (np.hstack(parts).T == [np.bincount(row, minlength=size) for row in chosen]).all()


def test_infinite_scores_never_beat_a_number() -> None:
    x, y = [[0.5, INF, INF]], [[1.0, INF]]
    assert probability_of_improvement(x, y) == pytest.approx((1 + 1 + 0.5 + 0.5) / 6)
