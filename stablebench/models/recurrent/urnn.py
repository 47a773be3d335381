r"""uRNN (poster): the Elman network with an orthogonal recurrent matrix, kept so by an exponential update.

Equation:

    h_t = phi(W h_{t-1} + V x_t + b),    W <- exp(-eta A) W,  A = G W^T - W G^T,  G = dL/dW

Shapes: x_t (batch, in), h_t (batch, hidden), W (hidden, hidden), V (hidden, in), b (hidden).
Init: W a random orthogonal matrix (Haar); V U(-1/sqrt(hidden), 1/sqrt(hidden)); b = 0.
Stability claim: W^T W = I after every update (tests/models/test_urnn.py), so that with phi' in [-1, 1] no gradient
    grows, and with |phi'| = 1 (abs, identity) the norm of dL/dh_t is the same for all t (tests there).
Reference: poster on uRNN and uGRU with bounded gradients (authors not identified).
Differs from the paper: its initialisation is not given. Not the complex uRNN of Arjovsky, Shah & Bengio 2016.
"""

import math

import torch
from torch import Tensor, nn

from stablebench.models.activations import Activation, activation
from stablebench.models.base import ParameterGroup, RecurrentModel, State, grouped
from stablebench.registry import register_model


@register_model
class URNN(RecurrentModel):
    """See the module docstring for the equation.

    Args:
        in_features: Width of x_t.
        hidden: Width of h_t.
        activation: phi.
    """

    def __init__(self, in_features: int, hidden: int, *, activation: Activation = "abs") -> None:
        super().__init__(in_features, hidden)
        self.activation: Activation = activation
        bound = 1 / math.sqrt(hidden)
        self.W = nn.Parameter(nn.init.orthogonal_(torch.empty(hidden, hidden)))
        self.V = nn.Parameter(torch.empty(hidden, in_features).uniform_(-bound, bound))
        self.b = nn.Parameter(torch.zeros(hidden))

    def drive(self, x: Tensor) -> Tensor:
        """Return V x_t + b, (batch, time, hidden)."""
        return nn.functional.linear(x, self.V, self.b)

    def transition(self) -> Tensor:
        """Return W, transposed for states in rows."""
        return self.W.T

    def step(self, drive: Tensor, state: State, transition: Tensor) -> State:
        """Return h_t."""
        (h,) = state
        return (activation(self.activation, drive + h @ transition),)

    def parameter_groups(self) -> list[ParameterGroup]:
        """Return W in `orthogonal`, under the exponential update, and the rest in `main`."""
        return grouped(self, ParameterGroup("orthogonal", [self.W], rule="exponential"))
