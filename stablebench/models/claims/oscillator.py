r"""coRNN's chain as its paper's propositions see it: energies, norms of Jacobians, and gradients of a loss.

    z_t = kept z_{t-1} + delta dt (phi(A_{t-1}) - gamma y_{t-1})     A_{t-1} = W y_{t-1} + W2 z_{t-1} + V u_t + b
    y_t = y_{t-1} + dt z_t

with delta = kept = 1 / (1 + epsilon dt) for implicit damping, delta = 1 and kept = 1 - epsilon dt for explicit; m is
the number of units, t_n = n dt.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import torch
from torch import Tensor

from stablebench.models.claims.claim import Evidence


@dataclass(frozen=True)
class Oscillators:
    """The constants of a chain and its weights.

    Args:
        W: Coupling of the states (m, m).
        W2: Coupling of the velocities (m, m).
        dt: Time step.
        gamma: Frequency, squared.
        epsilon: Damping.
        damping: Which velocity the damping takes.
        activation: phi.
        projected: Maps inputs (samples, T, in) to V u_t + b.
        outputs: Maps inputs to all y_t (samples, T, m), with a gradient in its parameters.
        parameters: By name; one of them is V.
    """

    W: Tensor
    W2: Tensor
    dt: float
    gamma: float
    epsilon: float
    damping: Literal["explicit", "implicit"]
    activation: Literal["tanh", "identity", "cubic"]
    projected: Callable[[Tensor], Tensor]
    outputs: Callable[[Mapping[str, Tensor], Tensor], Tensor]
    parameters: Mapping[str, Tensor]

    @property
    def units(self) -> int:
        """The number of oscillators, m."""
        return len(self.W)

    @property
    def delta(self) -> float:
        """What the force is multiplied by, besides dt."""
        return 1 / (1 + self.epsilon * self.dt) if self.damping == "implicit" else 1.0

    @property
    def kept(self) -> float:
        """What is left of the velocity."""
        return self.delta if self.damping == "implicit" else 1 - self.epsilon * self.dt

    @property
    def surplus(self) -> float:
        """D of the energy bound; the conditions (49) and (52) are D >= 1."""
        explicit = self.epsilon**2 if self.damping == "explicit" else 0.0
        return 2 * self.epsilon - (self.gamma + explicit) * self.dt

    @cached_property
    def eta(self) -> float:
        """The left side of (8) and (53)."""
        W, W2 = (torch.linalg.matrix_norm(matrix, torch.inf).item() for matrix in (self.W, self.W2))
        return self.delta * self.dt * max(self.gamma + W, W2)

    @property
    def bounded(self) -> bool:
        """Whether |phi| <= 1."""
        return self.activation == "tanh"

    @property
    def is_form_4(self) -> bool:
        """Whether it is the form (4), with gamma = epsilon = 1."""
        return self.damping == "implicit" and self.gamma == self.epsilon == 1

    @property
    def small_weights(self) -> bool:
        """Whether (8), or (53) with the constant 1, is met."""
        return self.dt < 1 and self.eta <= math.sqrt(self.dt) and abs(self.kept) <= 1 and self.activation != "cubic"

    @property
    def step_power(self) -> float:
        """dt^r with the largest r <= 1 that (8) leaves."""
        return max(self.eta, self.dt)

    def weights_remark(self, evidence: Evidence) -> str:
        """Return the numbers that (8) and t_N <= 1 are about."""
        time = (evidence.steps + 1) * self.dt
        return f"eta = {self.eta:.3g}, dt^(1/2) = {math.sqrt(self.dt):.3g}, N dt = {time:.3g}"

    def in_unit_time(self, evidence: Evidence) -> bool:
        """Return whether t_N = N dt <= 1, up to rounding."""
        return (evidence.steps + 1) * self.dt <= 1 + 1e-9

    def slopes(self, evidence: Evidence, samples: int | None = None) -> Tensor:
        """Return phi'(A_{t-1}) of the steps t = 1 ... T, (T, samples, m)."""
        y, z = self.split(evidence.states[:-1, :samples])
        projected = self.projected(evidence.inputs[:samples]).transpose(0, 1)
        A = projected + y @ self.W.T + z @ self.W2.T
        if self.activation == "tanh":
            return 1 - torch.tanh(A).square()
        return torch.ones_like(A) if self.activation == "identity" else 1 - A.square()

    def split(self, states: Tensor) -> tuple[Tensor, Tensor]:
        """Return y and z of states of the whole chain."""
        return states[..., : self.units], states[..., self.units : 2 * self.units]

    def energy_shares(self, states: Tensor) -> Tensor:
        """Return the largest gamma y'y + z'z of the samples over m t_n, at t = 1 ... T, (T).

        Args:
            states: The whole chain's, (T + 1, samples, size).
        """
        energy = self.energies(states).amax(1)[1:]
        return energy / (self.units * self.dt * torch.arange(1, len(energy) + 1, dtype=energy.dtype))

    def energies(self, states: Tensor) -> Tensor:
        """Return gamma y'y + z'z of states, (T + 1, samples)."""
        y, z = self.split(states)
        return (self.gamma * y.square() + z.square()).sum(2)


def largest_one_step_norm(c: Oscillators, slopes: Tensor) -> float:
    """Return the largest infinity norm of dX_t/dX_{t-1}, X = (y, z), over steps and samples.

    Args:
        c: The chain.
        slopes: phi' at the steps, (..., m).
    """
    dt, force = c.dt, c.delta * c.dt
    own, own2 = c.W.diagonal(), c.W2.diagonal()
    others, others2 = c.W.abs().sum(1) - own.abs(), c.W2.abs().sum(1) - own2.abs()
    size = slopes.abs()
    of_z = force * size * others2 + (kept := (force * slopes * own2 + c.kept).abs())
    velocity = force * (size * others + (slopes * own - c.gamma).abs()) + of_z
    state = (1 + dt * force * (slopes * own - c.gamma)).abs() + dt * (
        force * size * others + force * size * others2 + kept
    )
    return torch.maximum(velocity, state).max().item()


def log10_product_norm(c: Oscillators, slopes: Tensor) -> float:
    """Return log10 of the infinity norm of the product of the one-step Jacobians, in any range of sizes.

    About half a second for 128 units and 1000 steps: one product of (m, 2m) by (2m, 2m) a step.

    Args:
        c: The chain.
        slopes: phi' at the steps of one sequence, (steps, m).
    """
    m = c.units
    both = torch.cat([c.W, c.W2], dim=1)
    X, log = torch.eye(2 * m, dtype=both.dtype), 0.0
    for slope in slopes:
        z = c.kept * X[m:] + c.delta * c.dt * (slope[:, None] * (both @ X) - c.gamma * X[:m])
        X = torch.cat([X[:m] + c.dt * z, z])
        size = X.abs().max().item()
        if not 1e-100 < size < 1e100 and size:
            X, log = X / size, log + math.log10(size)
    norm = X.abs().sum(1).max().item()
    return log + math.log10(norm) if norm else -math.inf


def largest_gradient_entry(c: Oscillators, inputs: Tensor) -> float:
    """Return the largest entry of the gradient of the mean over n and samples of 1/2 ||y_n - target||^2.

    The targets are 1 for y_n < 0 and -1 for others.

    The entries of V are divided by the largest |u|, where that is above 1: a bound cannot hold for inputs of any size.
    """
    with torch.enable_grad():
        parameters = {name: p.detach().clone().requires_grad_() for name, p in c.parameters.items()}
        y = c.outputs(parameters, inputs)
        targets = torch.where(y.detach() < 0, 1.0, -1.0).to(y)
        loss = (y - targets).square().sum(2).mean() / 2
        gradients = torch.autograd.grad(loss, list(parameters.values()), allow_unused=True)
    largest = {n: g.abs().max().item() for n, g in zip(parameters, gradients, strict=True) if g is not None}
    largest["V"] /= max(1.0, inputs.abs().max().item())
    return max(largest.values())


def long_term_share(c: Oscillators, evidence: Evidence) -> tuple[float, float]:
    """Return log10 of the contributions of long ago to dE_n/dW against the order of proposition 3.3, their ends.

    E_n = 1/2 ||y_n||^2 with n = T, for the first sequence. That of step k is an outer product with y_{k-1}, whose size
    cancels.
    """
    slopes = c.slopes(evidence, 1)[:, 0]
    ys, n = c.split(evidence.states[:, 0])[0], len(slopes)
    g_y, g_z = ys[-1], torch.zeros_like(ys[-1])
    shares = []
    for k in range(n, 0, -1):
        velocity = g_z + c.dt * g_y
        through = c.delta * c.dt * slopes[k - 1] * velocity
        if n / 20 <= k <= n / 10 and ys[-1].any():
            order = c.delta * c.dt * n * c.dt * math.cosh(math.sqrt(k * c.dt) * (1 + c.dt)) ** -2
            size = through.abs().max().item() / (order * ys[-1].abs().max().item())
            shares.append(math.log10(size) if size else -math.inf)
        g_y = g_y + through @ c.W - c.delta * c.dt * c.gamma * velocity
        g_z = c.kept * velocity + through @ c.W2
    return (min(shares), max(shares)) if shares else (-math.inf, math.inf)
