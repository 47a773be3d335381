"""LMU: the equation, the window that its memory holds, and the published parameter count."""

from typing import Any

import numpy
import pytest
import torch
from numpy.polynomial import legendre
from scipy.signal import cont2discrete
from torch import Tensor

from stablebench.models.base import count_parameters
from stablebench.models.network import Network
from stablebench.models.recurrent.lmu import LMU, delay


@pytest.fixture(autouse=True)
def _double() -> None:
    torch.set_default_dtype(torch.float64)
    torch.manual_seed(0)


def continuous(order: int, theta: float) -> tuple[Tensor, Tensor]:
    """Return A and B of equation 2, entry by entry, over theta."""
    A, B = torch.zeros(order, order), torch.zeros(order)
    for i in range(order):
        B[i] = (2 * i + 1) * (-1) ** i / theta
        for j in range(order):
            A[i, j] = (2 * i + 1) / theta * (-1 if i < j else (-1) ** (i - j + 1))
    return A, B


@pytest.mark.parametrize("order", [1, 5, 40])
def test_the_memory_is_the_delay_network_under_a_zero_order_hold(order: int) -> None:
    model = LMU(1, 2, horizon=100, order=order, theta=30.0)
    A, B = continuous(order, 30.0)
    torch.testing.assert_close(delay(order, 30.0), (A, B), rtol=1e-14, atol=0)
    system = (A.numpy(), B[:, None].numpy(), numpy.ones((1, order)), numpy.zeros((1, 1)))
    held: Any = cont2discrete(system, dt=1.0, method="zoh")
    torch.testing.assert_close(model.A_bar, torch.from_numpy(held[0]), rtol=1e-12, atol=1e-14)
    torch.testing.assert_close(model.B_bar, torch.from_numpy(held[1])[:, 0], rtol=1e-12, atol=1e-14)
    # B_bar = A^-1 (A_bar - I) B, as the paper writes it
    torch.testing.assert_close(A @ model.B_bar, (model.A_bar - torch.eye(order)) @ B, rtol=1e-9, atol=1e-10)


def test_it_is_the_equation() -> None:
    model = LMU(2, 3, horizon=9, order=4)
    for parameter in model.parameters():
        parameter.data += 0.3 * torch.randn_like(parameter)
    x = torch.randn(1, 9, 2)
    outputs, (_, memory) = model(x)
    h, m = torch.zeros(3), torch.zeros(4)
    for t in range(9):
        u = model.e_x @ x[0, t] + model.e_h @ h + model.e_m @ m
        m = model.A_bar @ m + model.B_bar * u
        h = torch.tanh(model.W_x @ x[0, t] + model.W_h @ h + model.W_m @ m)
        torch.testing.assert_close(outputs[0, t], h, rtol=1e-13, atol=1e-13)
    torch.testing.assert_close(memory[0], m, rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize(("order", "theta"), [(4, 7.0), (64, 100.0), (256, 784.0)])
def test_the_memory_decays(order: int, theta: float) -> None:
    model = LMU(1, 2, horizon=7, order=order, theta=theta)
    assert torch.linalg.eigvals(model.A_bar).abs().max() < 1
    if order <= 64:  # of a larger A, rounding moves the eigenvalues near the axis
        assert torch.linalg.eigvals(delay(order, theta)[0]).real.max() < 0


def decoded(memory: Tensor, share: float) -> Tensor:
    """Return the sum of shifted Legendre polynomials at `share` of the window, 0 for now and 1 for theta ago."""
    return torch.from_numpy(legendre.legval(2 * share - 1, memory.detach().numpy().T))


@pytest.mark.parametrize(("order", "tolerance"), [(8, 2e-2), (12, 1e-2)])
def test_the_memory_holds_a_sliding_window_of_its_input(order: int, tolerance: float) -> None:
    theta, steps = 400, 1600
    model = LMU(1, 2, horizon=steps, order=order, theta=float(theta), init="memory")
    t = torch.arange(steps) / theta
    signal = torch.sin(3 * t + 1) + 0.5 * torch.cos(7 * t)  # about a wave in a window
    state, recurrent_weights, found = model.initial_state(1), model.recurrent_weights(), []
    for projected in model.input_projection(signal[None, :, None]).unbind(1):
        state = model.step(projected, state, recurrent_weights)
        found.append(state[1][0])
    memory = torch.stack(found)
    for share in (0.0, 0.25, 0.5, 0.75, 1.0):
        delayed = signal[800 - int(share * theta) : steps - int(share * theta)]
        assert (decoded(memory[800:], share) - delayed).abs().max() < tolerance
    assert (signal[800:] - signal[600:-200]).abs().max() > 0.5  # a delay is not nothing


def test_what_left_the_window_is_forgotten() -> None:
    model = LMU(1, 2, horizon=300, order=12, theta=100.0, init="memory")
    x = torch.randn(1, 400, 1)
    other = x.clone()
    other[:, :100] = torch.randn(1, 100, 1)
    apart = (model(x)[1][1] - model(other)[1][1]).norm() / model(x)[1][1].norm()
    assert apart < 0.02
    other[:, 350:] += 1
    assert (model(x)[1][1] - model(other)[1][1]).norm() / model(x)[1][1].norm() > 0.1


def test_the_window_is_the_horizon_unless_it_is_given() -> None:
    assert LMU(1, 2, horizon=784).theta == 784
    assert LMU(1, 2, horizon=784, theta=20.0).theta == 20


def test_the_parameter_count_is_the_papers_for_psmnist() -> None:
    network = Network([LMU(1, 212, horizon=784, order=256)], 10, readout="last", input="values")
    assert count_parameters(network.parameters()) == 102_027  # "102k"


def test_on_its_own_the_memory_starts_in_charge() -> None:
    model = LMU(3, 4, horizon=5, order=6, init="memory")
    assert model.e_x.tolist() == [1, 1, 1]
    assert not any(p.any() for p in (model.e_h, model.e_m, model.W_x, model.W_h)) and model.W_m.all()
    model = LMU(3, 4, horizon=5, order=6)
    assert not model.e_m.any() and model.e_h.abs().max() <= (3 / 4) ** 0.5 and model.W_h.all()
