"""Compares a model with a loop that is written out in its test: outputs and all gradients, in float64."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from stablebench.models.base import RecurrentModel


def assert_is(model: RecurrentModel, literal: Callable[[Tensor], Tensor], steps: int = 7) -> None:
    """Check that a model computes what a loop does for one sequence.

    Args:
        model: The model, in float64.
        literal: Takes x (time, in) to the outputs (time, out), from the model's own parameters.
        steps: Time steps.
    """
    x = torch.randn(3, steps, model.in_features, requires_grad=True)
    parameters = [p for p in model.parameters() if p.requires_grad]
    expected = torch.stack([literal(sequence) for sequence in x])
    weights = torch.randn_like(expected)
    wanted = torch.autograd.grad((expected * weights).sum(), [x, *parameters])
    found, _ = model(x)
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-12)
    for mine, other in zip(torch.autograd.grad((found * weights).sum(), [x, *parameters]), wanted, strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-9, atol=1e-12)


def blocked(model: Any, x: Tensor, layer: Callable[[Tensor], Tensor]) -> Tensor:
    """Return u + GLU(gelu(y)) of y = layer(LayerNorm(u)), written out; x is (time, in)."""
    block = model.block
    u = x @ block.encoder.weight.T + block.encoder.bias
    centred = u - u.mean(-1, keepdim=True)
    v = centred / torch.sqrt(centred.square().mean(-1, keepdim=True) + 1e-5) * block.norm.weight + block.norm.bias
    y = layer(v)
    y = y * (1 + torch.erf(y / 2**0.5)) / 2
    value, opening = (y @ block.gate.weight.T + block.gate.bias).chunk(2, dim=-1)
    return u + value / (1 + torch.exp(-opening))


def scrambled(model: nn.Module) -> None:
    """Give the parameters that start as constants other values, so that they cannot be mistaken for each other."""
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.numel() > 1 and (parameter == parameter.flatten()[0]).all():
                parameter.add_(0.3 * torch.randn_like(parameter))
