"""Checks of the roaRNN paper, and that they would not be confirmed elsewhere."""

import math

import pytest
import torch

from stablebench.data.batch import Batch
from stablebench.models.network import Network
from stablebench.probes.measurements import ChainMeasurements
from stablebench.report.paper_checks import roarnn as checks


def test_the_printed_lower_bound_is_false_at_11_states() -> None:
    check = checks.printed_lower_bound()
    assert check.verdict == "confirmed"
    assert check.measured["singular_value"] == pytest.approx(0.8**10, rel=1e-12)
    assert check.measured["printed_bound"] == pytest.approx(0.1353, abs=1e-4)


def test_the_interval_says_nothing_on_a_small_copy_network() -> None:
    check = checks.interval_on_copy(hidden=64, length=60)
    assert check.verdict == "confirmed"
    assert checks.interval_on_copy(hidden=64, length=60, rho=0.1).verdict == "not confirmed"


@pytest.mark.slow
def test_interval_spans_72_decades_at_papers_copy_setting() -> None:
    """The interval spans 72 decades at the papers copy setting."""
    measured = checks.interval_on_copy().measured
    assert measured["log10_printed_low"] == pytest.approx(-85 / math.log(10), rel=0.03)
    assert measured["log10_printed_high"] == pytest.approx(79 / math.log(10), rel=0.03)
    assert -5 < measured["log10_smallest"] < measured["log10_largest"] < 2


def test_the_interval_is_informative_on_adding() -> None:
    check = checks.interval_on_adding()
    assert check.verdict == "confirmed"
    assert check.measured["printed_low"] == pytest.approx(0.888, abs=0.005)
    assert check.measured["printed_high"] == pytest.approx(1.115, abs=0.005)
    assert check.measured["smallest"] == pytest.approx(0.989, abs=0.003)
    assert check.measured["largest"] == pytest.approx(1.001, abs=0.002)


def test_a_dense_o_leads_out_of_the_cube() -> None:
    check = checks.hypercube()
    assert check.verdict == "confirmed"
    assert check.measured["from_a_corner_dense"] == pytest.approx(6.6, abs=0.4)
    assert checks.hypercube(hidden=1).verdict == "not confirmed"  # where every orthogonal matrix is a sign


def test_identity_ablation_starts_far_from_isometry() -> None:
    """The identity ablation starts far from isometry and the rescaled one does not."""
    check = checks.identity_ablation()
    assert check.verdict == "confirmed"
    assert 3e2 < check.measured["norm_eyernn"] < 3e4
    assert checks.identity_ablation(hidden=4, length=20).verdict == "not confirmed"


def test_the_singular_values_are_those_of_the_probe() -> None:
    model = checks.build("roarnn", 10, 12, 30, 2.0)
    x = checks.copy_inputs(10)
    evidence = ChainMeasurements(
        Network([model], 1, readout="last", input="values").double(), Batch(x[None], torch.zeros(1, 1)), "mse", 1
    )
    assert checks.log_singular_values(model, x) == pytest.approx(evidence.log_singular_values, abs=1e-9)
