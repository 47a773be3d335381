r"""One and two neurons of coRNN under an input signal (figure 6 of its paper, arXiv:2010.00951, section C).

    y'' = phi(W y + W2 y' + V u(t) + b) - gamma y - epsilon y'

    SHO     simple harmonic oscillator: V = b = W = W2 = epsilon = 0, gamma = 1
    FHO     forced: V = 1, phi the identity
    FDO     forced and damped: epsilon = 0.25 as well
    CFDO    controlled: W = -2, W2 = 0.75, V = 2, b = 0.25 as well
    DUFF    of Duffing's type: as CFDO with phi(x) = x - x^3 / 3 (18)
    coRNN   as CFDO with phi = tanh
    UC, ORD, FC   two neurons uncoupled, the first acting on the second, and both on each other, with V = 2, b = 0.25

The trajectories are those of the model itself (`stablebench.models.recurrent.cornn`), with a small step dt. The paper
prints neither the starts nor its step signal: here SHO, FHO and FDO start with y = 0 and y' = 1, so that SHO is the
sine wave it speaks of, all others rest.
Pairs take phi = tanh, the proposed model. With W2 = 0.75 as printed against epsilon = 0.25 the linear system grows, as
exp(t / 4), and the cubic phi blows up within a few units of time where the paper draws a damped curve for it.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from stablebench.models.recurrent.cornn import CoRNN

Signal = Callable[[Tensor], Tensor]
_BEYOND = 1e3
"""|y| at which a trajectory is broken off."""


@dataclass(frozen=True)
class Oscillator:
    """A system of m neurons.

    Args:
        name: What the paper's legend calls it.
        W: How positions act, (m, m).
        W2: How velocities act, (m, m).
        V: How the signal acts, on every neuron alike.
        b: Bias of every neuron.
        gamma: Frequency, squared.
        epsilon: Damping.
        activation: phi.
        velocity: y' at the start of every neuron; y is 0.
    """

    name: str
    W: tuple[tuple[float, ...], ...] = ((0.0,),)
    W2: tuple[tuple[float, ...], ...] = ((0.0,),)
    V: float = 0.0
    b: float = 0.0
    gamma: float = 1.0
    epsilon: float = 0.0
    activation: Literal["identity", "cubic", "tanh"] = "identity"
    velocity: float = 0.0

    @property
    def neurons(self) -> int:
        """M."""
        return len(self.W)


def _controlled(name: str, activation: Literal["identity", "cubic", "tanh"]) -> Oscillator:
    return Oscillator(name, ((-2.0,),), ((0.75,),), 2.0, 0.25, 1.0, 0.25, activation)


def _pair(name: str, W: tuple[float, float], W2: tuple[float, float]) -> Oscillator:
    """Return two neurons; W and W2 are (second on first, first on second)."""
    return Oscillator(name, ((-2.0, W[0]), (W[1], -2.0)), ((0.75, W2[0]), (W2[1], 0.75)), 2.0, 0.25, 1.0, 0.25, "tanh")


SINGLE = (
    Oscillator("SHO", velocity=1.0),
    Oscillator("FHO", V=1.0, velocity=1.0),
    Oscillator("FDO", V=1.0, epsilon=0.25, velocity=1.0),
    _controlled("CFDO", "identity"),
    _controlled("DUFF", "cubic"),
    _controlled("coRNN", "tanh"),
)
PAIRS = (
    _pair("UC", (0.0, 0.0), (0.0, 0.0)),
    _pair("ORD", (0.0, 3.0), (0.0, -1.0)),
    _pair("FC", (1.0, 3.0), (0.3, -1.0)),
)


def cosine(t: Tensor) -> Tensor:
    """Return cos(4 t), the paper's oscillatory signal."""
    return torch.cos(4 * t)


def stairs(t: Tensor) -> Tensor:
    """Return a combination of step functions: 1 in [1, 3), 0.5 in [4, 6), 1.4 in [7, 8), else 0."""
    edges = ((1.0, 1.0), (3.0, -1.0), (4.0, 0.5), (6.0, -0.5), (7.0, 1.4), (8.0, -1.4))
    return sum((height * (t >= at) for at, height in edges), torch.zeros_like(t))


SIGNALS: dict[str, Signal] = {"cos 4t": cosine, "steps": stairs}


@dataclass(frozen=True)
class OscillatorTrajectory:
    """A solution.

    Args:
        t: Times, (points).
        y: Positions, (points, m); NaN once |y| has passed 10^3.
        z: Velocities, likewise.
    """

    t: Tensor
    y: Tensor
    z: Tensor

    @property
    def ends(self) -> float | None:
        """The time at which it was broken off, or None."""
        gone = self.y.isnan().any(1)
        return self.t[int(gone.int().argmax())].item() if gone.any() else None


@torch.no_grad()
def trajectory(system: Oscillator, signal: Signal, dt: float = 1e-3, time: float = 10.0) -> OscillatorTrajectory:
    """Return what the model computes, step by step in float64.

    Args:
        system: The neurons.
        signal: u(t).
        dt: The model's time step.
        time: How long.
    """
    m = system.neurons
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        with torch.random.fork_rng(devices=[]):
            model = CoRNN(1, m, dt=dt, gamma=system.gamma, epsilon=1.0, activation=system.activation)
    finally:
        torch.set_default_dtype(before)
    model.constants[2] = system.epsilon  # 0 is no coRNN, which must be damped
    model.W.copy_(torch.tensor(system.W))
    model.W2.copy_(torch.tensor(system.W2))
    model.V.fill_(system.V)
    model.b.fill_(system.b)
    t = dt * torch.arange(math.ceil(time / dt) + 1, dtype=torch.float64)
    projections = model.input_projection(signal(t)[:-1, None, None])
    state = (torch.zeros(1, m, dtype=torch.float64), torch.full((1, m), system.velocity, dtype=torch.float64))
    recurrent_weights = model.recurrent_weights()
    y, z = torch.full((2, len(t), m), math.nan, dtype=torch.float64)
    y[0], z[0] = state[0][0], state[1][0]
    for i, projected in enumerate(projections[:, 0], start=1):
        state = model.step(projected[None], state, recurrent_weights)
        if not state[0].abs().max() <= _BEYOND:
            break
        y[i], z[i] = state[0][0], state[1][0]
    return OscillatorTrajectory(t, y, z)
