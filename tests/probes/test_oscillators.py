"""coRNN's neurons of figure 6 against closed forms and against the differential equation."""

import math
from collections.abc import Callable

import numpy
import pytest
import torch
from scipy.integrate import solve_ivp

from stablebench.report.figures.oscillator_trajectories import (
    PAIRS,
    SIGNALS,
    SINGLE,
    Oscillator,
    Signal,
    cosine,
    stairs,
    trajectory,
)

SYSTEMS = {system.name: system for system in (*SINGLE, *PAIRS)}


def test_harmonic_oscillator_is_sine_and_keeps_energy_of_scheme() -> None:
    """The harmonic oscillator is a sine and keeps the energy of its scheme."""
    errors = []
    for dt in (0.02, 0.01):
        found = trajectory(SYSTEMS["SHO"], cosine, dt)
        y, z = found.y[:, 0], found.z[:, 0]
        errors.append((y - torch.sin(found.t)).abs().max().item())
        energy = y.square() + z.square()
        assert (energy - 1).abs().max() < 1.1 * dt / 2  # first order, and it does not drift:
        kept = energy - dt * y * z  # what symplectic Euler keeps exactly
        assert (kept - 1).abs().max() < 1e-12
    assert errors[0] / errors[1] == pytest.approx(4, rel=0.05)  # in y alone it is the leapfrog


def test_forcing_adds_the_particular_solution() -> None:
    found = trajectory(SYSTEMS["FHO"], cosine, 1e-3)
    exact = torch.sin(found.t) + (torch.cos(found.t) - torch.cos(4 * found.t)) / 15
    assert (found.y[:, 0] - exact).abs().max() < 2e-3


def test_damped_oscillator_settles_at_closed_amplitude_and_phase() -> None:
    """The damped oscillator settles at its closed amplitude and phase."""
    dt = 4e-3
    found = trajectory(SYSTEMS["FDO"], cosine, dt, time=80.0)
    late = found.t > 70  # exp(-70 / 8) of the start is left
    t, y = found.t[late], found.y[late, 0]
    exact = (-15 * torch.cos(4 * t) + torch.sin(4 * t)) / (15**2 + 1)  # of y'' + y'/4 + y = cos 4t
    assert y.abs().max().item() == pytest.approx(1 / math.sqrt(226), rel=0.02)
    assert (y - exact).abs().max() < 2e-3


def right_hand_side(system: Oscillator, signal: Signal) -> Callable[[float, numpy.ndarray], numpy.ndarray]:
    """Return f of (y, z)' = f(t, (y, z)), as SciPy's solvers take it."""
    W, W2, m = numpy.array(system.W), numpy.array(system.W2), system.neurons
    phi = {"identity": lambda x: x, "cubic": lambda x: x - x**3 / 3, "tanh": numpy.tanh}[system.activation]

    def derivative(t: float, state: numpy.ndarray) -> numpy.ndarray:
        y, z = state[:m], state[m:]
        u = signal(torch.tensor(t, dtype=torch.float64)).item()
        force = phi(W @ y + W2 @ z + system.V * u + system.b)
        return numpy.concatenate([z, force - system.gamma * y - system.epsilon * z])

    return derivative


@pytest.mark.parametrize(
    ("name", "time"), [("CFDO", 10), ("DUFF", 1.4), ("coRNN", 10), ("UC", 10), ("ORD", 10), ("FC", 10)]
)
def test_model_converges_to_differential_equation_at_first_order(name: str, time: float) -> None:
    """The model converges to the differential equation at first order."""
    system, m = SYSTEMS[name], SYSTEMS[name].neurons
    start = numpy.concatenate([numpy.zeros(m), numpy.full(m, system.velocity)])
    exact = solve_ivp(right_hand_side(system, cosine), (0, time), start, rtol=1e-9, atol=1e-11, dense_output=True)
    assert exact.success
    errors = []
    for dt in (0.01, 0.005):
        found = trajectory(system, cosine, dt, time)
        assert found.ends is None
        reference = exact.sol(found.t.numpy())
        both = numpy.concatenate([found.y.numpy(), found.z.numpy()], axis=1)
        errors.append(numpy.abs(both - reference.T).max() / numpy.abs(reference).max())
    assert errors[1] < 0.05
    assert errors[0] / errors[1] == pytest.approx(2, rel=0.2)


def test_first_neuron_of_ordered_pair_is_uncoupled_one() -> None:
    """The first neuron of an ordered pair is the uncoupled one."""
    ordered, uncoupled = (trajectory(SYSTEMS[name], cosine, 0.01) for name in ("ORD", "UC"))
    assert torch.equal(ordered.y[:, 0], uncoupled.y[:, 0])
    assert (ordered.y[:, 1] - uncoupled.y[:, 1]).abs().max() > 0.1
    assert torch.equal(uncoupled.y[:, 0], uncoupled.y[:, 1])


def test_the_cubic_neuron_as_printed_blows_up_and_is_broken_off() -> None:
    found = trajectory(SYSTEMS["DUFF"], stairs, 1e-3)
    assert found.ends is not None and found.ends < 10
    assert found.y[found.t < found.ends - 1e-9].isfinite().all()
    assert found.y[found.t >= found.ends - 1e-9].isnan().all()


def test_the_steps_are_where_they_are_said_to_be() -> None:
    t = torch.tensor([0.5, 1.0, 2.9, 3.0, 4.5, 6.5, 7.0, 9.0], dtype=torch.float64)
    assert SIGNALS["steps"](t).tolist() == pytest.approx([0, 1, 1, 0, 0.5, 0, 1.4, 0])
