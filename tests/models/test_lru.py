"""LRU: the equation and its block, the ring that its eigenvalues start on, and a stability that training keeps."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from stablebench.errors import UserError
from stablebench.models.blocks.linear import moduli
from stablebench.models.network import Network
from stablebench.models.recurrent.lru import LRU


@pytest.fixture(autouse=True)
def _double() -> None:
    torch.set_default_dtype(torch.float64)
    torch.manual_seed(0)


def bare(in_features: int, hidden: int, **arguments: Any) -> LRU:
    return LRU(in_features, hidden, norm="none", mix="none", skip=False, **arguments)


def eigenvalues(model: LRU) -> Tensor:
    return torch.exp(-torch.exp(model.nu_log) + 1j * torch.exp(model.theta_log))


def layer_norm(u: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    centred = u - u.mean()
    return centred / torch.sqrt(centred.square().mean() + 1e-5) * weight + bias


@pytest.mark.parametrize("state", [None, 5])
@pytest.mark.parametrize("layer", [0, 1])
def test_it_is_the_equation_in_its_block(layer: int, state: int | None) -> None:
    width = 2 if layer == 0 else 4
    model = LRU(width, 4, layer=layer, state=state)
    gate = model.block.gate
    assert gate is not None and isinstance(model.block.encoder, torch.nn.Linear) == (layer == 0)
    for parameter in model.block.norm.parameters():
        parameter.data = torch.randn(4)
    scale, shift = model.block.norm.parameters()
    x = torch.randn(1, 6, width)
    outputs, (end,) = model(x)
    B, C = torch.complex(*model.B), torch.complex(*model.C)
    h = torch.zeros(model.state, dtype=torch.complex128)
    for t in range(6):
        u = model.block.encoder(x[0, t])
        v = layer_norm(u, scale, shift)
        h = eigenvalues(model) * h + torch.exp(model.gamma_log) * (B @ v.to(h.dtype))
        y = (C @ h).real + model.D * v
        y = y * (1 + torch.erf(y / math.sqrt(2))) / 2
        value, opening = (gate.weight @ y + gate.bias).chunk(2)
        torch.testing.assert_close(outputs[0, t], u + value * torch.sigmoid(opening), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(end[0], torch.cat([h.real, h.imag]), rtol=1e-12, atol=1e-12)


def test_without_block_it_is_linear_and_sum_over_past_inputs() -> None:
    """Without its block it is linear and the sum over past inputs."""
    model = bare(3, 4)
    x = torch.randn(1, 20, 3)
    v = model.block.encoder(x)[0]
    lags = torch.arange(20)[:, None] - torch.arange(20)
    powers = torch.where(lags[..., None] < 0, 0, eigenvalues(model) ** lags.clamp(min=0)[..., None])  # (t, s, n)
    driven = torch.exp(model.gamma_log) * (v.to(torch.complex128) @ torch.complex(*model.B).T)
    states = torch.einsum("tsn,sn->tn", powers, driven)
    expected = (states @ torch.complex(*model.C).T).real + model.D * v
    torch.testing.assert_close(model(x)[0][0], expected, rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize(("r_min", "r_max", "max_phase"), [(0.0, 1.0, 2 * math.pi), (0.9, 0.999, 0.3), (0.4, 0.5, 1.0)])
def test_eigenvalues_start_uniform_on_the_ring(r_min: float, r_max: float, max_phase: float) -> None:
    model = LRU(1, 4, state=20_000, r_min=r_min, r_max=r_max, max_phase=max_phase)
    modulus, phase = eigenvalues(model).abs(), torch.exp(model.theta_log)
    assert r_min <= modulus.min() and modulus.max() <= r_max and phase.max() <= max_phase
    area = (modulus.square() - r_min**2) / (r_max**2 - r_min**2)
    for uniform in (area, phase / max_phase):  # 20,000 draws: five standard errors of mean and variance
        assert uniform.mean().item() == pytest.approx(1 / 2, abs=5 * math.sqrt(1 / 12 / 20_000))
        assert uniform.var().item() == pytest.approx(1 / 12, abs=5 * math.sqrt(1 / 180 / 20_000))


def test_the_normalisation_keeps_white_noise_at_its_variance() -> None:
    model = LRU(1, 4, state=50, r_min=0.5, r_max=0.99, norm="none")
    h = torch.zeros(1000, 100)
    with torch.no_grad():
        a, gamma = model.recurrent_weights()
        for _ in range(600):  # 0.99^1200 of the start is left
            h = model.step(torch.randn(1000, 100), (h,), (a, gamma))[0]
    # of the complex state E|h|^2 = gamma^2 E|b|^2 / (1 - |lambda|^2) = E|b|^2 = 2
    assert (h[:, :50].square() + h[:, 50:].square()).mean().item() == pytest.approx(2.0, rel=0.02)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_eigenvalues_stay_inside_unit_circle(dtype: torch.dtype) -> None:
    """Eigenvalues stay inside the unit circle while training pushes them out."""
    model = bare(1, 8, r_min=0.9, r_max=0.999).to(dtype)
    optimiser = torch.optim.SGD(model.parameters(), lr=0.1)
    before = moduli(model.recurrent_weights()[0]).mean().item()
    for _ in range(50):
        optimiser.zero_grad()
        (-moduli(model.recurrent_weights()[0]).sum()).backward()
        optimiser.step()
    modulus = moduli(model.recurrent_weights()[0])
    assert before < modulus.mean().item() and modulus.max().item() < 1


def test_jacobian_of_many_steps_has_powers_of_the_moduli() -> None:
    """The jacobian of many steps has the moduli to their power as singular values."""
    model = LRU(2, 3, r_min=0.8)
    x = torch.randn(1, 40, 2)
    jacobian = torch.autograd.functional.jacobian(lambda h: model(x, (h,))[1][0], torch.randn(1, 6))
    assert isinstance(jacobian, Tensor)
    found = torch.linalg.svdvals(jacobian[0, :, 0])
    expected = (eigenvalues(model).abs() ** 40).repeat(2).sort(descending=True).values
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=0)


def test_real_eigenvalues_make_independent_leaky_integrators() -> None:
    model = bare(2, 3)
    with torch.no_grad():
        model.theta_log.fill_(-1e3)  # a phase of exactly 0
        model.B[1], model.C[1] = 0, 0
    x = torch.randn(2, 9, 2)
    a, gamma = eigenvalues(model).abs(), torch.exp(model.gamma_log)
    h, outputs = torch.zeros(2, 3), []
    for v in model.block.encoder(x).unbind(1):
        h = a * h + gamma * (v @ model.B[0].T)
        outputs.append(h @ model.C[0].T + model.D * v)
    torch.testing.assert_close(model(x)[0], torch.stack(outputs, 1), rtol=1e-13, atol=1e-13)


def test_only_first_layer_has_encoder_and_what_recurs_is_group() -> None:
    """Only the first layer has an encoder and what recurs is a group."""
    stack = Network([LRU(3, 4), LRU(4, 4, layer=1)], 2, readout="last", input="values")
    names = [name for name, _ in stack.named_parameters() if "encoder" in name]
    assert names == ["layers.0.block.encoder.weight", "layers.0.block.encoder.bias"]
    main, recurrent = stack.parameter_groups()
    assert (main.name, recurrent.name) == ("main", "recurrent") and len(recurrent.parameters) == 8


@pytest.mark.parametrize(("r_min", "r_max"), [(0.5, 0.5), (0.9, 0.1), (0.0, 1.1)])
def test_a_ring_that_is_none_is_refused(r_min: float, r_max: float) -> None:
    with pytest.raises(UserError, match="0 <= r_min < r_max <= 1"):
        LRU(1, 2, r_min=r_min, r_max=r_max)
