r"""How sensitive the state is to the parameters, against the number of steps: the curse of memory.

    S_t = (E ||ds_t/dtheta||_F^2)^(1/2)        the expectation is the mean over samples

theta are all parameters below the readout, as they are trained: of a matrix that is built from angles, the angles. S_t
grows with the memory of a network even where no gradient in the states explodes: of h_t = lambda h_{t-1} + x_t with
white x of variance 1 the part of lambda is, for t -> infinity,

    E (dh_t/dlambda)^2 = (1 + lambda^2) / (1 - lambda^2)^3,    that of b is 1 / (1 - lambda)^2.

A direction u of the parameters moves all s_t by d_t = J_t d_{t-1} + (df/dtheta) u; with standard normal u,
E_u ||d_t||^2 = ||ds_t/dtheta||_F^2. With no more parameters than directions, or than eight, u are the unit vectors and
the sum is exact. The steps are taken in pieces, so that memory does not depend on their number; of a piece,
(df/dtheta) u is computed for all steps at once, and the recurrence is the derivative of a derivative (`linearised`).
Where an operation has no second derivative, and over layers, it is one pass in forward mode.

Reference: Zucchet, Orvieto. Recurrent neural networks: vanishing and exploding gradients are not the end of the story.
NeurIPS 2024. https://arxiv.org/abs/2405.21064
"""

import copy
import math
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from stablebench.models.claims.claim import DECADE
from stablebench.models.network import AnyNetwork, Network
from stablebench.probes.chain import Chain
from stablebench.probes.forward_rules import forward_squares
from stablebench.probes.linearised import Linearised, check_differentiable_twice

_DIRECTIONS = 2
"""Directions of the parameters."""
_STEPS_AT_ONCE = 50
"""Steps whose graph is kept."""
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


def sensitivity(network: AnyNetwork, inputs: Tensor, directions: int = _DIRECTIONS) -> Sensitivity | None:
    """Return the sensitivity of a network's states to its parameters; None where it has none below the readout.

    Args:
        network: As `frozen` returns it.
        inputs: What it takes, (samples, ...).
        directions: Random directions of the parameters, >= 2; all unit vectors where there are no more parameters.

    Raises:
        NotImplementedError: An operation of the model has neither a second derivative nor a forward one.
    """
    below = {name: p for name, p in network.named_parameters() if not name.startswith("head.")}
    count = sum(p.numel() for p in below.values())
    if not count:
        return None
    exact = count <= max(directions, _EXACT)
    rng = torch.Generator().manual_seed(0)
    rows = []
    for number in range(count if exact else directions):
        flat = torch.randn(count, generator=rng, dtype=torch.float64)
        if exact:
            flat = torch.zeros(count, dtype=torch.float64)
            flat[number] = math.sqrt(count)  # the mean over the directions is then the sum
        pieces = flat.split([p.numel() for p in below.values()])
        rows.append([piece.view(p.shape).to(p.dtype) for p, piece in zip(below.values(), pieces, strict=True)])
    if isinstance(network, Network):
        try:
            return Sensitivity(_by_recurrence(network, inputs, list(below), rows), count, exact)
        except RuntimeError:  # an operation without a second derivative
            pass
    squares = [forward_squares(network, inputs, dict(zip(below, row, strict=True))) for row in rows]
    return Sensitivity(torch.stack(squares), count, exact)


def _by_recurrence(network: Network, inputs: Tensor, names: list[str], rows: list[list[Tensor]]) -> Tensor:
    """Return ||(ds_t/dtheta) u||^2 for t = 1 ... T of each direction u, (directions, samples, T).

    A piece of the steps at a time: what they have of theta is computed for all of them at once, from the states.
    """
    free = Chain(network, inputs)
    tracked = copy.deepcopy(network).requires_grad_()
    parameters: list[Tensor] = [dict(tracked.named_parameters())[name] for name in names]
    with torch.enable_grad():
        chain = Chain(tracked, inputs)
        start = _pulled_back(chain.initial(), parameters)
    state = free.initial()
    moved = [_along(*start, row) for row in rows]
    squares: list[list[Tensor]] = [[] for _ in rows]
    for first in range(1, free.steps + 1, _STEPS_AT_ONCE):
        piece = Linearised(free, first, state, min(_STEPS_AT_ONCE, free.steps + 1 - first))
        with torch.enable_grad():
            after = _pulled_back(chain.many(torch.cat([state[None], piece.states[:-1]]), first), parameters)
        for number, row in enumerate(rows):
            d = piece.push(_along(*after, row), moved[number])
            squares[number].append(d.square().sum(2))
            moved[number] = d[-1]
        state = piece.states[-1]
    return torch.stack([torch.cat(parts).T for parts in squares])


def _pulled_back(value: Tensor, parameters: list[Tensor]) -> tuple[Tensor, list[Tensor | None]]:
    """Return a cotangent of a value, and the derivatives in the parameters as linear functions of it, None for 0."""
    cotangent = torch.zeros_like(value).requires_grad_()
    if not value.requires_grad:
        return cotangent, [None] * len(parameters)
    pulled = torch.autograd.grad(value, parameters, cotangent, create_graph=True, allow_unused=True)
    check_differentiable_twice(pulled)
    return cotangent, [g if g is not None and g.requires_grad else None for g in pulled]


def _along(cotangent: Tensor, pulled: list[Tensor | None], direction: list[Tensor]) -> Tensor:
    """Return the derivative of a value along a direction of the parameters, from what `_pulled_back` returned."""
    pairs = [(g, u) for g, u in zip(pulled, direction, strict=True) if g is not None]
    if not pairs:
        return torch.zeros_like(cotangent)
    parts, along = zip(*pairs, strict=True)
    return torch.autograd.grad(parts, cotangent, along, retain_graph=True, materialize_grads=True)[0]
