r"""IRNN: the Elman network started as the identity, with ReLU.

Equation:

    h_t = relu(W h_{t-1} + V x_t + b)

Shapes: x_t (batch, in), h_t (batch, hidden), W (hidden, hidden), V (hidden, in), b (hidden).
Parameters: `hidden * (hidden + inputs + 1)`.
Cost per step: `hidden * (hidden + inputs)` multiply-adds.
Init: W the unit matrix, V N(0, 0.001^2), b = 0.
Stability claim: at initialisation W keeps norms and the gradient of an active unit does not change; training does not
    keep that.
Reference: Le, Jaitly, Hinton. A Simple Way to Initialize Recurrent Networks of Rectified Linear Units. 2015.
    https://arxiv.org/abs/1504.00941
"""

from stablebench.models.recurrent.rnn import Rnn
from stablebench.models.registry import register_preset

register_preset(Rnn, activation="relu", recurrent_init="identity")
