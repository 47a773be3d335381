"""Checks of the coRNN paper, and that they would not be confirmed elsewhere."""

import pytest

from stablebench.report.paper_checks import cornn as checks


def test_no_experiment_ends_before_time_1() -> None:
    check = checks.time_of_the_experiments()
    assert check.verdict == "confirmed"
    assert check.measured["psmnist"] == pytest.approx(65.072) and check.measured["adding"] == 80


def test_condition_8_is_violated_at_the_start_by_all_but_adding() -> None:
    check = checks.condition_8_at_the_start()
    assert check.verdict == "confirmed"
    assert {name for name, value in check.measured.items() if value < 1} == {"adding"}
    assert check.measured["adding_with_gamma"] > 10


def test_the_estimate_of_updates_that_keep_it_is_below_one() -> None:
    check = checks.steps_that_keep_condition_8()
    assert check.verdict == "confirmed" and set(check.measured) == set(checks.EXPERIMENTS)


@pytest.mark.parametrize("dt", [0.01, 0.005])
def test_the_approximated_product_and_proposition_3_2_fall(dt: float) -> None:
    check = checks.approximation_of_the_product(dt)
    assert check.verdict == "confirmed"
    assert check.measured["gradient"] > 2 * check.measured["printed_gradient_bound"]


def test_the_approximation_is_right_of_a_chain_of_few_steps() -> None:
    assert checks.approximation_of_the_product(0.5).verdict == "not confirmed"


def test_what_proposition_3_3_assumes_leaves_no_state() -> None:
    assert checks.states_of_proposition_3_3().verdict == "confirmed"


def test_gradients_of_the_equation_outgrow_proposition_d_3() -> None:
    """Gradients of the equation outgrow proposition d 3 after a while."""
    assert checks.gradients_of_the_equation().verdict == "confirmed"
    early = checks.gradients_of_the_equation(1.0)
    assert early.verdict == "not confirmed" and early.measured["energy"] < early.measured["printed_bound"]
