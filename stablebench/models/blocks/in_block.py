"""State space layers: a linear recurrence that reads and writes through matrices, inside a block of `blocks.block`.

v_t = norm(u_t) is what the recurrence reads,  y_t = readout(h_t) + D * v_t  what the block mixes and adds to u_t
"""

import abc

import torch
from jaxtyping import Float
from torch import Tensor, nn

from stablebench.models.base import RecurrentModel
from stablebench.models.blocks.block import Block, Mix, Norm


class InBlock(RecurrentModel):
    """A recurrence of n states inside a block, whose width is that of the output.

    Subclasses write `read`, `readout`, `recurrent_weights` and `step` or, where the recurrence is diagonal, `terms`.

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
        super().__init__(in_features, hidden)
        self.state = hidden if state is None else state
        self.block = Block(in_features, hidden, layer=layer, norm=norm, mix=mix, skip=skip)
        self.D = nn.Parameter(torch.randn(hidden))

    @property
    def out_features(self) -> int:
        """The width of the block."""
        return self.hidden

    @abc.abstractmethod
    def read(self, v: Float[Tensor, "*steps hidden"]) -> Float[Tensor, "*steps _"]:
        """Return what enters the recurrence of v_t."""

    @abc.abstractmethod
    def readout(self, output: Float[Tensor, "*steps _"]) -> Float[Tensor, "*steps hidden"]:
        """Return what is read from the output state."""

    def input_projection(self, x: Float[Tensor, "batch time in"]) -> Float[Tensor, "batch time _"]:
        """Return what enters the recurrence, of all time steps."""
        return self.read(self.block.read(x))

    def layer_output(
        self, output: Float[Tensor, "*steps _"], x: Float[Tensor, "*steps in"]
    ) -> Float[Tensor, "*steps hidden"]:
        """Return o_t."""
        u = self.block.stream(x)
        return self.block.merge_residual(self.readout(output) + self.D * self.block.norm(u), u)


def complex_pair(*shape: int, variance: float) -> nn.Parameter:
    """Return real and imaginary parts, (2, *shape), of complex normal numbers with E|z|^2 = variance."""
    return nn.Parameter(torch.randn(2, *shape) * (variance / 2) ** 0.5)


def inverse_softplus(y: Tensor) -> Tensor:
    """Return x > 0 with softplus(x) = y."""
    return y + torch.log(-torch.expm1(-y))
