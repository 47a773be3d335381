r"""uRNN of Arjovsky, Shah & Bengio: a complex state, and a unitary matrix composed of structured factors.

Equation:

    h_t = modrelu(W h_{t-1} + V x_t, b)        modrelu(z, b) = z relu(|z| + b) / |z|
    W = D_3 R_2 F^-1 D_2 Pi R_1 F D_1

    D = diag(exp(i w)),  R = I - 2 v v^H / |v|^2,  F the unitary discrete Fourier transform,  Pi a fixed permutation

Shapes: x_t (batch, in); h_t (batch, 2 hidden), hidden complex units as real parts, then imaginary parts; W (hidden,
    hidden), complex; w_1, w_2, w_3 (hidden) in `w`; v_1, v_2 (hidden), complex, in `v` (2, 2, hidden), vector by vector
    the real parts, then the imaginary parts; V (2 hidden, in); b (hidden); h_0 (2 hidden). The output is h_t, 2 hidden
    wide.
Parameters: `7 * hidden + hidden * (2 * inputs + 3)`.
Cost per step: `4 * hidden ** 2 + 2 * hidden * inputs` multiply-adds; W is built once per pass, two Fourier transforms
    of hidden columns, and applied as a real matrix. The factors applied one by one would cost O(hidden log hidden).
Init: w ~ U(-pi, pi); h_0 ~ U(-s, s) with s = sqrt(3 / (2 hidden)), so that E |h_0|^2 = 1. Pi is drawn and never
    trained. `init` paper: v ~ U(-1, 1) in each real and imaginary part, V Glorot uniform with fan-out hidden, b = 0, so
    that the network starts linear. `init` code, the authors': V with fan-out 2 hidden, up to sqrt(2) times smaller, b ~
    U(-0.01, 0.01), v Glorot uniform as a matrix (2, 2 hidden), which only its updates see, and a readout that starts
    Glorot uniform with bias 0.
Stability claim: W^H W = I whatever the optimiser does to w and v. Where b <= 0 the Jacobian of a step has norm <= 1, so
    dh_T/dh_t has. For b > 0 it has not: modrelu scales what is across z by (|z| + b) / |z|. Asserted in
    tests/models/test_urnn_arjovsky.py.
Reference: Arjovsky, Shah, Bengio. Unitary Evolution Recurrent Neural Networks. ICML 2016.
    https://arxiv.org/abs/1511.06464
Differs from the paper:
    - |z| is sqrt(re^2 + im^2 + 1e-10), for a finite derivative at 0.
    - Unless `init` is code the readout is initialised as torch's, not Glorot uniform.
    - The paper's bound on the gradient takes modrelu' for a diagonal of 0 and 1; see the claim.
"""

import math

import torch
from jaxtyping import Complex
from torch import Tensor, nn

from stablebench.models.base import ParameterGroup, frozen_generator, with_main_group
from stablebench.models.blocks.unitary import glorot_bound
from stablebench.models.blocks.unitary_rnn import StartedUnitaryRNN, UnitaryInit
from stablebench.models.registry import register_model


@register_model
class ArjovskyURNN(StartedUnitaryRNN):
    """See the module docstring for the equation.

    Args:
        in_features: Number of input features, the width of x_t, >= 1.
        hidden: Number of complex units of h_t, >= 1; the output is twice as wide.
        init: Initial values where paper and code differ: `paper`, or `code` for those of the authors' code; see Init in
            the module.
    """

    Pi: Tensor

    def __init__(self, in_features: int, hidden: int, *, init: UnitaryInit = "paper") -> None:
        super().__init__(in_features, hidden, init)
        self.w = nn.Parameter(torch.empty(3, hidden).uniform_(-math.pi, math.pi))
        bound = 1.0 if init == "paper" else glorot_bound(2, 2 * hidden)
        self.v = nn.Parameter(torch.empty(2, 2, hidden).uniform_(-bound, bound))
        self.add_input_map(init)
        self.add_initial_state()
        self.register_buffer("Pi", torch.randperm(hidden, generator=frozen_generator("Pi")))

    def unitary(self) -> Complex[Tensor, "hidden hidden"]:
        """Return the recurrent matrix, (hidden, hidden), complex."""
        return composed(self.w, self.v, self.Pi)

    def parameter_groups(self) -> list[ParameterGroup]:
        """Return `main` and `orthogonal`, the parameters of W."""
        return with_main_group(self, ParameterGroup("orthogonal", [self.w, self.v]))


def composed(w: Tensor, v: Tensor, Pi: Tensor) -> Tensor:
    """Return D_3 R_2 F^-1 D_2 Pi R_1 F D_1, (n, n), complex.

    Args:
        w: Phases of the three diagonals, (3, n).
        v: Real and imaginary parts of the two reflected vectors, (2, 2, n).
        Pi: The permutation, (n,).
    """
    D_1, D_2, D_3 = torch.polar(torch.ones_like(w), w).unbind()
    v_1, v_2 = torch.complex(v[:, 0], v[:, 1]).unbind()
    product = torch.fft.fft(torch.diag(D_1), dim=0, norm="ortho")
    product = D_2[:, None] * _reflected(product, v_1)[Pi]
    product = _reflected(torch.fft.ifft(product, dim=0, norm="ortho"), v_2)
    return D_3[:, None] * product


def _reflected(columns: Tensor, v: Tensor) -> Tensor:
    """Return (I - 2 v v^H / |v|^2) M for complex M (n, any) and v (n)."""
    u = v / torch.linalg.vector_norm(v)
    return columns - 2 * torch.outer(u, u.conj() @ columns)
