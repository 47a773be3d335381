"""Layers of linear oscillators y'' = -A y - G y' + B v that do not act on each other, in a block of `blocks.block`.

    z_t = S * (z_{t-1} + k * (B v_t - A * y_{t-1})),    y_t = y_{t-1} + k * z_t

S says which terms are taken at the end of the step: 1 for none, 1 / (1 + k^2 A) for y, 1 / (1 + k G) for the damping.
"""

import abc

import torch
from jaxtyping import Float
from torch import Tensor, nn

from stablebench.models.base import ParameterGroup, State, with_main_group
from stablebench.models.blocks.block import Mix, Norm
from stablebench.models.blocks.in_block import InBlock

Weights = tuple[Float[Tensor, " n"], Float[Tensor, " n"], Float[Tensor, " n"]]


class LinearOscillators(InBlock):
    """n oscillators with positions y and velocities z; the positions are read.

    Subclasses write `constants` and register the parameters that it needs.

    Args:
        in_features: Width of x_t.
        hidden: Width of the block.
        state: n; None for `hidden`.
        layer: Position in the stack.
        norm: Normalisation before the recurrence.
        mix: Map behind it.
        skip: Whether the block's input is added to its output.
    """

    def __init__(
        self, in_features: int, hidden: int, *, state: int | None, layer: int, norm: Norm, mix: Mix, skip: bool
    ) -> None:
        super().__init__(in_features, hidden, state=state, layer=layer, norm=norm, mix=mix, skip=skip)
        n = self.state
        self.steps_hat = nn.Parameter(torch.randn(n) / 2)
        self.B = nn.Parameter(torch.empty(n, hidden).uniform_(-(hidden**-0.5), hidden**-0.5))
        self.C = nn.Parameter(torch.empty(hidden, n).uniform_(-(n**-0.5), n**-0.5))

    @property
    def state_sizes(self) -> tuple[int, ...]:
        """The widths of y and z."""
        return (self.state, self.state)

    def steps(self) -> Float[Tensor, " n"]:
        """Return k, in (0, 1)."""
        return torch.sigmoid(self.steps_hat)

    @abc.abstractmethod
    def constants(self) -> tuple[Tensor, Tensor]:
        """Return A and S, (n,) each."""

    def read(self, v: Float[Tensor, "*steps hidden"]) -> Float[Tensor, "*steps n"]:
        """Return k B v_t."""
        return self.steps() * nn.functional.linear(v, self.B)

    def recurrent_weights(self) -> Weights:
        """Return S, k A and k."""
        A, S = self.constants()
        k = self.steps()
        return S, k * A, k

    def transitions(self) -> Float[Tensor, "n 2 2"]:
        """Return the matrices that take (y, z) of each oscillator to the next step."""
        S, kA, k = self.recurrent_weights()
        velocity = torch.stack([-S * kA, S], dim=-1)
        position = torch.stack([torch.ones_like(k), torch.zeros_like(k)], dim=-1) + k[:, None] * velocity
        return torch.stack([position, velocity], dim=-2)

    def recurrent_matrix(self) -> Float[Tensor, "size size"]:
        """Return the matrix that takes (y_{t-1}, z_{t-1}) to (y_t, z_t)."""
        M = self.transitions()
        rows = [torch.cat([torch.diag(M[:, i, j]) for j in range(2)], dim=1) for i in range(2)]
        return torch.cat(rows)

    def step(self, projected: Float[Tensor, "batch n"], state: State, recurrent_weights: Weights) -> State:
        """Return (y_t, z_t)."""
        y, z = state
        S, kA, k = recurrent_weights
        z = S * (z - kA * y + projected)
        return y + k * z, z

    def readout(self, output: Float[Tensor, "*steps n"]) -> Float[Tensor, "*steps hidden"]:
        """Return C y_t."""
        return nn.functional.linear(output, self.C)

    def parameter_groups(self) -> list[ParameterGroup]:
        """Return `main` and `recurrent`, what makes up the recurrence."""
        own = [p for name, p in self.named_parameters(recurse=False) if name not in ("C", "D")]
        return with_main_group(self, ParameterGroup("recurrent", own))
