import json
import math

import pytest
import torch
from probe_networks import linear_network, still_batch
from torch import Tensor, nn

from stablebench.models.base import RecurrentModel, State
from stablebench.models.network import Network
from stablebench.probes.chain import Chain, frozen
from stablebench.probes.jacobian import jacobian_singular_values
from stablebench.probes.lyapunov import LyapunovSpectrum, lyapunov_spectrum


@pytest.fixture(autouse=True)
def _double() -> None:
    torch.set_default_dtype(torch.float64)
    torch.manual_seed(0)


class Map(RecurrentModel):
    """A map without input, started off its fixed points."""

    def __init__(self, in_features: int = 1, hidden: int = 1) -> None:
        super().__init__(in_features, hidden)
        self.start = nn.Parameter(torch.tensor([0.3, 0.1][:hidden]))

    def initial_state(self, batch: int) -> State:
        return (self.start.expand(batch, -1),)


class Logistic(Map):
    """x' = 4 x (1 - x): exponent ln 2."""

    def step(self, projected: Tensor, state: State, recurrent_weights: None) -> State:
        return (4 * state[0] * (1 - state[0]),)


class Henon(Map):
    """x' = 1 - 1.4 x^2 + y, y' = 0.3 x: exponents 0.419 and -1.623, which sum to ln 0.3."""

    def step(self, projected: Tensor, state: State, recurrent_weights: None) -> State:
        x, y = state[0].unbind(1)
        return (torch.stack([1 - 1.4 * x * x + y, 0.3 * x], dim=1),)


def spectrum_of(network: Network, steps: int, samples: int = 1) -> LyapunovSpectrum:
    chain = Chain(frozen(network), still_batch(samples, steps).inputs)
    return lyapunov_spectrum(jacobian_singular_values(chain, chain.states()))


def of_map(model: RecurrentModel, steps: int) -> LyapunovSpectrum:
    return spectrum_of(Network([model], 1, readout="last", input="values"), steps)


def test_the_logistic_map_has_ln_2() -> None:
    found = of_map(Logistic(), 4001)
    assert found.largest == pytest.approx(math.log(2), rel=0.01)
    assert found.dynamics == "chaotic" and found.kaplan_yorke_dimension is None  # it fills its interval


def test_the_henon_map_has_its_exponents_and_dimension() -> None:
    found = of_map(Henon(hidden=2), 6001)
    assert found.exponents[0].sum().item() == pytest.approx(math.log(0.3), rel=1e-9)
    assert found.largest == pytest.approx(0.4192, rel=0.01)
    assert found.dynamics == "chaotic"
    assert found.kaplan_yorke_dimension == pytest.approx(1.258, abs=0.01)


@pytest.mark.parametrize(("a", "dynamics"), [(0.9, "contracting"), (1.0, "marginal"), (1.1, "chaotic")])
def test_a_scalar_has_ln_a(a: float, dynamics: str) -> None:
    found = spectrum_of(linear_network(torch.tensor([[a]])), 400, samples=2)
    assert found.exponents.flatten().tolist() == pytest.approx([math.log(a)] * 2, abs=1e-13)
    assert found.dynamics == dynamics


def test_matrix_has_the_logarithms_of_its_eigenvalues() -> None:
    """A matrix has the logarithms of its eigenvalues not of its singular values."""
    W = torch.tensor([[0.9, 10.0], [0.0, 0.8]])
    found = spectrum_of(linear_network(W), 3001)
    assert found.exponents[0].tolist() == pytest.approx([math.log(0.9), math.log(0.8)], abs=5e-3)


def test_parts_that_agree_have_converged_and_others_have_not() -> None:
    found = of_map(Logistic(), 4001)
    assert found.converged and len(found.largest_by_part) == 4
    assert found.largest_by_part == pytest.approx((math.log(2),) * 4, rel=0.05)
    assert not of_map(Logistic(), 60).converged


def test_dying_direction_has_no_exponent() -> None:
    """A dying direction has no exponent and a short chain no verdict."""
    found = spectrum_of(linear_network(torch.diag(torch.tensor([0.5, 0.0]))), 101)
    document = found.document()
    assert document["exponents"] == [pytest.approx(math.log(0.5), abs=0.01), None]  # the basis costs O(1) / T
    assert document["dynamics"] == "contracting"
    json.dumps(document, allow_nan=False)
    assert spectrum_of(linear_network(torch.eye(2)), 9).dynamics == "undecided"
