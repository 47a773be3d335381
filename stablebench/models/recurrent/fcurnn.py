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
Init: h_0 ~ U(-s, s) with s = sqrt(3 / (2 hidden)), as `urnn_arjovsky`. `init` paper: W Haar distributed, V Glorot
    uniform with fan-out hidden, b = 0. `init` code, the authors': W as the product that `urnn_arjovsky` starts from, V
    with fan-out 2 hidden, b ~ U(-0.01, 0.01), and a readout that starts Glorot uniform with bias 0.
Stability claim: W^H W = I after every update. Every W can be reached, where the 7 hidden parameters of `urnn_arjovsky`
    do not move its W in all hidden^2 directions of the group beyond hidden = 7 (section 3 of the paper). Where b <= 0
    the Jacobian of a step has norm <= 1, so dh_T/dh_t has. Asserted in tests/models/test_fcurnn.py and
    tests/training/test_cayley_update.py.
Reference: Wisdom, Powers, Hershey, Le Roux, Atlas. Full-Capacity Unitary Recurrent Neural Networks. NeurIPS 2016.
    https://arxiv.org/abs/1611.00035
Differs from the paper:
    - Each update ends with a Newton-Schulz step W <- W (3 I - W^H W) / 2, without which rounding would add up.
    - The authors' code for MNIST divides G by RMSprop's root mean square before A is formed; here G is as it is.
    - That code has W in its real form, where each entry appears twice, and forms A of the gradient of one of the two:
      about half of G, so that its learning rate of W is about twice ours.
    - |z| is sqrt(re^2 + im^2 + 1e-10), for a finite derivative at 0.
    - The paper's initial W could not be checked.
"""

import math

import torch
from jaxtyping import Complex
from torch import Tensor, nn

from stablebench.models.base import ParameterGroup, with_main_group
from stablebench.models.blocks.unitary import random_unitary
from stablebench.models.blocks.unitary_rnn import StartedUnitaryRNN, UnitaryInit
from stablebench.models.recurrent.urnn_arjovsky import composed
from stablebench.models.registry import register_model


@register_model
class FullCapacityURNN(StartedUnitaryRNN):
    """See the module docstring for the equation.

    Args:
        in_features: Number of input features, the width of x_t, >= 1.
        hidden: Number of complex units of h_t, >= 1; the output is twice as wide.
        init: Initial values where paper and code differ: `paper`, or `code` for those of the authors' code; see Init in
            the module.
    """

    def __init__(self, in_features: int, hidden: int, *, init: UnitaryInit = "paper") -> None:
        super().__init__(in_features, hidden, init)
        W = random_unitary(hidden) if init == "paper" else _composed_start(hidden)
        self.W = nn.Parameter(torch.stack([W.real, W.imag]))
        self.add_input_map(init)
        self.add_initial_state()

    def unitary(self) -> Complex[Tensor, "hidden hidden"]:
        """Return W, (hidden, hidden), complex."""
        return torch.complex(*self.W)

    def parameter_groups(self) -> list[ParameterGroup]:
        """Return W in `orthogonal`, under the Cayley update, and the rest in `main`."""
        return with_main_group(self, ParameterGroup("orthogonal", [self.W], rule="cayley"))


def _composed_start(n: int) -> Tensor:
    """Draw the matrix (n, n) that `urnn_arjovsky` starts from."""
    w, v = torch.empty(3, n).uniform_(-math.pi, math.pi), torch.empty(2, 2, n).uniform_(-1, 1)
    return composed(w, v, torch.randperm(n))
