"""The activations that models share, by name."""

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

Activation = Literal["tanh", "relu", "abs", "leaky_relu", "identity"]

_FUNCTIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "tanh": torch.tanh,
    "relu": torch.relu,
    "abs": torch.abs,
    "leaky_relu": torch.nn.functional.leaky_relu,
    "identity": lambda x: x,
}


def activation(name: Activation, x: Tensor) -> Tensor:
    """Return the activation `name` of x, elementwise; leaky_relu has slope 0.01 below 0."""
    return _FUNCTIONS[name](x)


def modrelu(x: Tensor, bias: Tensor) -> Tensor:
    """Return sign(x) relu(|x| + bias), Arjovsky, Shah & Bengio 2016 for real x; derivative 0 or 1.

    Args:
        x: Any shape (..., n).
        bias: One threshold per unit, (n,).
    """
    return torch.sign(x) * torch.relu(x.abs() + bias)


def positive(x: Tensor) -> Tensor:
    """Return x + 1/2 for x >= 0 and sigmoid(x) below, elementwise (Feng et al. 2024): always > 0, continuous."""
    above = torch.relu(x)
    return above + torch.sigmoid(x - above)
