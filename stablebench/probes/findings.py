"""What came out where the papers' theorems were put to numbers; each computed when it is asked for.

A finding says what its paper states, what this project expects to measure instead or beside it, and what it measures.
Sizes are arguments; the defaults are the papers' own, and take seconds.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

Agreement = Literal["confirmed", "not confirmed"]


@dataclass(frozen=True)
class PaperFinding:
    """A finding on one statement of a paper.

    Args:
        name: Of the finding, in snake case.
        statement: What the paper states, and where.
        setting: The network and inputs that it was measured on.
        expected: What this project expects.
        measured: The numbers, by name.
        verdict: Whether they are as expected.
    """

    name: str
    statement: str
    setting: str
    expected: str
    measured: dict[str, float]
    verdict: Agreement


@contextmanager
def seed_0() -> Iterator[None]:
    """Draw from seed 0 in float32, whatever the caller's generator and default type are, and leave them as they are."""
    import torch

    dtype = torch.get_default_dtype()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        torch.set_default_dtype(torch.float32)
        try:
            yield
        finally:
            torch.set_default_dtype(dtype)


def agreement(holds: bool) -> Agreement:
    """Return the verdict on whether what was expected holds."""
    return "confirmed" if holds else "not confirmed"


def sources() -> dict[str, Callable[[], PaperFinding]]:
    """Return what computes each finding, by its name, in the order of the papers."""
    from stablebench.probes import findings_cornn, findings_roarnn, findings_spectra

    functions: list[Callable[[], PaperFinding]] = [
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


def findings() -> list[PaperFinding]:
    """Compute all findings at the papers' sizes: about 20 seconds."""
    return [compute() for compute in sources().values()]
