"""Statistics of scores that are runs x tasks: how good, how sure, how fast, and better than whom."""

from stablebench.stats.bootstrap import RESAMPLES, stratified_intervals
from stablebench.stats.improvement import probability_of_improvement
from stablebench.stats.intervals import MIN_SEEDS, median_coverage, median_interval, student_interval
from stablebench.stats.profiles import R_MAX, integrated_scores, median_times, profile, score_intervals, time_ratios
from stablebench.stats.rank_tests import LEVEL, fewest_seeds, holm, pair_p_values, rank_sum_p, seeds_needed, smallest_p
from stablebench.stats.ranks import mean_ranks, rank_intervals
from stablebench.stats.sequential import SeedPlan, seed_plan
from stablebench.stats.summary import Statistic, iqm, mean, median, standard_deviation, standard_error
from stablebench.stats.time_to_target import TimesToTarget, common_horizon, kaplan_meier, restricted_mean
from stablebench.stats.tuning_curve import expected_best

__all__ = [
    "LEVEL",
    "MIN_SEEDS",
    "RESAMPLES",
    "R_MAX",
    "SeedPlan",
    "Statistic",
    "TimesToTarget",
    "common_horizon",
    "expected_best",
    "fewest_seeds",
    "holm",
    "integrated_scores",
    "iqm",
    "kaplan_meier",
    "mean",
    "mean_ranks",
    "median",
    "median_coverage",
    "median_interval",
    "median_times",
    "pair_p_values",
    "probability_of_improvement",
    "profile",
    "rank_intervals",
    "rank_sum_p",
    "restricted_mean",
    "score_intervals",
    "seed_plan",
    "seeds_needed",
    "smallest_p",
    "standard_deviation",
    "standard_error",
    "stratified_intervals",
    "student_interval",
    "time_ratios",
]
