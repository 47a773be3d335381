#!/usr/bin/env bash
# A liquid S5 layer that is run piece by piece
#
# One would guess: S5(..., liquid=True) of s5-pytorch returns its state with return_state=True and takes it back with
# state=, so that a long sequence can be read in pieces (truncated backpropagation, streams), with the outputs of the whole
# one, as they are for liquid=False; and initial_state(batch) gives the state to begin with.
#
# What happens: with liquid=True the outputs are other ones from the first step of the second piece on, without a word. The
# transition of a liquid layer depends on the input, Lambda + B u; the given state is multiplied by Lambda alone, so that
# each piece loses the input's part in its first step. One step after the other (forward_rnn) the same weights give the
# outputs of the whole sequence. initial_state raises an AttributeError for both kinds, so that the state is left out, or
# zeros are made by hand.
#
# Seen with s5-pytorch 0.2.1, torch 2.13.0 (CPU). Source: https://github.com/i404788/s5-pytorch; the liquid form is that of
# Hasani et al. 2022 (arXiv:2209.12951), equation 8.
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet "torch==2.13.0" "s5-pytorch==0.2.1" "numpy>=1.26"

"$work/venv/bin/python" - <<'PYTHON'
import sys

import torch
from s5 import S5

print(f"torch {torch.__version__}, s5-pytorch 0.2.1")
torch.manual_seed(0)
x, surprises = torch.randn(2, 40, 8), 0
for liquid in (False, True):
    layer = S5(8, 8, liquid=liquid)
    try:
        layer.initial_state(2)
        begins = "has an initial state"
    except AttributeError as error:
        begins = f"initial_state: AttributeError, {error}"
        surprises += 1
    with torch.no_grad():
        whole = layer(x)
        first, state = layer(x[:, :20], return_state=True)
        second, _ = layer(x[:, 20:], state=state, return_state=True)
        h, looped = torch.zeros(8, dtype=torch.complex64), []
        for x_t in x[0]:
            y, h = layer.seq.forward_rnn(x_t, h)
            looped.append(y)
    pieces = (second - whole[:, 20:]).abs().max()
    loop = (torch.stack(looped) - whole[0]).abs().max()
    print(f"liquid={liquid}: second half against the whole {pieces:.0e}, a loop against it {loop:.0e}; {begins}")
    surprises += loop < 1e-5 and (pieces > 1e-4 if liquid else pieces < 1e-5)
sys.exit(0 if surprises == 4 else 1)
PYTHON
