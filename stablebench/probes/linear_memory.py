r"""How long a network remembers as the linear network that it is near its own states.

At steps t spread evenly over the chain, the first sample's state there: Theta = ds_t/ds_{t-1}, and v an orthonormal
basis of the directions in which x_t moves s_t (the left singular vectors of ds_t/dx_t, the strongest at most eight;
where nothing comes in, all directions of the state). Then `fisher_memory`: the Fisher memory curve J(k),
averaged over the columns of v, with unit noise on every unit for T steps, T being the length of the chain; its area, at
most the network's size; and the linear memory capacity of a signal along the first column, a numerical rank.

Noise for ever has no limit where the spectral radius is 1 or more, and just below 1 a radius that differs in the fourth
digit would change the area by a factor of a hundred. With T steps of noise all networks on a task can be compared.
"""

import statistics
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from stablebench.errors import StablebenchError
from stablebench.probes.fisher_memory import fisher_memory, linear_memory_capacity
from stablebench.probes.spectra import sampled_steps, step_jacobian
from stablebench.probes.state_chain import StateChain

_DIRECTIONS = 8
"""Directions of the input, at most."""
_RANK = 1e-9
"""Singular value of ds_t/dx_t, relative to the largest, below which a direction is none."""
_LONGEST = 1000
"""Lags looked at, at most."""


@dataclass(frozen=True)
class StepMemory:
    """The memory of the network linearised at one step.

    Args:
        step: t.
        radius: Spectral radius of Theta.
        horizon: Steps of noise: the chain's.
        curve: J(0) ... J(lags), (lags + 1); None where it cannot be computed.
        capacity: The linear memory capacity, without noise: how many of the inputs of the past are told apart in
            float64, however faint, so a numerical rank; None where responses exceed it.
        reason: Why there is no curve.
    """

    step: int
    radius: float
    horizon: int
    curve: Tensor | None
    capacity: float | None
    reason: str = ""

    @property
    def area(self) -> float | None:
        """The sum of the curve over the lags looked at."""
        return None if self.curve is None else self.curve.sum().item()


@dataclass(frozen=True)
class LinearMemory:
    """The memory of a network linearised at several steps.

    Args:
        steps: Each.
        lags: The longest lag looked at.
    """

    steps: list[StepMemory]
    lags: int

    @property
    def curve(self) -> Tensor | None:
        """The median of the curves over the steps, (lags + 1); None where no step has one."""
        curves = [step.curve for step in self.steps if step.curve is not None]
        return torch.stack(curves).quantile(0.5, dim=0) if curves else None

    @property
    def area(self) -> float | None:
        """The median of the areas."""
        return _median([step.area for step in self.steps])

    @property
    def capacity(self) -> float | None:
        """The median of the capacities."""
        return _median([step.capacity for step in self.steps])

    def document(self) -> dict[str, Any]:
        """Return a JSON-serialisable dict."""
        curve = self.curve
        return {
            "lags": self.lags,
            "fisher_curve": None if curve is None else curve.tolist(),
            "area": self.area,
            "linear_capacity": self.capacity,
            "steps": [
                {
                    "step": s.step,
                    "spectral_radius": s.radius,
                    "horizon": s.horizon,
                    "area": s.area,
                    "linear_capacity": s.capacity,
                    "fisher_curve": None if s.curve is None else s.curve.tolist(),
                    "reason": s.reason,
                }
                for s in self.steps
            ],
        }


def _median(values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return statistics.median(known) if known else None


def linear_memory(chain: StateChain, states: Tensor) -> LinearMemory:
    """Return the memory of a chain's network, linearised at its first sample's states.

    Args:
        chain: The chain.
        states: `chain.states()`.
    """
    lags = min(chain.steps, _LONGEST)
    memories = [_at(chain, states, t, lags) for t in sampled_steps(chain) if t > 1 or chain.size == chain.inner_size]
    return LinearMemory(memories, lags)


def _at(chain: StateChain, states: Tensor, t: int, lags: int) -> StepMemory:
    theta, v = step_jacobian(chain, states, t), input_directions(chain, states, t)
    radius = torch.linalg.eigvals(theta).abs().max().item()
    curve = capacity = None
    reason = ""
    try:
        curve = fisher_memory(theta, v, lags, chain.steps).curve
    except StablebenchError as error:
        reason = str(error)
    with suppress(StablebenchError):
        capacity = linear_memory_capacity(theta, v[:, 0], min(lags, 2 * len(theta))).sum().item()
    return StepMemory(t, radius, chain.steps, curve, capacity, reason)


def input_directions(chain: StateChain, states: Tensor, t: int) -> Tensor:
    """Return orthonormal directions in which x_t moves s_t of the first sample, (n, m), the strongest first."""
    everywhere = torch.eye(chain.own_size, dtype=states.dtype)
    if chain.inputs is None:
        return everywhere
    traced = chain.trace(t, states[t - 1])
    assert traced.x is not None
    if not traced.after.requires_grad:
        return everywhere
    with torch.enable_grad():
        after = traced.after[0]
        entries = (after if chain.own_units is None else after[chain.own_units]).unbind()
    columns = []
    for entry in entries:
        (row,) = torch.autograd.grad(entry, traced.x, retain_graph=True, allow_unused=True)
        if row is None:
            return everywhere
        columns.append(row[0])
    U, s, _ = torch.linalg.svd(torch.stack(columns), full_matrices=False)
    kept = min(int((s > _RANK * s.max()).sum()), _DIRECTIONS)
    return U[:, :kept] if kept else everywhere
