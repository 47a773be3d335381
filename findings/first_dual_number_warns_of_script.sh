#!/usr/bin/env bash
# One would guess that forward-mode derivatives of torch.autograd.forward_ad, which call nothing that is deprecated, pass
# in a program or test suite that turns warnings into errors. They do not: the first make_dual of a process compiles 18
# rules with torch.jit.script, which torch itself deprecates, so that it warns 18 times of a function that the caller
# never used. With torch 2.11 and 2.13 the category is DeprecationWarning, which Python hides outside of the main module; with
# 2.14.1 it is FutureWarning, which everybody sees. The second make_dual warns of nothing.
# torch 2.13.0; https://docs.pytorch.org/docs/stable/generated/torch.autograd.forward_ad.make_dual.html
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet 'torch==2.13.*' numpy

"$work/venv/bin/python" - <<'PY'
import warnings

import torch
from torch.autograd import forward_ad


def categories():
    with warnings.catch_warnings(record=True) as seen, forward_ad.dual_level():
        warnings.simplefilter("always")
        forward_ad.make_dual(torch.zeros(1), torch.zeros(1))
    return [one.category.__name__ for one in seen if "torch.jit.script" in str(one.message)]


first, second = categories(), categories()
print(f"torch {torch.__version__}: the first make_dual warns {len(first)} times ({set(first)}), the second {len(second)}")
raise SystemExit(0 if first and not second else 1)
PY
