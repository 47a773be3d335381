"""The expected best of k trials is the mean over all choices of k of them."""

import itertools
import math
import statistics

import pytest

from stablebench.errors import UserError
from stablebench.stats import expected_best

VALUES = [0.3, 0.9, 0.1, 0.9, 0.5, 0.2]


@pytest.mark.parametrize("k", range(1, 7))
@pytest.mark.parametrize("higher", [True, False])
def test_it_is_the_mean_of_the_best_over_all_choices(k: int, higher: bool) -> None:
    best = max if higher else min
    by_hand = statistics.fmean(best(chosen) for chosen in itertools.combinations(VALUES, k))
    assert expected_best(VALUES, k, higher_is_better=higher) == pytest.approx(by_hand, abs=1e-12)


def test_a_diverged_trial_is_the_worst_and_cannot_be_averaged() -> None:
    assert expected_best([math.nan, 1.0], 2, higher_is_better=True) == 1.0
    assert expected_best([math.nan, 1.0], 1, higher_is_better=True) == -math.inf
    assert expected_best([math.inf, 1.0], 2, higher_is_better=False) == 1.0


@pytest.mark.parametrize("k", [0, 7])
def test_more_trials_than_there_are_is_an_error(k: int) -> None:
    with pytest.raises(UserError, match="trials must be from 1 to 6"):
        expected_best(VALUES, k, higher_is_better=True)
