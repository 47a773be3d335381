"""eyeRNN's second start: all of eyeRNN's but the size of W, and a Jacobian like roaRNN's."""

import math

import pytest
import torch
from torch import Tensor

from stablebench.models.recurrent.roarnn import RoaRNN
from stablebench.models.registry import model_entry


@pytest.fixture(autouse=True)
def _double() -> None:
    torch.set_default_dtype(torch.float64)
    torch.set_num_threads(1)


def build(name: str, inputs: int, hidden: int, seed: int, T: int, **params: object) -> RoaRNN:
    entry = model_entry(name)
    torch.manual_seed(seed)
    model = entry.build(inputs, hidden, entry.resolve(params), horizon=T)
    assert isinstance(model, RoaRNN)
    return model


def test_it_is_eyernn_with_a_smaller_recurrent_matrix() -> None:
    assert model_entry("eyernn_isometric").resolve({}) == model_entry("eyernn").resolve({"recurrent_scale": "he"})
    model, eye, roa = (build(name, 3, 50, 7, T=20) for name in ("eyernn_isometric", "eyernn", "roarnn"))
    assert torch.equal(model.V, eye.V) and torch.equal(model.b, eye.b) and torch.equal(model.O, torch.eye(50))
    torch.testing.assert_close(model.W, eye.W * math.sqrt(2 / 50), rtol=1e-15, atol=0)
    assert torch.equal(eye.W, roa.W), "the default is as it was"
    readouts = []
    for each in (model, eye):
        torch.manual_seed(1)
        readouts.append(torch.nn.Linear(50, 4))
        each.initialise_readout(readouts[-1])
    assert torch.equal(readouts[0].weight, readouts[1].weight) and torch.equal(readouts[0].bias, readouts[1].bias)


def log_singular_values(model: RoaRNN, x: Tensor) -> Tensor:
    """Return the logarithms of the singular values of dh_T/dh_0, from a state of zeros."""
    h, product = torch.zeros(model.hidden), torch.eye(model.hidden)
    for u in x:
        z = model.W @ h + model.V @ u + model.b
        slope = (z > 0).to(z.dtype) if model.activation == "relu" else 1 - z.tanh() ** 2
        phi = z.relu() if model.activation == "relu" else z.tanh()
        product = (model.alpha * slope[:, None] * model.W + (1 - model.alpha) * model.O) @ product
        h = model.alpha * phi + (1 - model.alpha) * model.O @ h
    return torch.linalg.svdvals(product.detach()).log()


@pytest.mark.parametrize(("hidden", "T", "rho", "activation"), [(128, 120, 1.0, "relu"), (64, 64, 3.0, "tanh")])
def test_its_jacobian_starts_as_near_to_isometry_as_roarnns(hidden: int, T: int, rho: float, activation: str) -> None:
    x = torch.randn(T, 3, generator=torch.Generator().manual_seed(0))
    ends = {}
    for name in ("roarnn", "eyernn_isometric", "eyernn"):
        values = log_singular_values(build(name, 3, hidden, 0, T=T, rho=rho, activation=activation), x) / rho
        ends[name] = values.min().item(), values.max().item()
    (low, high), (ours_low, ours_high) = ends["roarnn"], ends["eyernn_isometric"]
    assert abs(ours_low - low) < 0.8 and abs(ours_high - high) < 0.8  # of spans of 3
    assert ends["eyernn"][0] < low - 1 and ends["eyernn"][1] > high + 1, "as the paper's start is not"
