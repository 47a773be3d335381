"""Spectra against closed forms, and the recurrent matrix of a model against its own step."""

import math
from typing import Any

import numpy
import pytest
import torch
from probe_networks import linear_network, still_batch

from stablebench.models import registry as model_registry
from stablebench.models.base import RecurrentModel
from stablebench.models.network import Network
from stablebench.probes.chain import Chain, frozen
from stablebench.probes.spectra import sampled_steps, spectra, spectrum, step_jacobian


def model(name: str, hidden: int = 6, horizon: int = 20, **params: Any) -> RecurrentModel:
    entry = model_registry.model_entry(name)
    built = entry.build(1, hidden, entry.resolve(params), horizon=horizon, layer=0)
    assert isinstance(built, RecurrentModel)
    return built.double()


def test_a_jordan_block_is_as_far_from_normal_as_its_upper_entry() -> None:
    found = spectrum(torch.tensor([[0.9, 10.0], [0.0, 0.8]]), "A")
    assert found.eigenvalues.real.tolist() == pytest.approx([0.9, 0.8])
    assert found.radius == pytest.approx(0.9) and found.least_modulus == pytest.approx(0.8)
    assert found.henrici == pytest.approx(10.0)
    assert found.relative_henrici == pytest.approx(10 / math.sqrt(100 + 0.81 + 0.64))
    s = torch.linalg.svdvals(torch.tensor([[0.9, 10.0], [0.0, 0.8]]))
    assert found.from_orthogonal == pytest.approx((s.square() - 1).abs().max().item())


def test_an_orthogonal_matrix_is_normal_and_on_the_unit_circle() -> None:
    found = spectrum(torch.linalg.qr(torch.randn(30, 30)).Q, "Q")
    assert found.henrici < 1e-13 and found.from_orthogonal < 1e-13
    torch.testing.assert_close(found.eigenvalues.abs(), torch.ones(30), rtol=1e-13, atol=0)


def test_a_nilpotent_matrix_has_no_normal_part() -> None:
    found = spectrum(torch.ones(5, 5).tril(-1), "N")
    assert found.radius == 0 and found.relative_henrici == 1
    assert spectrum(torch.zeros(2, 2), "0").relative_henrici == 0


def test_one_step_jacobian_is_matrix() -> None:
    """The one step jacobian is the matrix and stands for each sampled step."""
    W = torch.randn(4, 4)
    network = frozen(linear_network(W))
    chain = Chain(network, still_batch(2, 100).inputs)
    torch.testing.assert_close(step_jacobian(chain, chain.states(), 7, sample=1), W)
    found = spectra(network, chain, chain.states())
    assert [s.of for s in found.steps] == [f"ds_{t}/ds_{t - 1}" for t in (2, 26, 51, 75, 100)]
    expected = sorted(abs(numpy.linalg.eigvals(W.numpy())))
    for each in [*found.recurrent, *found.steps]:
        assert sorted(each.eigenvalues.abs().tolist()) == pytest.approx(expected)


@pytest.mark.parametrize(("steps", "expected"), [(1, [1]), (2, [2]), (3, [2, 3]), (6, [2, 3, 4, 5, 6])])
def test_the_sampled_steps_of_a_short_chain(steps: int, expected: list[int]) -> None:
    assert sampled_steps(Chain(linear_network(torch.eye(1)), still_batch(1, steps).inputs)) == expected


@pytest.mark.parametrize(
    ("name", "params"),
    [
        ("rnn", {}),
        ("urnn", {"activation": "tanh"}),
        ("dizzy", {"activation": "identity"}),
        ("roarnn", {"activation": "tanh"}),
        ("eyernn", {"activation": "tanh"}),
        ("cornn", {}),
        ("cornn", {"damping": "implicit"}),
        ("indrnn", {"activation": "tanh"}),
        ("antisymmetric", {}),
        ("leaky_esn", {"bias_scaling": 0.0}),
    ],
)
def test_the_recurrent_matrix_is_the_jacobian_at_rest(name: str, params: dict[str, Any]) -> None:
    layer = model(name, **params)
    for parameter_name, parameter in layer.named_parameters():
        if parameter_name == "b":
            torch.nn.init.zeros_(parameter)
    chain = Chain(frozen(Network([layer], 1, readout="last", input="values")), torch.zeros(1, 2, 1))
    rest = torch.zeros(3, 1, chain.size)
    matrix = layer.recurrent_matrix()
    assert matrix is not None
    torch.testing.assert_close(matrix.detach(), step_jacobian(chain, rest, 2), rtol=1e-12, atol=1e-14)


def test_roarnn_starts_on_an_annulus_and_eyernn_at_a_point() -> None:
    horizon = 1000
    annulus, point = (
        spectrum(m, "A")
        for m in (model("roarnn", 32, horizon).recurrent_matrix(), model("eyernn", 32, horizon).recurrent_matrix())
        if m is not None
    )
    # alpha ||W|| is about 2 sqrt(32) / 1000 = 0.011: all within that of the unit circle, or of 1
    assert (annulus.eigenvalues.abs() - 1).abs().max() < 0.02 and (annulus.eigenvalues.real < -0.5).any()
    assert (point.eigenvalues - 1).abs().max() < 0.02


@pytest.mark.parametrize("name", ["eunn", "fcurnn", "urnn_arjovsky"])
def test_a_complex_recurrent_matrix_is_unitary(name: str) -> None:
    matrix = model(name).recurrent_matrix()
    assert matrix is not None and matrix.is_complex()
    found = spectrum(matrix, "W")
    assert found.from_orthogonal < 1e-6 and found.radius == pytest.approx(1, abs=1e-6)  # drawn in float32


def test_lru_s_matrix_is_its_eigenvalues() -> None:
    layer = model("lru")
    matrix = layer.recurrent_matrix()
    assert matrix is not None and matrix.is_complex()
    assert spectrum(matrix, "A").radius < 1 and spectrum(matrix, "A").henrici == 0
