#!/usr/bin/env bash
# The residual block of s5-pytorch
#
# One would guess: S5Block, which its source calls a standard block with layer norm first, has residual connections: both
# halves add their input to what they compute, x + f(norm(x)). Then the identity carries values and gradients through any
# number of blocks, which is what residual connections are for, and ten times the input gives about ten times the output.
#
# What happens: each half adds the normalised input, norm(x) + f(norm(x)). Nothing passes a block unnormalised: ten times
# the input gives the same output, the gradient has no component along the input, and with an input of size 100 the
# gradient at the input of one block is a hundredth of what it is with an input of size 1. A stack compared with other
# residual stacks is another architecture, and a value that is added at the bottom (a position, a scale) is lost at once.
#
# Seen with s5-pytorch 0.2.1, torch 2.13.0 (CPU). Source: https://github.com/i404788/s5-pytorch; its README shows the block
# in use and does not say where it skips from. The layers of the original code (https://github.com/lindermanlab/S5) add the
# input as it came.
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet "torch==2.13.0" "s5-pytorch==0.2.1" "numpy>=1.26"

"$work/venv/bin/python" - <<'PYTHON'
import sys

import torch
from s5 import S5Block

print(f"torch {torch.__version__}, s5-pytorch 0.2.1")
torch.manual_seed(0)
block = S5Block(16, 16, bidir=False)
x, weights = torch.randn(1, 40, 16), torch.randn(1, 40, 16)


def output_and_gradient(scale):
    scaled = (scale * x).requires_grad_()
    y = block(scaled)
    return y.detach(), torch.autograd.grad((weights * y).sum(), scaled)[0]


y, gradient = output_and_gradient(1.0)
larger, _ = output_and_gradient(10.0)
_, far = output_and_gradient(100.0)
along = (gradient * x).sum().abs() / (gradient.norm() * x.norm())
change, ratio = (larger - y).abs().max() / y.abs().max(), far.norm() / gradient.norm()
print(f"output for 10 x: differs from that for x by {change:.0e} of its size")
print(f"gradient: its part along x is {along:.0e} of it; for 100 x it is {ratio:.4f} times as large")
sys.exit(0 if change < 1e-4 and along < 1e-4 and 0.005 < ratio < 0.02 else 1)
PYTHON
