r"""Full-capacity uRNN: a complex state, and any unitary matrix, moved on the unitary group by Cayley transforms.

Equation:

    h_t = modrelu(W h_{t-1} + V x_t, b)        modrelu(z, b) = z relu(|z| + b) / |z|
    W <- (I + eta/2 A)^-1 (I - eta/2 A) W,  A = G W^H - W G^H,  G = dL/dRe(W) + i dL/dIm(W)

Shapes: x_t (batch, in); h_t (batch, 2 hidden), hidden complex units as real parts, then imaginary parts; W (2, hidden,
    hidden), its real and its imaginary part; V (2 hidden, in); b (hidden); h_0 (2 hidden). The output is h_t, 2 hidden
    wide.
Parameters: `2 * hidden ** 2 + hidden * (2 * inputs + 3)`. W has hidden^2 degrees of freedom.
Cost per step: `4 * hidden ** 2 + 2 * hidden * inputs` multiply-adds; a linear system of hidden complex equations per
    update.
Init: W Haar distributed. V Glorot uniform, b = 0, h_0 ~ U(-s, s) with s = sqrt(3 / (2 hidden)), as `urnn_arjovsky`.
Stability claim: W^H W = I after every update. Every W can be reached, where the 7 hidden parameters of `urnn_arjovsky`
    do not move its W in all hidden^2 directions of the group beyond hidden = 7 (section 3 of the paper). Where b <= 0
    the Jacobian of a step has norm <= 1, so dh_T/dh_t has. Asserted in tests/models/test_fcurnn.py and
    tests/training/test_cayley_update.py.
Reference: Wisdom, Powers, Hershey, Le Roux, Atlas. Full-Capacity Unitary Recurrent Neural Networks. NeurIPS 2016.
    https://arxiv.org/abs/1611.00035
Differs from the paper: each update ends with a Newton-Schulz step W <- W (3 I - W^H W) / 2, without which rounding
    would add up. The authors' code for MNIST divides G by RMSprop's root mean square before A is formed; here G is as
    it is. |z| is sqrt(re^2 + im^2 + 1e-10), for a finite derivative at 0. W's start in the paper could not be checked.
"""

import torch
from torch import Tensor, nn

from stablebench.models.base import ParameterGroup, State, grouped
from stablebench.models.unitary import random_unitary
from stablebench.models.unitary_rnn import UnitaryRNN, drawn_start
from stablebench.registry import register_model


@register_model
class FullCapacityURNN(UnitaryRNN):
    """See the module docstring for the equation.

    Args:
        in_features: Width of x_t.
        hidden: Complex units of h_t; the output is twice as wide.
    """

    def __init__(self, in_features: int, hidden: int) -> None:
        super().__init__(in_features, hidden)
        W = random_unitary(hidden)
        self.W = nn.Parameter(torch.stack([W.real, W.imag]))
        self.add_input_map()
        self.h_0 = drawn_start(hidden)

    def initial_state(self, batch: int) -> State:
        """Return h_0, which is trained, for each sequence."""
        return (self.h_0.expand(batch, -1),)

    def unitary(self) -> Tensor:
        """Return W, (hidden, hidden), complex."""
        return torch.complex(*self.W)

    def parameter_groups(self) -> list[ParameterGroup]:
        """Return W in `orthogonal`, under the Cayley update, and the rest in `main`."""
        return grouped(self, ParameterGroup("orthogonal", [self.W], rule="cayley"))
