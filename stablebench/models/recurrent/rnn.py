r"""RNN: the Elman network.

Equation:

    h_t = phi(W h_{t-1} + V x_t + b)

Shapes: x_t (batch, in), h_t (batch, hidden), W (hidden, hidden), V (hidden, in), b (hidden).
Parameters: `hidden * (hidden + inputs + 1)`.
Cost per step: `hidden * (hidden + inputs)` multiply-adds.
Init: all U(-1/sqrt(hidden), 1/sqrt(hidden)) as torch.nn.RNN, b the sum of two such draws; `recurrent_init` orthogonal
    replaces W by a random orthogonal matrix (roaRNN's vanilla RNN), identity by the unit matrix with V ~ N(0, 0.001^2)
    and b = 0 (Le et al.).
Stability claim: none of its own; the gradient dL/dh_t carries a product of T - t matrices diag(phi') W. The poster of
    `urnn` bounds its norm by the eigenvalues of W and the range of |phi'|; the upper bound is false for a W that is not
    normal, which the one drawn here is not. See `stablebench.models.claims.eigenvalue_bounds`. Asserted in
    tests/probes/test_eigenvalue_claims.py.
Reference: Elman. Finding Structure in Time. Cognitive Science 14, 1990. Identity start: Le, Jaitly, Hinton. A Simple
    Way to Initialize Recurrent Networks of Rectified Linear Units. https://arxiv.org/abs/1504.00941
Differs from the paper: torch's two biases are one, initialised as their sum.
"""

import math
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from stablebench.models.base import State
from stablebench.models.blocks.activations import Activation, activation
from stablebench.models.blocks.affine_input import AffineInput
from stablebench.models.claims.claim import Claim
from stablebench.models.claims.eigenvalue_bounds import RecurrentSpectrum, eigenvalue_claims
from stablebench.models.registry import register_model


class Elman(AffineInput):
    """h_t = phi(W h_{t-1} + V x_t + b); subclasses draw W, V and b, here and in `urnn`, or build W as `dizzy`."""

    activation: Activation
    W: nn.Parameter

    def recurrent_weights(self) -> Float[Tensor, "hidden hidden"]:
        """Return W, transposed for states in rows."""
        return self.recurrent_matrix().T

    def recurrent_matrix(self) -> Float[Tensor, "hidden hidden"]:
        """Return W."""
        return self.W

    def step(
        self, projected: Float[Tensor, "batch hidden"], state: State, recurrent_weights: Float[Tensor, "hidden hidden"]
    ) -> State:
        """Return h_t."""
        (h,) = state
        return (activation(self.activation, projected + h @ recurrent_weights),)


@register_model
class Rnn(Elman):
    """See the module docstring for the equation.

    Args:
        in_features: Number of input features, the width of x_t, >= 1.
        hidden: Number of units, the width of the state h_t, >= 1.
        activation: Elementwise nonlinearity phi of the update: `tanh`, `relu`, `abs`, `leaky_relu` (slope 0.01 below 0)
            or `identity`.
        recurrent_init: Initial recurrent matrix W: `default` uniform in +-1/sqrt(hidden), `orthogonal` a random
            orthogonal matrix, `identity` the unit matrix, with V ~ N(0, 0.001^2) and b = 0.
    """

    def __init__(
        self,
        in_features: int,
        hidden: int,
        *,
        activation: Activation = "tanh",
        recurrent_init: Literal["default", "orthogonal", "identity"] = "default",
    ) -> None:
        super().__init__(in_features, hidden)
        self.activation = activation
        bound = 1 / math.sqrt(hidden)
        self.W = nn.Parameter(torch.empty(hidden, hidden).uniform_(-bound, bound))
        self.V = nn.Parameter(torch.empty(hidden, in_features).uniform_(-bound, bound))
        self.b = nn.Parameter(torch.empty(2, hidden).uniform_(-bound, bound).sum(0))
        if recurrent_init == "orthogonal":
            nn.init.orthogonal_(self.W)
        elif recurrent_init == "identity":
            nn.init.eye_(self.W)
            nn.init.normal_(self.V, std=1e-3)  # section 3 of Le et al.
            nn.init.zeros_(self.b)

    def claims(self) -> list[Claim]:
        """Return what the uRNN poster states of every Elman network."""
        return eigenvalue_claims(RecurrentSpectrum(self.W), self.activation)
