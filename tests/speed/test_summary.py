"""Medians, paired ratios and power laws, against numbers worked out by hand."""

import math

import pytest

from stablebench.speed.summary import paired_ratios, power_law, spread


def test_median_and_quartiles_of_few_values() -> None:
    found = spread([5.0, 1.0, 2.0, 4.0, 3.0])
    assert (found.q1, found.median, found.q3) == (2, 3, 4)


def test_a_ratio_is_taken_within_a_repetition() -> None:
    assert paired_ratios([2.0, 20.0, 8.0], [1.0, 10.0, 2.0]) == [2, 2, 4]
    with pytest.raises(ValueError):
        paired_ratios([1.0], [1.0, 2.0])


@pytest.mark.parametrize("exponent", [-1.0, 0.5, 1.0, 2.0])
def test_an_exact_power_law_is_found(exponent: float) -> None:
    sizes = [200, 500, 1000, 10000]
    law = power_law(sizes, [3e-4 * size**exponent for size in sizes])
    assert law.exponent == pytest.approx(exponent, abs=1e-12)
    assert law.factor == pytest.approx(3e-4, rel=1e-10)
    assert law.r2 == pytest.approx(1, abs=1e-12)


def test_the_fit_of_three_points_is_the_least_squares_line_of_their_logarithms() -> None:
    law = power_law([1, math.e, math.e**2], [1, math.e**2, math.e])  # (0, 0), (1, 2), (2, 1)
    assert law.exponent == pytest.approx(0.5)
    assert law.factor == pytest.approx(math.exp(0.5))
    assert law.r2 == pytest.approx(0.25)


def test_constant_times_have_no_variance_to_explain_and_one_size_no_law() -> None:
    assert math.isnan(power_law([1, 2], [3, 3]).r2)
    with pytest.raises(ValueError, match="two different sizes"):
        power_law([4, 4], [1, 2])
