"""Checks of eigenvalues, and the list of all checks."""

from collections.abc import Callable

import pytest

from stablebench.report.paper_checks import CHECKS
from stablebench.report.paper_checks import spectra as checks
from stablebench.report.paper_checks.check import PaperCheck
from stablebench.report.paper_checks.roarnn import interval_on_copy


def test_a_sheared_matrix_exceeds_the_posters_upper_bound() -> None:
    check = checks.upper_bound_of_a_sheared_matrix()
    assert check.verdict == "confirmed"
    assert check.measured["norm"] == pytest.approx(26.29, abs=0.01)
    assert check.measured["printed_bound"] == pytest.approx(0.59049)


def test_moduli_are_gamma_for_blocks_and_not_for_authors_mask() -> None:
    """The moduli are gamma for the blocks and not for the authors mask."""
    check = checks.moduli_with_the_authors_mask()
    assert check.verdict == "confirmed"
    assert check.measured["least_authors"] < 0.95 and check.measured["largest_authors"] > 1.2
    assert checks.moduli_with_the_authors_mask(std=0.0).verdict == "not confirmed"


SLOW = pytest.param(interval_on_copy, marks=pytest.mark.slow)


@pytest.mark.parametrize("compute", [SLOW, *(compute for compute in CHECKS if compute is not interval_on_copy)])
def test_every_check_is_confirmed_at_the_papers_sizes(compute: Callable[[], PaperCheck]) -> None:
    check = compute()
    assert check.measured and check.verdict == "confirmed"
    assert all(isinstance(value, float) for value in check.measured.values())
