"""Dimensions of states against covariances written out, and the metric entropy."""

import pytest
import torch
from probe_networks import stack

from stablebench.probes.chain import chain_of, frozen
from stablebench.probes.dimension import StateDimension, state_dimension
from stablebench.probes.lyapunov import LyapunovSpectrum


@pytest.mark.parametrize("k", [1, 3, 8])
def test_equal_directions_count_as_many(k: int) -> None:
    found = StateDimension(torch.tensor([2.0] * k + [0.0] * (8 - k)))
    assert found.participation_ratio == pytest.approx(k) and found.effective_rank == pytest.approx(k)


def test_unequal_directions_count_by_their_shares() -> None:
    found = StateDimension(torch.tensor([9.0, 1.0]))
    assert found.participation_ratio == pytest.approx(100 / 82)
    assert found.effective_rank == pytest.approx(4 / 3**0.75)  # singular values 3 and 1, shares 3/4 and 1/4
    still = StateDimension(torch.zeros(4))
    assert still.participation_ratio is None and still.effective_rank is None


@pytest.mark.parametrize("name", ["rnn", "lstm"])
def test_the_covariance_is_that_of_all_states(name: str) -> None:
    chain = chain_of(frozen(stack(name, 1, 30)), torch.randint(5, (3, 30)))
    states = chain.states()
    found = state_dimension(chain, states)
    rows = states[1:].flatten(0, 1)
    expected = torch.linalg.eigvalsh(torch.cov(rows.T, correction=0)).flip(0)
    torch.testing.assert_close(found.eigenvalues, expected, rtol=1e-9, atol=1e-14)


@pytest.mark.parametrize("steps", [1, 2])
def test_fewer_states_than_their_width_have_the_same_covariance(steps: int) -> None:
    chain = chain_of(frozen(stack("lstm", 1, 30)), torch.tensor([[0, 1], [1, 2], [2, 3]])[:, :steps])
    states = chain.states()
    found = state_dimension(chain, states)
    rows = states[1:].flatten(0, 1)
    assert len(rows) < chain.size == found.size
    expected = torch.linalg.eigvalsh(torch.cov(rows.T, correction=0)).flip(0)
    torch.testing.assert_close(found.eigenvalues, expected, rtol=1e-9, atol=1e-14)
    assert int((found.eigenvalues > 0).sum()) == len(rows) - 1  # the mean takes one


def test_the_metric_entropy_is_the_sum_of_positive_exponents() -> None:
    spectrum = LyapunovSpectrum(torch.tensor([[0.4, 0.2, -0.5], [0.2, 0.0, -0.7]]), 0.01, 100)
    assert spectrum.metric_entropy == pytest.approx(0.4)
    assert spectrum.document()["metric_entropy"] == spectrum.metric_entropy
