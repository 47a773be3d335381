r"""How sensitive the state is to the parameters, against the number of steps: the curse of memory.

    S_t = (E ||ds_t/dtheta||_F^2)^(1/2)        the expectation is the mean over samples

theta are all parameters below the readout, as they are trained: of a matrix that is built from angles, the angles. S_t
grows with the memory of a network even where no gradient in the states explodes: of h_t = lambda h_{t-1} + x_t with
white x of variance 1 the part of lambda is, for t -> infinity,

    E (dh_t/dlambda)^2 = (1 + lambda^2) / (1 - lambda^2)^3,    that of b is 1 / (1 - lambda)^2.

One forward-mode pass gives a direction u of the parameters for all t at once, d_t = J_t d_{t-1} + (df/dtheta) u; with
standard normal u, E_u ||d_t||^2 = ||ds_t/dtheta||_F^2. With no more parameters than directions, or than eight, u are
the unit vectors and the sum is exact. What is kept of the pass does not depend on the number of steps.

Reference: Zucchet, Orvieto. Recurrent neural networks: vanishing and exploding gradients are not the end of the story.
NeurIPS 2024. https://arxiv.org/abs/2405.21064
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.autograd import forward_ad

from stablebench.models.claims.claim import DECADE
from stablebench.models.network import AnyNetwork
from stablebench.probes.chain import chain_of
from stablebench.probes.forward_rules import load_forward_rules

_DIRECTIONS = 2
"""Directions of the parameters."""
_EXACT = 8
"""Parameters up to which all directions are taken."""
_SATURATED, _EXPLODES = 0.1, 8.0
"""Powers of t between T / 2 and T: below the first nothing grows; a memory of all t steps gives 1 or 1.5."""
Growth = Literal["saturated", "grows", "explodes", "undecided"]


@dataclass(frozen=True)
class Sensitivity:
    """The sensitivity of the states to the parameters.

    Args:
        squares: ||ds_t/dtheta||_F^2 for t = 1 ... T, of each direction (directions, samples, T), their mean being
            the estimate; inf beyond float64.
        parameters: How many theta has.
        exact: Whether the directions are all there are.
    """

    squares: Tensor
    parameters: int
    exact: bool

    @property
    def curve(self) -> Tensor:
        """S_t for t = 1 ... T, (T)."""
        return self.squares.mean((0, 1)).sqrt()

    @property
    def relative_error(self) -> float | None:
        """The standard error of S_T relative to it, from the spread over directions; 0 where it is exact."""
        if self.exact:
            return 0.0
        if len(self.squares) < 2:
            return None
        last = self.squares[:, :, -1].mean(1)
        error = (last.std() / math.sqrt(len(last)) / last.mean() / 2).item()
        return error if math.isfinite(error) else None

    @property
    def power(self) -> float | None:
        """The power of t with which S_t grows between T / 2 and T; None where that is not defined."""
        curve, T = self.curve, len(self.curve)
        if T < 4:
            return None
        half = T // 2
        value = ((curve[-1] / curve[half - 1]).log() / math.log(T / half)).item()
        return value if math.isfinite(value) else None

    @property
    def growth(self) -> Growth:
        """What becomes of the sensitivity with longer memory: the power of t between T / 2 and T, in a word.

        Saturated below 0.1; explodes above 8, or beyond float64: then it is no question of memory, but one of states
        that part.
        """
        if not bool(self.curve.isfinite().all()):
            return "explodes"
        if self.power is None:
            return "undecided"
        return "saturated" if self.power < _SATURATED else "explodes" if self.power > _EXPLODES else "grows"

    def document(self) -> dict[str, Any]:
        """Return a JSON-serialisable dict; `log10` has log10 S_t, None for 0 and beyond float64."""
        return {
            "t": list(range(1, len(self.curve) + 1)),
            "log10": [v if math.isfinite(v) else None for v in (self.curve.log() / DECADE).tolist()],
            "relative_error": self.relative_error,
            "power": self.power,
            "growth": self.growth,
            "parameters": self.parameters,
            "exact": self.exact,
        }


class _Within(nn.Module):
    """A network whose parameters are replaced while a function of it runs."""

    def __init__(self, network: AnyNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(self, function: Callable[[AnyNetwork], Tensor]) -> Tensor:
        return function(self.network)


def sensitivity(network: AnyNetwork, inputs: Tensor, directions: int = _DIRECTIONS) -> Sensitivity | None:
    """Return the sensitivity of a network's states to its parameters; None where it has none below the readout.

    Args:
        network: As `frozen` returns it.
        inputs: What it takes, (samples, ...).
        directions: Random directions of the parameters, >= 2; all unit vectors where there are no more parameters.

    Raises:
        NotImplementedError: An operation of the model has no forward derivative.
    """
    prefix = "network."
    below = {f"{prefix}{name}": p for name, p in network.named_parameters() if not name.startswith("head.")}
    count = sum(p.numel() for p in below.values())
    if not count:
        return None
    exact = count <= max(directions, _EXACT)
    rng = torch.Generator().manual_seed(0)
    rows = []
    load_forward_rules()
    for number in range(count if exact else directions):
        flat = torch.randn(count, generator=rng, dtype=torch.float64)
        if exact:
            flat = torch.zeros(count, dtype=torch.float64)
            flat[number] = math.sqrt(count)  # the mean over the directions is then the sum
        rows.append(_along(network, inputs, below, flat))
    return Sensitivity(torch.stack(rows), count, exact)


def _along(network: AnyNetwork, inputs: Tensor, below: Mapping[str, Tensor], flat: Tensor) -> Tensor:
    """Return ||(ds_t/dtheta) u||^2 for t = 1 ... T, (samples, T)."""

    def swept(network: AnyNetwork) -> Tensor:
        chain = chain_of(network, inputs)
        state, squares = chain.initial(), []
        for t in range(1, chain.steps + 1):
            state = chain.step(t, state)
            moved = forward_ad.unpack_dual(state).tangent
            squares.append(state.new_zeros(len(state)) if moved is None else moved.square().sum(1))
        return torch.stack([forward_ad.unpack_dual(part).primal for part in squares], dim=1)

    pieces = flat.split([p.numel() for p in below.values()])
    with torch.no_grad(), forward_ad.dual_level():
        duals = {
            name: forward_ad.make_dual(p, piece.view(p.shape).to(p.dtype))
            for (name, p), piece in zip(below.items(), pieces, strict=True)
        }
        return torch.func.functional_call(_Within(network), duals, (swept,))
