"""Findings on eigenvalues, and the list of all findings."""

import pytest

from stablebench.report.paper_checks import sources
from stablebench.report.paper_checks import spectra as found


def test_a_sheared_matrix_exceeds_the_posters_upper_bound() -> None:
    finding = found.upper_bound_of_a_sheared_matrix()
    assert finding.verdict == "confirmed"
    assert finding.measured["norm"] == pytest.approx(26.29, abs=0.01)
    assert finding.measured["printed_bound"] == pytest.approx(0.59049)


def test_the_moduli_are_gamma_for_the_blocks_and_not_for_the_authors_mask() -> None:
    finding = found.moduli_with_the_authors_mask()
    assert finding.verdict == "confirmed"
    assert finding.measured["least_authors"] < 0.95 and finding.measured["largest_authors"] > 1.2
    assert found.moduli_with_the_authors_mask(std=0.0).verdict == "not confirmed"


SLOW = pytest.param("interval_on_copy", marks=pytest.mark.slow)


@pytest.mark.parametrize("name", [SLOW, *(name for name in sources() if name != "interval_on_copy")])
def test_a_finding_bears_the_name_of_what_computes_it(name: str) -> None:
    finding = sources()[name]()
    assert finding.name == name and finding.measured and finding.verdict == "confirmed"
    assert all(isinstance(value, float) for value in finding.measured.values())
