"""Statements and figures of the papers, computed again: all of them, in the order of the papers."""

from collections.abc import Callable

from stablebench.report.paper_checks import cornn, roarnn, spectra
from stablebench.report.paper_checks.check import PaperCheck

CHECKS: tuple[Callable[[], PaperCheck], ...] = (
    roarnn.printed_lower_bound,
    roarnn.interval_on_copy,
    roarnn.interval_on_adding,
    roarnn.hypercube,
    roarnn.identity_ablation,
    spectra.upper_bound_of_a_sheared_matrix,
    spectra.moduli_with_the_authors_mask,
    cornn.time_of_the_experiments,
    cornn.condition_8_at_the_start,
    cornn.steps_that_keep_condition_8,
    cornn.approximation_of_the_product,
    cornn.states_of_proposition_3_3,
    cornn.gradients_of_the_equation,
)


def all_checks() -> list[PaperCheck]:
    """Compute all checks at the papers' sizes: about 20 seconds."""
    return [check() for check in CHECKS]
