"""Statements and figures of the papers, computed again: all of them, in the order of the papers."""

from collections.abc import Callable

from stablebench.report.paper_checks import cornn as findings_cornn
from stablebench.report.paper_checks import roarnn as findings_roarnn
from stablebench.report.paper_checks import spectra as findings_spectra
from stablebench.report.paper_checks.check import PaperCheck


def sources() -> dict[str, Callable[[], PaperCheck]]:
    """Return what computes each finding, by its name, in the order of the papers."""
    functions: list[Callable[[], PaperCheck]] = [
        findings_roarnn.printed_lower_bound,
        findings_roarnn.interval_on_copy,
        findings_roarnn.interval_on_adding,
        findings_roarnn.hypercube,
        findings_roarnn.identity_ablation,
        findings_spectra.upper_bound_of_a_sheared_matrix,
        findings_spectra.moduli_with_the_authors_mask,
        findings_cornn.time_of_the_experiments,
        findings_cornn.condition_8_at_the_start,
        findings_cornn.steps_that_keep_condition_8,
        findings_cornn.approximation_of_the_product,
        findings_cornn.states_of_proposition_3_3,
        findings_cornn.gradients_of_the_equation,
    ]
    return {function.__name__: function for function in functions}


def findings() -> list[PaperCheck]:
    """Compute all findings at the papers' sizes: about 20 seconds."""
    return [compute() for compute in sources().values()]
