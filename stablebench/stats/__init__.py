"""Statistics of scores that are runs x tasks: how good, how sure, how fast, and better than whom."""

from stablebench.stats.bootstrap import RESAMPLES, bootstrap_interval, stratified_interval
from stablebench.stats.summary import Statistic, iqm, mean, median, standard_deviation, standard_error

__all__ = [
    "RESAMPLES",
    "Statistic",
    "bootstrap_interval",
    "iqm",
    "mean",
    "median",
    "standard_deviation",
    "standard_error",
    "stratified_interval",
]
