"""Statistics of scores that are runs x tasks: how good, how sure, how fast, and better than whom."""

from stablebench.stats.bootstrap import RESAMPLES, bootstrap_interval, stratified_interval, stratified_intervals
from stablebench.stats.improvement import improvement_interval, probability_of_improvement
from stablebench.stats.profiles import R_MAX, integrated_scores, median_times, profile, score_intervals, time_ratios
from stablebench.stats.rank_tests import holm, pair_p_values, smallest_p
from stablebench.stats.ranks import mean_ranks, rank_intervals
from stablebench.stats.summary import Statistic, iqm, mean, median, standard_deviation, standard_error
from stablebench.stats.time_to_target import (
    TimesToTarget,
    common_horizon,
    kaplan_meier,
    restricted_mean,
    restricted_mean_interval,
)

__all__ = [
    "RESAMPLES",
    "R_MAX",
    "Statistic",
    "TimesToTarget",
    "bootstrap_interval",
    "common_horizon",
    "holm",
    "improvement_interval",
    "integrated_scores",
    "iqm",
    "kaplan_meier",
    "mean",
    "mean_ranks",
    "median",
    "median_times",
    "pair_p_values",
    "probability_of_improvement",
    "profile",
    "rank_intervals",
    "restricted_mean",
    "restricted_mean_interval",
    "score_intervals",
    "smallest_p",
    "standard_deviation",
    "standard_error",
    "stratified_interval",
    "stratified_intervals",
    "time_ratios",
]
