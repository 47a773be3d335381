r"""Gated AntisymmetricRNN: a gate scales the Euler step unit by unit, and shares the antisymmetric matrix.

Equation (section 3.4 of the paper), M = W - W^T - gamma I:

    z_t = sigmoid(M h_{t-1} + V_z x_t + b_z)
    h_t = h_{t-1} + epsilon z_t * tanh(M h_{t-1} + V_h x_t + b_h)

Shapes: x_t (batch, in); h_t, z_t (batch, hidden); W (hidden, hidden) as `antisymmetric`; V (2 hidden, in) and b
    (2 hidden) with the blocks h, z.
Parameters: `hidden * (hidden - 1) / 2 + 2 * hidden * (inputs + 1)`.
Cost per step: `hidden * (hidden + 2 * inputs)` multiply-adds.
Init: as `antisymmetric`, for the gate too.
Stability claim: that of `antisymmetric` on M. The ODE's Jacobian is a positive diagonal matrix times M with the gate's
    and the candidate's parts added: where tanh(M h + V_h x + b_h) > 0 in every unit, its eigenvalues have real parts
    <= 0 as well. Asserted in tests/models/test_antisymmetric.py.
Reference: Chang, Chen, Haber, Chi. AntisymmetricRNN: A Dynamical System View on Recurrent Neural Networks. ICLR 2019.
    https://arxiv.org/abs/1902.09689
Differs from the paper:
    - The same as `antisymmetric`.
    - That shared M keeps the ODE's spectrum on the line is not true at states where a candidate is so negative that
      tanh' sigmoid + tanh sigmoid' < 0 (asserted too).
"""

from stablebench.models.recurrent.antisymmetric import Antisymmetric
from stablebench.models.registry import register_preset

register_preset(Antisymmetric, gated=True)
