r"""coRNN: a network of coupled, damped, forced oscillators.

Equation (4 and 5 of the paper, y'' = phi(W y + W2 y' + V u + b) - gamma y - epsilon y'):

    z_t = z_{t-1} + dt (phi(W y_{t-1} + W2 z_{t-1} + V u_t + b) - gamma y_{t-1} - epsilon z*)
    y_t = y_{t-1} + dt z_t

with z* = z_{t-1} (`damping` explicit, the experiments) or z* = z_t (implicit, the form the theory is proved for).

Shapes: u_t (batch, in); y_t, z_t (batch, hidden); W, W2 (hidden, hidden); V (hidden, in); b (hidden). The states are
    (y, z), the output is y.
Init: all U(-1/sqrt(n), 1/sqrt(n)), n = in + 2 hidden: one linear map of (u, y, z) as torch draws it. With `learned`
    dt, gamma and epsilon are softplus of trained scalars that start at the given values.
Stability claim (proposition 3.1, here for any gamma and epsilon): from zero states, with implicit damping, |phi| <= 1
    and gamma dt < 2 epsilon, gamma y'y + z'z <= hidden t dt / (2 epsilon - gamma dt) after t steps; for gamma =
    epsilon = 1 and dt <= 1 this implies the paper's hidden t dt. Asserted in tests/models/test_cornn.py.
Reference: Rusch, Mishra. Coupled Oscillatory Recurrent Neural Network (coRNN). ICLR 2021.
    https://arxiv.org/abs/2010.00951
Differs from the paper: gamma and epsilon are scalars, as in its experiments, not one a unit.
"""

import math
from typing import Literal

import torch
from torch import Tensor, nn

from stablebench.models.base import RecurrentModel, State
from stablebench.registry import register_model
from stablebench.schema.strict import Positive


@register_model
class CoRNN(RecurrentModel):
    """See the module docstring for the equation.

    Args:
        in_features: Width of u_t.
        hidden: Width of y_t and z_t.
        dt: Time step.
        gamma: Frequency.
        epsilon: Damping.
        damping: Whether the damping term takes the velocity before the step (explicit) or after it (implicit).
        activation: phi; cubic is x - x^3 / 3.
        learned: Train dt, gamma and epsilon as well.
    """

    def __init__(
        self,
        in_features: int,
        hidden: int,
        *,
        dt: Positive = 0.05,
        gamma: Positive = 2.7,
        epsilon: Positive = 4.7,
        damping: Literal["explicit", "implicit"] = "explicit",
        activation: Literal["tanh", "identity", "cubic"] = "tanh",
        learned: bool = False,
    ) -> None:
        super().__init__(in_features, hidden)
        self.damping = damping
        self.activation = activation
        self.learned = learned
        bound = 1 / math.sqrt(in_features + 2 * hidden)
        self.W = nn.Parameter(torch.empty(hidden, hidden).uniform_(-bound, bound))
        self.W2 = nn.Parameter(torch.empty(hidden, hidden).uniform_(-bound, bound))
        self.V = nn.Parameter(torch.empty(hidden, in_features).uniform_(-bound, bound))
        self.b = nn.Parameter(torch.empty(hidden).uniform_(-bound, bound))
        constants = torch.tensor([dt, gamma, epsilon])
        if learned:
            self.constants = nn.Parameter(torch.log(torch.expm1(constants)))  # softplus gives them back
        else:
            self.register_buffer("constants", constants, persistent=False)

    @property
    def state_sizes(self) -> tuple[int, ...]:
        """The widths of y and z."""
        return (self.hidden, self.hidden)

    def drive(self, x: Tensor) -> Tensor:
        """Return V u_t + b, (batch, time, hidden)."""
        return nn.functional.linear(x, self.V, self.b)

    def transition(self) -> tuple[Tensor, ...]:
        """Return W, W2, transposed for states in rows, and dt, gamma, epsilon as one value a unit."""
        constants = nn.functional.softplus(self.constants) if self.learned else self.constants
        return self.W.T, self.W2.T, *constants[:, None].expand(3, self.hidden).unbind(0)

    def step(self, drive: Tensor, state: State, transition: tuple[Tensor, ...]) -> State:
        """Return (y_t, z_t)."""
        y, z = state
        W, W2, dt, gamma, epsilon = transition
        force = self._phi(drive + y @ W + z @ W2) - gamma * y
        if self.damping == "explicit":
            z = z + dt * (force - epsilon * z)
        else:
            z = (z + dt * force) / (1 + dt * epsilon)
        return y + dt * z, z

    def _phi(self, x: Tensor) -> Tensor:
        if self.activation == "tanh":
            return torch.tanh(x)
        return x if self.activation == "identity" else x - x * x * x / 3
