"""Findings on the coRNN paper, and that they would not be confirmed elsewhere."""

import pytest

from stablebench.report.paper_checks import cornn as found


def test_no_experiment_ends_before_time_1() -> None:
    finding = found.time_of_the_experiments()
    assert finding.verdict == "confirmed"
    assert finding.measured["psmnist"] == pytest.approx(65.072) and finding.measured["adding"] == 80


def test_condition_8_is_violated_at_the_start_by_all_but_adding() -> None:
    finding = found.condition_8_at_the_start()
    assert finding.verdict == "confirmed"
    assert {name for name, value in finding.measured.items() if value < 1} == {"adding"}
    assert finding.measured["adding_with_gamma"] > 10


def test_the_estimate_of_updates_that_keep_it_is_below_one() -> None:
    finding = found.steps_that_keep_condition_8()
    assert finding.verdict == "confirmed" and set(finding.measured) == set(found.EXPERIMENTS)


@pytest.mark.parametrize("dt", [0.01, 0.005])
def test_the_approximated_product_and_proposition_3_2_fall(dt: float) -> None:
    finding = found.approximation_of_the_product(dt)
    assert finding.verdict == "confirmed"
    assert finding.measured["gradient"] > 2 * finding.measured["printed_gradient_bound"]


def test_the_approximation_is_right_of_a_chain_of_few_steps() -> None:
    assert found.approximation_of_the_product(0.5).verdict == "not confirmed"


def test_what_proposition_3_3_assumes_leaves_no_state() -> None:
    assert found.states_of_proposition_3_3().verdict == "confirmed"


def test_gradients_of_the_equation_outgrow_proposition_d_3_after_a_while() -> None:
    assert found.gradients_of_the_equation().verdict == "confirmed"
    early = found.gradients_of_the_equation(1.0)
    assert early.verdict == "not confirmed" and early.measured["energy"] < early.measured["printed_bound"]
