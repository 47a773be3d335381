"""Matrices without their strictly upper Schur triangle, and what a gradient is without it."""

import math

import pytest
import torch
from probe_networks import linear_network, stack, still_batch

from stablebench.data.batch import Batch
from stablebench.models.network import Network
from stablebench.probes.chain import chain_of, frozen
from stablebench.probes.gradient_flow import gradient_flow
from stablebench.probes.schur_ablation import SchurAblation, normal_part, schur_ablation
from stablebench.probes.spectra import spectrum


def of(network: Network, batch: Batch, loss: str = "mse") -> SchurAblation | None:
    network = frozen(network)
    chain = chain_of(network, batch.inputs)
    states = chain.states()
    flow = gradient_flow(network, chain, states, batch, loss=loss, which="last")
    return schur_ablation(network, chain, states, batch, loss=loss, flow=flow)


@pytest.mark.parametrize("n", [1, 2, 7, 8])
def test_the_normal_part_keeps_the_eigenvalues(n: int) -> None:
    A = torch.randn(n, n)
    N, size = normal_part(A)
    expected, found = spectrum(A, ""), spectrum(N, "")
    torch.testing.assert_close(N @ N.T, N.T @ N, rtol=0, atol=1e-12)
    key = lambda v: sorted((round(z.real, 6), round(z.imag, 6)) for z in v.tolist())  # noqa: E731
    assert key(expected.eigenvalues) == key(found.eigenvalues)
    assert size == pytest.approx(expected.henrici, abs=1e-7) and found.henrici < 1e-6


def test_a_jordan_block_has_the_closed_form() -> None:
    # with the coupling dL/dh_0 is -2 (2^-n, 2^-n + n 2^(1-n)), without -2 (2^-n, 2^-n)
    n = 10
    found = of(linear_network(torch.tensor([[0.5, 1.0], [0.0, 0.5]])), still_batch(2, n))
    assert found is not None and found.blocks == 1
    assert found.share == pytest.approx(1 / math.sqrt(1.5))
    first = found.flow.log_norms[0, 0].exp().item(), found.flow_without.log_norms[0, 0].exp().item()
    assert first[0] == pytest.approx(2 * math.hypot(0.5**n, 0.5**n + n * 0.5 ** (n - 1)))
    assert first[1] == pytest.approx(2 * math.hypot(0.5**n, 0.5**n))
    assert found.meaning == "holds the gradient up"
    assert found.loss == found.loss_without == pytest.approx(1.0)


def test_an_orthogonal_matrix_loses_nothing() -> None:
    batch = Batch(torch.randint(5, (2, 6)), torch.randint(3, (2, 6)))
    found = of(stack("exprnn", 1, 6), batch, "cross_entropy")
    assert found is not None and found.meaning == "normal" and found.share < 1e-6
    assert found.loss == pytest.approx(found.loss_without, rel=1e-9)
    torch.testing.assert_close(found.flow.log_norms, found.flow_without.log_norms, rtol=0, atol=1e-9)


def test_the_loss_with_the_matrix_is_the_networks() -> None:
    network = stack("lstm", 2, 6)
    batch = Batch(torch.randint(5, (3, 6)), torch.randint(3, (3, 6)))
    found = of(network, batch, "cross_entropy")
    expected = torch.nn.functional.cross_entropy(network(batch.inputs)[0].flatten(0, 1), batch.targets.flatten())
    assert found is not None and found.loss == pytest.approx(expected.item()) and found.blocks == 8
    assert found.loss_without != found.loss and 0 < found.share < 1


def test_a_network_without_matrices_has_none() -> None:
    batch = Batch(torch.randint(5, (2, 6)), torch.randint(3, (2, 6)))
    assert of(stack("indrnn", 1, 6), batch, "cross_entropy") is None
