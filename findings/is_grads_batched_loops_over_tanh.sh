#!/usr/bin/env bash
# One would guess that torch.autograd.grad(y, x, vectors, is_grads_batched=True), whose page says that it uses vmap, takes
# all vectors through the derivative of tanh at once, as torch.vmap over the same call does. It does not: the older
# prototype of vmap behind the option has no rule for aten::tanh_backward and runs it once for each vector, 256 times for
# 256 vectors, without a warning; torch.vmap runs it once, with the same values. For the
# Jacobian of a recurrent step of many units the option is a loop.
# torch 2.13.0; https://docs.pytorch.org/docs/stable/generated/torch.autograd.grad.html
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet 'torch==2.13.*' numpy

"$work/venv/bin/python" - <<'PY'
import torch
from torch.profiler import profile

n = 256
x = torch.randn(1, n, dtype=torch.float64, requires_grad=True)
y = torch.tanh(x)
vectors = torch.eye(n, dtype=torch.float64)[:, None]


def batched():
    return torch.autograd.grad(y, x, vectors, is_grads_batched=True, retain_graph=True)[0]


def mapped():
    return torch.vmap(lambda v: torch.autograd.grad(y, x, v, retain_graph=True)[0])(vectors)


def calls(function):
    with profile() as seen:
        function()
    return sum(event.count for event in seen.key_averages() if event.key == "aten::tanh_backward")


assert torch.equal(batched(), mapped())
loop, once = calls(batched), calls(mapped)
print(f"torch {torch.__version__}: tanh_backward ran {loop} times with is_grads_batched, {once} with torch.vmap")
raise SystemExit(0 if loop >= n and once == 1 else 1)
PY
