"""Whole passes of an engine, forward and backward, to be held against each other."""

from typing import Any, Literal

import torch
from torch import Tensor

from stablebench.models import recurrent_model
from stablebench.models.base import RecurrentModel, layer_outputs

Outputs = Literal["every", "last"]


def everything(run: Any, model: RecurrentModel, steps: int, outputs: Outputs, dtype: torch.dtype) -> list[Tensor]:
    """Return outputs, the last state, and the gradients of inputs, first state and parameters, in float64."""
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(4, steps, model.in_features, generator=generator).to(dtype).requires_grad_()
    state = tuple(torch.randn(4, n, generator=generator).to(dtype).requires_grad_() for n in model.state_sizes)
    model.zero_grad()
    y, after = run(model, x, state, outputs)
    y = layer_outputs(model, y, x if outputs == "every" else x[:, -1])
    weights = torch.randn(y.shape, generator=generator).to(dtype)
    torch.autograd.backward((y * weights).sum() + after[0].square().sum())
    found = [y, *after, x.grad, *(s.grad for s in state), *(p.grad for p in model.parameters())]
    return [torch.zeros(()) if t is None else t.detach().double() for t in found]


def assert_the_same(found: list[Tensor], expected: list[Tensor]) -> None:
    for a, b in zip(found, expected, strict=True):
        scale = 1 + b.abs().max()
        torch.testing.assert_close(a / scale, b / scale, rtol=0, atol=1e-10)


def assert_as_exact(run: Any, model: RecurrentModel, steps: int, times: float = 3, more: float = 1e-6) -> None:
    """Hold the error in float32 against that of the reference engine.

    Args:
        run: The engine.
        model: The model.
        steps: Time steps.
        times: How many times the reference's error it may be.
        more: What is added to that, relative to the largest number.
    """
    ours = everything(run, model.float(), steps, "every", torch.float32)
    theirs = everything(recurrent_model.run_steps, model, steps, "every", torch.float32)
    exact = everything(recurrent_model.run_steps, model.double(), steps, "every", torch.float64)
    for a, b, truth in zip(ours, theirs, exact, strict=True):
        scale = 1 + truth.abs().max()
        assert (a - truth).abs().max() / scale <= times * (b - truth).abs().max() / scale + more
