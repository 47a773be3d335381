"""Medians and paired ratios, against numbers worked out by hand."""

import pytest

from stablebench.speed.summary import paired_ratios, spread


def test_median_and_quartiles_of_few_values() -> None:
    found = spread([5.0, 1.0, 2.0, 4.0, 3.0])
    assert (found.q1, found.median, found.q3) == (2, 3, 4)


def test_a_ratio_is_taken_within_a_repetition() -> None:
    assert paired_ratios([2.0, 20.0, 8.0], [1.0, 10.0, 2.0]) == [2, 2, 4]
    with pytest.raises(ValueError):
        paired_ratios([1.0], [1.0, 2.0])
