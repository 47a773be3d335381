"""Summaries of scores, on matrices small enough to work out by hand."""

import itertools
import math
import random
import statistics

import numpy as np
import pytest
from scipy import stats as scipy_stats

from stablebench.stats import (
    TimesToTarget,
    bootstrap_interval,
    common_horizon,
    holm,
    improvement_interval,
    integrated_scores,
    iqm,
    kaplan_meier,
    mean,
    mean_ranks,
    median,
    median_times,
    pair_p_values,
    probability_of_improvement,
    profile,
    rank_intervals,
    restricted_mean,
    restricted_mean_interval,
    score_intervals,
    smallest_p,
    standard_deviation,
    standard_error,
    stratified_interval,
    time_ratios,
)
from stablebench.stats import bootstrap as bootstrap_module
from stablebench.stats.bootstrap import counts, draws

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


def test_interval_of_two_scores_is_that_of_four_resamples() -> None:
    """The interval of two scores is that of their four resamples."""
    # (0, 0), (0, 1), (1, 0), (1, 1) have means 0, 1/2, 1/2, 1, a quarter each at the ends: beyond 2.5 %
    assert bootstrap_interval([0.0, 1.0]) == (0.0, 1.0)
    # the middle 40 % lie inside the half that has mean 1/2
    assert bootstrap_interval([0.0, 1.0], confidence=0.4) == (0.5, 0.5)


def test_interval_of_three_scores_is_that_of_all_27_resamples() -> None:
    """The interval of three scores is that of all 27 resamples."""
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


def test_equal_scores_have_themselves_as_interval() -> None:
    """Equal scores have themselves as interval and one score has none."""
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


def test_the_interval_of_a_restricted_mean_of_two_runs() -> None:
    # draws: (2, 2), (2, 10), (10, 2), (10, 10)
    assert restricted_mean_interval(TimesToTarget((2.0,), (INF,)), 10.0) == (2.0, 10.0)
    assert restricted_mean_interval(TimesToTarget((2.0,), (INF,)), 10.0, confidence=0.4) == (6.0, 6.0)
    assert restricted_mean_interval(TimesToTarget((3.0, 3.0)), 10.0) == (3.0, 3.0)
    assert restricted_mean_interval(TimesToTarget((3.0,)), 10.0) is None


def test_interval_of_restricted_mean_is_that_of_resamples() -> None:
    """The interval of a restricted mean is that of its resamples."""
    times, followed, horizon = (1.0, 3.0, 4.0, 4.0), (2.0, 4.0, INF), 5.0
    runs = [(t, True) for t in times] + [(t, False) for t in followed]
    rng = np.random.default_rng(5)
    means = []
    for _ in range(500):
        drawn = [runs[i] for i in rng.integers(len(runs), size=len(runs))]
        sample = TimesToTarget(tuple(t for t, there in drawn if there), tuple(t for t, there in drawn if not there))
        means.append(restricted_mean(sample, horizon))
    low, high = restricted_mean_interval(TimesToTarget(times, followed), horizon) or (0, 0)
    # ends from 500 and 2,000 draws: within about a tenth of the width
    expected = np.quantile(means, [0.025, 0.975])
    assert abs(low - expected[0]) < 0.12 * (high - low) and abs(high - expected[1]) < 0.12 * (high - low)


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
    # one task: a is at 10 or 40, b always at 20; a's median is 10, 25, 25 or 40, so its ratio 1, 1.25 or 2
    intervals = score_intervals([[[10.0, 40.0]], [[20.0, 20.0]]])
    assert intervals == [(pytest.approx(2 / 3), 1.0), (pytest.approx(2 / 3), 1.0)]
    assert score_intervals([[[10.0, 40.0]], [[20.0]]]) == [None, None]


# -- ranks and improvement ---------------------------------------------------------------------------------------------


def test_mean_ranks_on_a_hand_computed_matrix() -> None:
    scores = [
        [[1.0, 2.0, 3.0], [0.5]],  # medians 2, 0.5
        [[4.0, 2.0, 2.0], [0.7]],  # medians 2, 0.7
        [[9.0, INF, INF], [0.1]],  # diverged in the median; 0.1
    ]
    # ranks 1.5, 1.5, 3 and 2, 3, 1
    assert mean_ranks(scores) == [1.75, 2.25, 2.0]


def test_rank_intervals_know_what_is_sure() -> None:
    sure = [[[1.0, 1.1], [1.0, 1.1]], [[2.0, 2.1], [2.0, 2.1]]]
    assert rank_intervals(sure) == [(1.0, 1.0), (2.0, 2.0)]
    # one task: a's median is 1, 2 or 3 (1/4, 1/2, 1/4), b's always 2
    assert rank_intervals([[[1.0, 3.0]], [[2.0, 2.0]]]) == [(1.0, 2.0), (1.0, 2.0)]
    assert rank_intervals([[[1.0, 3.0]], [[2.0]]]) == [None, None]


def test_equal_models_are_resampled_apart() -> None:
    seeds = [1.0, 2.0, 3.0, 4.0, 5.0]
    (low, high), _ = rank_intervals([[seeds], [seeds]])  # pyright: ignore
    assert (low, high) == (1.0, 2.0)  # drawn together, their ranks would always be 1.5


def test_the_probability_of_improvement_on_hand_computed_scores() -> None:
    # task one: 1 beats both, 3 beats 4 only, ties with none: 3/4; task two: a tie and a win: (1/2 + 1) / 2
    assert probability_of_improvement([[1.0, 3.0], [2.0]], [[2.0, 4.0], [2.0, INF]]) == pytest.approx(0.75)
    assert probability_of_improvement([[INF]], [[INF]]) == 0.5


def test_the_interval_of_an_improvement() -> None:
    assert improvement_interval([[1.0, 1.5]], [[2.0, 3.0]]) == (1.0, 1.0)
    # x is 1 or 3, y is 2: the share of 1s in the draw
    assert improvement_interval([[1.0, 3.0]], [[2.0, 2.0]]) == (0.0, 1.0)
    assert improvement_interval([[1.0, 3.0]], [[2.0, 2.0]], confidence=0.4) == (0.5, 0.5)
    assert improvement_interval([[1.0]], [[2.0, 2.0]]) is None


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
    x, y = [0.0] * 6 + [1.0] * 6, [1.0] * 10 + [2.0] * 2
    ((_, _, p),) = pair_p_values([x, y])
    assert p == pytest.approx(scipy_stats.mannwhitneyu(x, y, method="asymptotic").pvalue)
    assert pair_p_values([[1.0] * 12, [1.0] * 12]) == [(0, 1, 1.0)]


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
            improvement_interval(scores[0], scores[1]),
            score_intervals(times),
            restricted_mean_interval(TimesToTarget(tuple(times[0][0]), (2.0,)), 3.0),
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
    drawn, ends = draws((150, 120), 0), [0.025, 0.975]
    means = scipy_stats.trim_mean(np.concatenate([a[drawn[0]], b[drawn[1]]], axis=1), 0.25, axis=1)
    better = (a[:, None] < b) + 0.5 * (a[:, None] == b)
    wins = [better[np.ix_(i, j)].mean() for i, j in zip(*drawn, strict=True)]
    assert probability_of_improvement([a.tolist()], [b.tolist()]) == pytest.approx(better.mean(), rel=1e-12)
    for most in (0, 2**30):  # elements of counts that are held at once
        monkeypatch.setattr(bootstrap_module, "_MAX_CACHED_COUNTS", most)
        assert stratified_interval([a.tolist(), b.tolist()]) == pytest.approx(np.quantile(means, ends), rel=1e-12)
        assert improvement_interval([a.tolist()], [b.tolist()]) == pytest.approx(np.quantile(wins, ends), rel=1e-12)
        blocks = list(counts((150, 120), 0))
        assert (len(blocks) == 1) == (most > 0)
        for parts, chosen, size in zip(zip(*blocks, strict=True), drawn, (150, 120), strict=True):
            assert (np.hstack(parts).T == [np.bincount(row, minlength=size) for row in chosen]).all()


def test_infinite_scores_never_beat_a_number() -> None:
    x, y = [[0.5, INF, INF]], [[1.0, INF]]
    assert probability_of_improvement(x, y) == pytest.approx((1 + 1 + 0.5 + 0.5) / 6)
