"""nnRNN's propositions: where they hold, where they do not, and their closed forms."""

import math
from math import comb
from typing import Any

import pytest
import torch

from stablebench.data.batch import Batch
from stablebench.models.claims.polynomial_growth import fitted_degree, log_binomial_bound, log_power_norm
from stablebench.models.network import Network
from stablebench.models.recurrent.nnrnn import NnRNN
from stablebench.probes.measurements import ClaimVerdict
from stablebench.probes.probe import probe

MODULI, POWER, DEGREE, MEMORY = range(4)


def findings(layer: NnRNN, steps: int = 12) -> list[ClaimVerdict]:
    network = Network([layer], 1, readout="last", input="values")
    return probe(network, Batch(torch.randn(1, steps, 3), torch.randn(1, 1)), loss="mse", samples=1).claims


def number(found: ClaimVerdict) -> float:
    assert isinstance(found.measured, float)
    return found.measured


def with_lower(hidden: int = 8, std: float = 0.1, **arguments: Any) -> NnRNN:
    layer = NnRNN(3, hidden, **arguments)
    layer.T.data.normal_(std=std)
    return layer


def jordan(hidden: int, coupling: float) -> NnRNN:
    """All blocks the unit matrix, each coupled to the one above: powers grow with the highest degree."""
    layer = NnRNN(3, hidden)
    layer.theta.data.zero_()
    rows, columns = layer.below // hidden, layer.below % hidden
    layer.T.data = torch.where(rows - columns == 2, coupling, 0.0)
    return layer


def test_the_start_is_orthogonal_and_its_powers_do_not_grow() -> None:
    found = findings(NnRNN(3, 8))
    assert [f.verdict for f in found] == ["holds"] * 3 + ["not applicable"]
    assert found[POWER].bound == 0 and found[DEGREE].measured == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("hidden", [8, 9])
def test_powers_stay_below_the_binomials_for_moduli_of_1(hidden: int) -> None:
    found = findings(with_lower(hidden))
    assert [found[i].verdict for i in (MODULI, POWER, DEGREE)] == ["holds"] * 3
    assert number(found[POWER]) > 0.05


def test_blocks_in_a_chain_reach_the_highest_degree() -> None:
    found = findings(jordan(8, 0.5))
    assert found[DEGREE].verdict == "holds" and found[DEGREE].measured == pytest.approx(3, abs=0.01)
    assert found[POWER].verdict == "holds"
    one_pair = log_binomial_bound(40, 2, 0.5)
    assert log_power_norm(torch.tensor([[1.0, 0], [0.5, 1]]), 40) == pytest.approx(one_pair, abs=0.05)


def test_large_weights_make_the_bound_vacuous() -> None:
    assert findings(with_lower(16, 5.0), 60)[POWER].verdict == "vacuous"


def test_other_moduli_than_1_are_outside_the_hypothesis() -> None:
    """Entries inside the blocks or moduli other than 1 are outside the hypothesis."""
    inside = findings(with_lower(mask="authors", std=0.3))
    assert [f.verdict for f in inside] == ["violated", "not applicable", "not applicable", "not applicable"]
    assert number(inside[DEGREE]) > 100  # growth is exponential
    layer = with_lower()
    layer.get_parameter("gamma").data += 1e-3
    assert [f.verdict for f in findings(layer)][POWER:] == ["not applicable"] * 3


def test_matrix_unlike_its_parameters_violates_proposition_2() -> None:
    """A matrix that is not what its parameters say violates both forms of proposition 2."""

    class Stretched(NnRNN):
        def schur_form(self) -> torch.Tensor:
            return 1.01 * super().schur_form()

    found = findings(Stretched(3, 8))
    assert [found[i].verdict for i in (MODULI, POWER, DEGREE)] == ["violated"] * 3


def test_trained_in_float32_the_moduli_are_still_1() -> None:
    torch.set_default_dtype(torch.float32)
    assert [f.verdict for f in findings(with_lower())[:3]] == ["holds"] * 3


def line(extra: float) -> NnRNN:
    layer = NnRNN(3, 7, mask="authors")
    layer.get_parameter("gamma").data.zero_()
    rows, columns = layer.below // 7, layer.below % 7
    layer.T.data = torch.where(rows - columns == 1, 1.05, extra)
    return layer


def test_proposition_1_bounds_memory_of_strictly_triangular_form() -> None:
    """Proposition 1 bounds the memory of a strictly triangular form."""
    exact, near = findings(line(0.0))[MEMORY], findings(line(0.02))[MEMORY]
    assert exact.verdict == "holds" and exact.measured == pytest.approx(1, abs=1e-9)  # a delay line reaches it
    assert near.verdict == "holds" and isinstance(near.measured, float) and near.measured > 1.01
    assert findings(line(20.0))[MEMORY].verdict == "vacuous"


def test_proposition_1_does_not_apply_with_a_diagonal() -> None:
    """Proposition 1 does not apply with a diagonal or an uneven line."""
    turning = line(0.0)
    turning.get_parameter("gamma").data.fill_(0.2)
    uneven = line(0.0)
    uneven.T.data[0] += 0.1
    assert findings(turning)[MEMORY].verdict == findings(uneven)[MEMORY].verdict == "not applicable"


def test_entries_of_powers_have_proposition_2s_coefficients() -> None:
    """Entries of powers have the coefficients that proposition 2 bounds."""
    # A = I + x N with N all ones above the diagonal: (N^l)_ij = C(j - i - 1, l - 1), so x^l has C(t, l) times that
    n, t = 6, 9
    for x in (1, -2, 3):
        A = torch.eye(n, dtype=torch.int64) + x * torch.ones(n, n, dtype=torch.int64).triu(1)
        power = torch.eye(n, dtype=torch.int64)
        for _ in range(t):
            power = power @ A
        for i in range(n):
            for j in range(i + 1, n):
                expected = sum(comb(t, k) * comb(j - i - 1, k - 1) * x**k for k in range(1, j - i + 1))
                assert power[i, j] == expected


def test_norms_of_powers_are_those_of_the_product_in_any_range() -> None:
    A = torch.randn(5, 5)
    direct = torch.linalg.matrix_norm(torch.linalg.matrix_power(A, 13), 2).log().item()
    assert log_power_norm(A, 13) == pytest.approx(direct, abs=1e-11)
    assert log_power_norm(A, 0) == 0 and log_power_norm(torch.zeros(2, 2), 3) == -math.inf
    assert log_power_norm(10 * torch.eye(3), 100_000) == pytest.approx(100_000 * math.log(10))


def test_the_fit_finds_degrees() -> None:
    for degree in (0, 1, 2):
        A = torch.eye(degree + 1) + torch.ones(degree + 1, degree + 1).tril(-1)
        assert fitted_degree(A, 200) == pytest.approx(degree, abs=0.02)
