r"""Gated Lipschitz RNN: a gate scales the whole vector field of the Lipschitz RNN, unit by unit, and shares its W.

Equation, A and W as in `lipschitz`:

    h_t = h_{t-1} + epsilon sigmoid(W h_{t-1} + V x_t + d) * (A h_{t-1} + tanh(W h_{t-1} + U x_t + b))

Shapes: x_t (batch, in); h_t (batch, hidden); M_A, M_W (hidden, hidden); U (2 hidden, in) and b (2 hidden) with V and d
    below.
Parameters: `hidden * (2 * hidden + 2 * inputs + 2)`.
Cost per step: `hidden * (2 * hidden + 2 * inputs)` multiply-adds.
Init: as `lipschitz`, for the gate too.
Stability claim: that of `lipschitz` on A's spectrum. Of the gated chain nothing is proved. Asserted in
    tests/models/test_lipschitz.py.
Reference: Erichson, Azencot, Queiruga, Hodgkinson, Mahoney. Lipschitz Recurrent Neural Networks. ICLR 2021.
    https://arxiv.org/abs/2006.12070; the gated form is in the authors' code.
Differs from the paper: as `lipschitz`; the paper has no equation for it.
"""

from stablebench.models.recurrent.lipschitz import Lipschitz
from stablebench.models.registry import register_preset

register_preset(Lipschitz, gated=True)
