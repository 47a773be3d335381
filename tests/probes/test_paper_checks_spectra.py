"""Checks of eigenvalues, and the list of all checks."""

import pytest

from stablebench.report.paper_checks import checks_by_name
from stablebench.report.paper_checks import spectra as checks


def test_a_sheared_matrix_exceeds_the_posters_upper_bound() -> None:
    check = checks.upper_bound_of_a_sheared_matrix()
    assert check.verdict == "confirmed"
    assert check.measured["norm"] == pytest.approx(26.29, abs=0.01)
    assert check.measured["printed_bound"] == pytest.approx(0.59049)


def test_the_moduli_are_gamma_for_the_blocks_and_not_for_the_authors_mask() -> None:
    check = checks.moduli_with_the_authors_mask()
    assert check.verdict == "confirmed"
    assert check.measured["least_authors"] < 0.95 and check.measured["largest_authors"] > 1.2
    assert checks.moduli_with_the_authors_mask(std=0.0).verdict == "not confirmed"


SLOW = pytest.param("interval_on_copy", marks=pytest.mark.slow)


@pytest.mark.parametrize("name", [SLOW, *(name for name in checks_by_name() if name != "interval_on_copy")])
def test_a_finding_bears_the_name_of_what_computes_it(name: str) -> None:
    check = checks_by_name()[name]()
    assert check.name == name and check.measured and check.verdict == "confirmed"
    assert all(isinstance(value, float) for value in check.measured.values())
