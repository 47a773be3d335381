"""HiPPO-LegS: the equation, what the memory holds, and that no step of it can grow."""

from typing import Literal

import numpy
import pytest
import torch
from numpy.polynomial import legendre
from torch import Tensor

from stablebench.models.base import count_parameters
from stablebench.models.recurrent.hippo_legs import HippoLegS, legs

Discretisation = Literal["bilinear", "euler", "backward"]


@pytest.fixture(autouse=True)
def _double() -> None:
    torch.set_default_dtype(torch.float64)
    torch.manual_seed(0)


def entry(n: int, m: int) -> float:
    """A_nm of equation 3."""
    if n > m:
        return (2 * n + 1) ** 0.5 * (2 * m + 1) ** 0.5
    return n + 1 if n == m else 0


def one_step(discretisation: Discretisation, order: int, k: int) -> tuple[Tensor, Tensor]:
    """Return A_k and B_k with explicit inverses."""
    A = torch.tensor([[entry(n, m) for m in range(order)] for n in range(order)], dtype=torch.float64)
    B = torch.tensor([(2 * n + 1) ** 0.5 for n in range(order)])
    unit = torch.eye(order)
    implicit, explicit = {"bilinear": (0.5, 0.5), "euler": (0, 1), "backward": (1, 0)}[discretisation]
    inverse = torch.linalg.inv(unit + implicit * A / k)
    return inverse @ (unit - explicit * A / k), inverse @ B / k


@pytest.mark.parametrize("discretisation", ["bilinear", "euler", "backward"])
def test_it_is_the_equation(discretisation: Discretisation) -> None:
    model = HippoLegS(2, 3, order=4, discretisation=discretisation)
    for parameter in model.parameters():
        parameter.data += 0.3 * torch.randn_like(parameter)
    x = torch.randn(1, 6, 2)
    outputs, (_, memory, count) = model(x)
    h, c = torch.zeros(3), torch.zeros(4)
    for k in range(6):
        seen = torch.cat([h, c, x[0, k]])
        gate = 1 / (1 + torch.exp(-(model.L_g @ seen + model.b_g)))
        h = (1 - gate) * h + gate * torch.tanh(model.L_tau @ seen + model.b_tau)
        f = model.L_f @ h + model.b_f[0]
        if k == 0:
            c = f * torch.tensor([1.0, 0, 0, 0])
        else:
            A, B = one_step(discretisation, 4, k)
            c = A @ c + B * f
        torch.testing.assert_close(outputs[0, k], h, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(memory[0], c, rtol=1e-12, atol=1e-12)
    assert count.item() == 6


def test_eigenvalues_are_the_first_integers() -> None:
    """The eigenvalues are the first integers and the symmetric part is positive."""
    A, B = legs(20)
    expected = torch.tensor([[entry(n, m) for m in range(20)] for n in range(20)], dtype=torch.float64)
    torch.testing.assert_close(A, expected, rtol=1e-14, atol=0)
    found = torch.linalg.eigvals(legs(8)[0]).real.sort().values  # of more, eigenvectors are too ill-conditioned
    torch.testing.assert_close(found, torch.arange(1.0, 9), rtol=1e-9, atol=0)
    torch.testing.assert_close(A + A.T, torch.eye(20) + torch.outer(B, B), rtol=1e-14, atol=1e-14)


@pytest.mark.parametrize("discretisation", ["bilinear", "backward"])
def test_no_implicit_step_makes_the_memory_longer(discretisation: Discretisation) -> None:
    model = HippoLegS(1, 2, order=64, discretisation=discretisation)
    for k in (1, 2, 5, 30, 1000):
        A_k = model.remember(torch.eye(64), torch.zeros(64, 1), torch.full((64, 1), float(k)))
        assert torch.linalg.matrix_norm(A_k, 2) <= 1 + 1e-12


def test_an_euler_step_makes_it_longer() -> None:
    model = HippoLegS(1, 2, order=64, discretisation="euler")
    A_k = model.remember(torch.eye(64), torch.zeros(64, 1), torch.full((64, 1), 30.0))
    assert torch.linalg.matrix_norm(A_k, 2) > 10


def memory_of(model: HippoLegS, samples: Tensor) -> Tensor:
    """Return the memory after samples (time, batch), (batch, order)."""
    c = torch.zeros(samples.shape[1], model.order)
    for k, f in enumerate(samples):
        c = model.remember(c, f[:, None], torch.full((len(f), 1), float(k)))
    return c


def polynomials(steps: int, degree: int) -> tuple[Tensor, Tensor]:
    """Return samples (steps, degree + 1) of (s/t)^p on [0, t] and their least-squares Legendre coefficients."""
    s = (numpy.arange(steps) + 0.5) / steps
    powers = numpy.stack([s**p for p in range(degree + 1)], axis=1)
    fitted = legendre.legfit(2 * s - 1, powers, degree) / numpy.sqrt(2 * numpy.arange(degree + 1) + 1)[:, None]
    return torch.from_numpy(powers), torch.from_numpy(fitted.T)


@pytest.mark.parametrize("discretisation", ["bilinear", "backward"])
def test_polynomials_are_held_up_to_an_error_of_order_one_over_t(discretisation: Discretisation) -> None:
    model = HippoLegS(1, 2, order=6, discretisation=discretisation)
    errors = []
    for steps in (500, 1000, 2000):
        samples, expected = polynomials(steps, 4)
        found = memory_of(model, samples)
        errors.append((found[:, :5] - expected).abs().max().item())
        assert found[:, 5].abs().max() < 10 / steps  # there is no fifth power
    assert errors[-1] < 2e-3
    assert errors[0] / errors[1] == pytest.approx(2, rel=0.1) and errors[1] / errors[2] == pytest.approx(2, rel=0.1)


def test_a_constant_is_held_exactly_from_the_first_step() -> None:
    for discretisation in ("bilinear", "euler", "backward"):
        model = HippoLegS(1, 2, order=6, discretisation=discretisation)
        found = memory_of(model, torch.full((50, 1), 0.7))
        torch.testing.assert_close(found, 0.7 * torch.eye(6)[:1], rtol=1e-9, atol=1e-9)


def test_the_memory_does_not_depend_on_the_speed() -> None:
    model = HippoLegS(1, 2, order=8)
    s = torch.linspace(0, 1, 1000)[:, None]
    samples = torch.sin(7 * s) + s
    slow = memory_of(model, samples.repeat_interleave(2, dim=0))
    assert (memory_of(model, samples) - slow).abs().max() < 5e-3  # of order 1 / t
    assert slow.abs().max() > 0.3


def test_the_influence_of_a_sample_falls_as_one_over_t() -> None:
    model = HippoLegS(1, 2, order=16)
    scaled = []
    for steps in (200, 400, 800, 1600):
        impulse = torch.zeros(steps, 1)
        impulse[steps // 4] = 1
        scaled.append(steps * memory_of(model, impulse).norm().item())
    assert max(scaled) / min(scaled) < 1.05 and min(scaled) > 1


def test_it_runs_for_any_length_and_stays_bounded() -> None:
    model = HippoLegS(1, 4, order=32)
    outputs, (_, c, k) = model(torch.randn(1, 3000, 1))
    bound = model.L_f.abs().sum() + model.b_f.abs()  # |h| <= 1
    assert outputs.abs().max() <= 1 and k.item() == 3000
    assert c.norm() <= 2 * bound


def test_the_count_of_parameters_is_that_of_the_affine_maps() -> None:
    assert count_parameters(HippoLegS(1, 512, order=512).parameters()) == 2 * (512 * 1025 + 512) + 513
