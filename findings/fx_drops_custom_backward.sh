#!/usr/bin/env bash
# torch.fx and the derivative that a user wrote
#
# One would guess: torch.fx.symbolic_trace returns a module that is the same function, with the same gradient, or raises
# where it cannot. A straight-through sign (an autograd.Function whose forward is sign and whose backward is the
# identity), a gate under torch.no_grad() and a gate under torch.set_grad_enabled(False) are everyday parts of recurrent
# and spiking cells.
#
# What happens: all three trace without a word. The values are equal. The gradients are not: the trace runs the forward of
# the Function on proxies, so what is recorded is sign itself, whose gradient is zero; and the two grad-mode blocks run
# while tracing, not when the graph runs, so the gate that was constant is differentiated. A network that is traced once
# (to fuse, quantise or count it) and then trained learns something else than what was written.
#
# Seen with torch 2.13.0 (CPU). Sources: https://github.com/pytorch/pytorch/issues/62043 reported the no_grad case in 2021;
# the list of limits in the documentation of torch.fx (control flow, other libraries' functions, constructors, training
# flags) has neither derivatives nor grad mode.
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet "torch==2.13.0" "numpy>=1.26"

"$work/venv/bin/python" - <<'PYTHON'
import sys

import torch
from torch import fx, nn


class StraightThrough(torch.autograd.Function):
    @staticmethod
    def forward(ctx, v):
        return torch.sign(v)

    @staticmethod
    def backward(ctx, g):
        return g


class Sign(nn.Module):
    def forward(self, h):
        return StraightThrough.apply(torch.tanh(h))


class NoGrad(nn.Module):
    def forward(self, h):
        with torch.no_grad():
            gate = torch.sigmoid(h)
        return gate * h


class GradOff(nn.Module):
    def forward(self, h):
        with torch.set_grad_enabled(False):
            gate = torch.sigmoid(h)
        return gate * h


def value_and_gradient(module):
    h = torch.tensor([-1.0, 0.5, 2.0], requires_grad=True)
    y = module(h)
    y.sum().backward()
    return y.detach(), h.grad


print(f"torch {torch.__version__}")
surprises = 0
for cls in (Sign, NoGrad, GradOff):
    (y, g), (traced_y, traced_g) = value_and_gradient(cls()), value_and_gradient(fx.symbolic_trace(cls()))
    print(f"{cls.__name__:8} values equal: {torch.equal(y, traced_y)}; gradient {g.tolist()}, of the trace {traced_g.tolist()}")
    surprises += torch.equal(y, traced_y) and not torch.allclose(g, traced_g)
sys.exit(0 if surprises == 3 else 1)
PYTHON
