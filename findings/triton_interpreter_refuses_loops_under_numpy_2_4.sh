#!/usr/bin/env bash
# One would guess that Triton's interpreter (TRITON_INTERPRET=1), which is there to check kernels where no GPU is, runs a
# kernel with a loop over a count that it is given. With Triton 3.6, the one that torch 2.11 requires, it does under NumPy
# 2.3 and does not under NumPy 2.4: it holds every number as an array of one element, makes a Python number of it for
# `range`, and NumPy 2.4 refuses that for arrays of more than 0 dimensions. Triton states no bound for NumPy.
# triton 3.6.0, numpy 2.3.5 and 2.4.6, torch 2.11.0; https://triton-lang.org/main/programming-guide/chapter-3/debugging.html
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet 'torch==2.11.0' 'triton==3.6.0' 'numpy==2.4.6'

cat > "$work/kernel.py" <<'PY'
import numpy
import torch
import triton
import triton.language as tl


@triton.jit
def add_up(out, count):
    total = 0.0
    for i in range(0, count):
        total += i
    tl.store(out, total)


out = torch.zeros(1)
try:
    add_up[(1,)](out, 4)
    said = f"the sum of 0 ... 3 is {out.item()}"
except Exception as error:
    said = f"{type(error).__name__}: {error}"
print(f"triton {triton.__version__}, numpy {numpy.__version__}: {said}")
PY
export TRITON_INTERPRET=1
newer=$("$work/venv/bin/python" "$work/kernel.py")
"$work/venv/bin/pip" install --quiet 'numpy==2.3.5'
older=$("$work/venv/bin/python" "$work/kernel.py")
printf '%s\n' "$newer" "$older"
[[ $newer == *"only 0-dimensional arrays"* && $older == *"is 6.0" ]]
