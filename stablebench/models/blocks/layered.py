"""Parts of deep models: the widths of their layers, weights of many layers at once, an activated readout."""

import math
from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor, nn

from stablebench.errors import UserError
from stablebench.models.blocks.activations import Activation, activation

Init = Literal["normal", "glorot", "he", "orthogonal"]
"""Weights and biases N(0, 1); or biases 0 and weights U(-a, a) with a^2 = 6 / (inner + outer), N(0, 2 / inner), or
orthogonal with Haar's measure. Glorot & Bengio 2010; He et al. 2015; Saxe et al. 2014."""
Output = Literal["linear", "layer"]
"""An affine map as the readout, or one more layer."""


def hidden_widths(hidden: int, layers: int, widths: list[int] | None) -> list[int]:
    """Return the widths of the hidden layers, of which there are `layers - 2`.

    Args:
        hidden: The width of all of them, or of the last where `widths` are given.
        layers: Layers with the input and the output.
        widths: Their widths one by one.

    Raises:
        UserError: There is no hidden layer, or `widths` say otherwise than `hidden` and `layers`.
    """
    if layers < 3:
        raise UserError(f"`layers` must be >= 3 (an input, a hidden and an output layer), got {layers}.")
    if widths is None:
        return [hidden] * (layers - 2)
    if len(widths) != layers - 2 or widths[-1] != hidden:
        given = f"got {len(widths)} widths, the last {widths[-1]}" if widths else "got none"
        raise UserError(
            f"`widths` must name all hidden layers: {layers - 2} for --layers {layers}, the last of --hidden {hidden}; "
            f"{given}."
        )
    return widths


def equal_shapes(in_features: int, widths: list[int]) -> list[tuple[int, int, int]]:
    """Return the consecutive maps of one shape as (count, inner, outer), from first to last.

    Args:
        in_features: Width of the input, >= 1.
        widths: Widths of the hidden layers.
    """
    groups: list[tuple[int, int, int]] = []
    for inner, outer in pairwise([in_features, *widths]):
        if groups and groups[-1][1:] == (inner, outer):  # only layers of one width can be repeated
            groups[-1] = (groups[-1][0] + 1, inner, outer)
        else:
            groups.append((1, inner, outer))
    return groups


def new_weights(init: Init, count: int, inner: int, outer: int) -> nn.Parameter:
    """Return the weights of `count` maps, (count, outer, inner), drawn from torch's global generator.

    Args:
        init: Distribution; see `Init`.
        count: Number of maps, >= 1.
        inner: Width of a map's input, >= 1.
        outer: Width of its output, >= 1.
    """
    W = torch.empty(count, outer, inner)
    if init == "normal":
        W.normal_()
    elif init == "glorot":
        a = math.sqrt(6 / (inner + outer))
        W.uniform_(-a, a)
    elif init == "he":
        W.normal_(std=math.sqrt(2 / inner))
    else:
        Q, R = torch.linalg.qr(torch.randn(count, max(inner, outer), min(inner, outer)))
        Q = Q * R.diagonal(dim1=1, dim2=2).sign()[:, None, :]  # else it is not Haar's measure (Mezzadri 2007)
        W = Q if outer >= inner else Q.mT
    return nn.Parameter(W.contiguous())


def new_biases(init: Init, count: int, outer: int) -> nn.Parameter:
    """Return the biases of `count` maps, (count, outer), N(0, 1) or 0; see `new_weights`."""
    return nn.Parameter(torch.randn(count, outer) if init == "normal" else torch.zeros(count, outer))


def draw_readout(readout: nn.Linear, init: Init) -> None:
    """Draw a linear readout like the layers."""
    with torch.no_grad():
        readout.weight.copy_(new_weights(init, 1, readout.in_features, readout.out_features)[0])
        readout.bias.copy_(new_biases(init, 1, readout.out_features)[0])


class ActivatedReadout(nn.Linear):
    """A plain layer as the readout: phi(W h + b).

    Args:
        in_features: Width of h.
        out_features: Classes, or width of the target values.
        phi: The activation.
    """

    def __init__(self, in_features: int, out_features: int, phi: Activation) -> None:
        super().__init__(in_features, out_features)
        self.phi: Activation = phi

    def forward(self, input: Tensor) -> Tensor:
        """Return the outputs (batch, out) of states (batch, in)."""
        return activation(self.phi, super().forward(input))


def plain_readout(output: Output, phi: Activation, init: Init, width: int, outputs: int) -> nn.Linear:
    """Return a readout W h + b, or phi of it, drawn like the layers.

    Args:
        output: `linear` for W h + b, `layer` for phi of it.
        phi: The activation.
        init: Distribution of weights and biases; see `Init`.
        width: Width of h.
        outputs: Classes, or width of the target values.
    """
    readout = nn.Linear(width, outputs) if output == "linear" else ActivatedReadout(width, outputs, phi)
    draw_readout(readout, init)
    return readout
