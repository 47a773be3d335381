"""The uRNN poster's theorem and its table, on matrices with known eigenvalues."""

import math
from typing import Any

import pytest
import torch
from probe_networks import linear_network, still_batch
from torch import Tensor

from stablebench.data.batch import Batch
from stablebench.models.claims.eigenvalue_bounds import RecurrentSpectrum, table
from stablebench.models.network import Network
from stablebench.models.recurrent.rnn import Rnn
from stablebench.models.recurrent.urnn import URNN
from stablebench.probes.measurements import ClaimVerdict
from stablebench.probes.probe import probe

SHEARED = torch.tensor([[0.9, 10.0], [0.0, 0.8]], dtype=torch.float64)


def findings(W: Tensor, steps: int = 6, activation: str = "identity") -> list[ClaimVerdict]:
    return probe(linear_network(W, activation), still_batch(1, steps), loss="mse", samples=1).claims


def rotation(angle: float) -> Tensor:
    return torch.tensor([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])


def test_matrix_that_is_not_normal_violates_the_upper_bound() -> None:
    """A diagonalisable matrix that is not normal violates the upper bound as printed."""
    printed, normal, lower, _ = findings(SHEARED)
    assert (printed.verdict, normal.verdict, lower.verdict) == ("violated", "not applicable", "holds")
    assert isinstance(printed.measured, float) and 10**printed.measured == pytest.approx(26.3, abs=0.05)
    assert isinstance(printed.bound, float) and 10**printed.bound == pytest.approx(0.9**5)
    assert isinstance(lower.bound, float) and 10**lower.bound == pytest.approx(0.8**5)


def test_normal_matrix_has_both_bounds_with_equality() -> None:
    """A normal matrix has both bounds with equality where its eigenvalues are alike."""
    printed, normal, lower, cell = findings(0.9 * rotation(0.7))
    assert [f.verdict for f in (printed, normal, lower, cell)] == ["holds"] * 4
    assert normal.measured == pytest.approx(5 * math.log10(0.9)) == lower.measured
    assert "the table says: vanishes" in cell.hypothesis


def test_defective_matrix_is_outside_the_hypothesis() -> None:
    """A matrix without a basis of eigenvectors is outside the hypothesis."""
    shear = torch.tensor([[1.0, 1.0], [0.0, 1.0]])
    printed, normal, lower, _ = findings(shear)
    assert (printed.verdict, normal.verdict, lower.verdict) == ("not applicable", "not applicable", "holds")
    assert RecurrentSpectrum(shear).condition > 1e10 and RecurrentSpectrum(SHEARED).condition < 1e3


def test_lower_bound_fails_where_slopes_are_smaller_than_said() -> None:
    """The lower bound fails where slopes are smaller than said."""

    class Damped(Rnn):
        def step(self, projected: Any, state: Any, recurrent_weights: Any) -> Any:
            return (0.9 * super().step(projected, state, recurrent_weights)[0],)

    network = Network([Damped(1, 2, activation="identity")], 1, readout="last", input="values")
    network.recurrent_layers[0].get_parameter("W").data.copy_(rotation(0.3))
    found = probe(network, still_batch(1, 6), loss="mse", samples=1).claims
    assert [f.verdict for f in found[2:]] == ["violated", "violated"]
    assert "the table says: constant" in found[3].hypothesis


@pytest.mark.parametrize(("factor", "says"), [(0.9, "vanishes"), (1.0, "constant"), (1.1, "explodes")])
def test_the_table_is_right_of_a_scaled_rotation(factor: float, says: str) -> None:
    cell = findings(factor * rotation(0.7))[3]
    assert cell.verdict == "holds" and f"the table says: {says}" in cell.hypothesis
    assert cell.measured == pytest.approx((math.log10(factor),) * 2, abs=1e-12)


def test_growth_is_right_also_of_a_matrix_that_is_not_normal() -> None:
    cell = findings(2 * SHEARED)[3]
    assert cell.verdict == "holds" and "explodes" in cell.hypothesis


@pytest.mark.parametrize(
    ("low", "high", "says"),
    [
        (-2, -1, "vanishes"),
        (-1, 0, "may vanish"),
        (-1, 1, "may vanish or explode"),
        (0, 0, "constant"),
        (0, 1, "may explode"),
        (1, 2, "explodes"),
        (-math.inf, 0, "may vanish"),
    ],
)
def test_the_table_has_seven_cells(low: float, high: float, says: str) -> None:
    assert table(low, high, 1e-9) == says


def test_with_tanh_the_lower_bound_and_the_table_say_nothing() -> None:
    found = findings(rotation(0.2), activation="tanh")
    assert [f.verdict for f in found] == ["holds", "holds", "vacuous", "vacuous"]


def test_an_orthogonal_w_in_float32_is_normal() -> None:
    torch.set_default_dtype(torch.float32)
    network = Network([Rnn(3, 16, recurrent_init="orthogonal")], 1, readout="last", input="values")
    found = probe(network, Batch(torch.randn(2, 9, 3), torch.randn(2, 1)), loss="mse", samples=2).claims
    assert [f.verdict for f in found] == ["holds", "holds", "vacuous", "vacuous"]


def test_plain_network_alone_starts_far_from_normal() -> None:
    """The plain network starts far from normal and the orthogonal and the unit start do not."""
    assert RecurrentSpectrum(Rnn(3, 32).W).departure > 0.1
    assert RecurrentSpectrum(Rnn(3, 32, recurrent_init="orthogonal").W).departure < 1e-12
    assert RecurrentSpectrum(Rnn(3, 32, recurrent_init="identity").W).departure == 0


def test_poster_s_choice_is_in_cell_of_constant_norms() -> None:
    """The poster's own choice is in the cell of constant norms."""
    network = Network([URNN(3, 8)], 1, readout="last", input="values")
    found = probe(network, Batch(torch.randn(2, 9, 3), torch.randn(2, 1)), loss="mse", samples=2).claims
    assert found[3].verdict == "holds" and "the table says: constant" in found[3].hypothesis
