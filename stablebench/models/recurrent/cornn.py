r"""coRNN: a network of coupled, damped, forced oscillators.

Equation (3 of the paper: y'' = phi(W y + W2 y' + V u + b) - gamma y - epsilon y', discretised with step dt):

    z_t = z_{t-1} + dt (phi(W y_{t-1} + W2 z_{t-1} + V u_t + b) - gamma y_{t-1} - epsilon z*)
    y_t = y_{t-1} + dt z_t

with z* = z_{t-1} (`damping` explicit, the experiments) or z* = z_t (implicit, the form the theory is proved for).

Shapes: u_t (batch, in); y_t, z_t (batch, hidden); W, W2 (hidden, hidden); V (hidden, in); b (hidden). The states are
    (y, z), the output is y.
Parameters: `hidden * (2 * hidden + inputs + 1)`.
Cost per step: `hidden * (2 * hidden + inputs)` multiply-adds.
Init: all U(-1/sqrt(n), 1/sqrt(n)), n the inputs of an affine map: in + 2 hidden for one map of (u, y, z), as in the
    authors' code for MNIST, adding and HAR-2; with `init` separate, in for V and b, hidden for W and W2, as in their
    code for CIFAR-10.
Stability claim: from zero states, with |phi| <= 1 and D > 0, gamma y'y + z'z <= hidden t dt / D after t steps, where
    D = 2 epsilon - gamma dt (implicit) or 2 epsilon - (gamma + epsilon^2) dt (explicit). For D >= 1, which is the
    paper's condition on dt (49, 52), this implies its bound hidden t dt (propositions 3.1 and F.1). With gamma =
    epsilon = 1, implicit damping and condition (8) with exponent r, the Jacobian of one step has infinity norm
    <= 1 + 3 dt^r (13). All propositions are claims, with the
    memory horizon of damped oscillators: `stablebench.models.claims.cornn`. Asserted in
    tests/models/test_cornn.py and tests/probes/test_oscillator_claims.py.
Reference: Rusch, Mishra. Coupled Oscillatory Recurrent Neural Network (coRNN). ICLR 2021.
    https://arxiv.org/abs/2010.00951
Differs from the paper:
    - `learned` constants are dt = sigmoid(.) as there, but gamma and epsilon = exp(.), not ReLU, which stays 0 once it
      is.
    - The proof of 3.1 with the best constant in Young's inequality gives D.
    - The energy bound needs no N dt <= 1, which the experiments do not have (65 on psMNIST), but grows with time then.
    - The Jacobian's bound over N steps, (1 + 3 dt^r)^N, is not the 1 + 3 N dt^r of (14): with N dt = 1 and r = 1/2 it
      is about exp(3 / sqrt(dt)).
"""

import math
from collections.abc import Mapping
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from stablebench.errors import UserError
from stablebench.models.base import State
from stablebench.models.blocks.affine_input import AffineInput
from stablebench.models.claims.claim import Claim
from stablebench.models.claims.cornn import cornn_claims
from stablebench.models.claims.oscillator import Oscillators
from stablebench.models.registry import register_model
from stablebench.schema.strict import Positive


@register_model
class CoRNN(AffineInput):
    """See the module docstring for the equation.

    Args:
        in_features: Number of input features, the width of u_t, >= 1.
        hidden: Number of oscillators, the width of y_t and z_t, >= 1.
        dt: Time step of the discretisation, > 0; < 1 if it is learned.
        gamma: Squared frequency of the oscillators, > 0.
        epsilon: Damping coefficient of the oscillators, > 0.
        damping: Velocity in the damping term: `explicit` takes the one before the step, `implicit` the one after it.
        activation: Elementwise nonlinearity phi of the forcing: `tanh`, `identity` or `cubic` (x - x^3 / 3).
        learned: Whether dt, gamma and epsilon are trained, starting from the given values.
        init: Initial affine map of (u, y, z): `fused` draws it as one map of all three, `separate` as three maps.
    """

    constants: Tensor

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
        init: Literal["fused", "separate"] = "fused",
    ) -> None:
        super().__init__(in_features, hidden)
        if learned and dt >= 1:
            raise UserError(f"`dt` must be < 1 where it is learned (it is a sigmoid), got {dt}.")
        self.damping: Literal["explicit", "implicit"] = damping
        self.activation: Literal["tanh", "identity", "cubic"] = activation
        self.learned = learned
        fused = in_features + 2 * hidden
        recurrent = 1 / math.sqrt(fused if init == "fused" else hidden)
        outer = 1 / math.sqrt(fused if init == "fused" else in_features)
        self.W = nn.Parameter(torch.empty(hidden, hidden).uniform_(-recurrent, recurrent))
        self.W2 = nn.Parameter(torch.empty(hidden, hidden).uniform_(-recurrent, recurrent))
        self.V = nn.Parameter(torch.empty(hidden, in_features).uniform_(-outer, outer))
        self.b = nn.Parameter(torch.empty(hidden).uniform_(-outer, outer))
        if learned:
            self.constants = nn.Parameter(torch.tensor([math.log(dt / (1 - dt)), math.log(gamma), math.log(epsilon)]))
        else:
            self.register_buffer("constants", torch.tensor([dt, gamma, epsilon]), persistent=False)

    @property
    def state_sizes(self) -> tuple[int, ...]:
        """The widths of y and z."""
        return (self.hidden, self.hidden)

    def dt_gamma_epsilon(self) -> Tensor:
        """Return the time step, the frequency and the damping, (3,)."""
        if not self.learned:
            return self.constants
        return torch.cat([torch.sigmoid(self.constants[:1]), torch.exp(self.constants[1:])])

    def recurrent_weights(self) -> tuple[Tensor, ...]:
        """Return W, W2, transposed for states in rows, and dt, gamma, epsilon as one value a unit."""
        return self.W.T, self.W2.T, *self.dt_gamma_epsilon()[:, None].expand(3, self.hidden).unbind(0)

    def recurrent_matrix(self) -> Float[Tensor, "units units"]:
        """Return the step of (y, z) as a matrix, (2 hidden, 2 hidden)."""
        W, W2, dt, gamma, epsilon = self.recurrent_weights()
        W, W2, eye = W.T, W2.T, torch.eye(self.hidden, dtype=W.dtype)
        to_z = torch.cat([dt[:, None] * (W - torch.diag(gamma)), eye + dt[:, None] * W2], dim=1)
        if self.damping == "explicit":
            to_z = to_z - torch.cat([torch.zeros_like(eye), torch.diag(dt * epsilon)], dim=1)
        else:
            to_z = to_z / (1 + dt * epsilon)[:, None]
        return torch.cat([torch.cat([eye, torch.zeros_like(eye)], dim=1) + dt[:, None] * to_z, to_z])

    def step(
        self, projected: Float[Tensor, "batch hidden"], state: State, recurrent_weights: tuple[Tensor, ...]
    ) -> State:
        """Return (y_t, z_t)."""
        y, z = state
        W, W2, dt, gamma, epsilon = recurrent_weights
        force = self._phi(projected + y @ W + z @ W2) - gamma * y
        if self.damping == "explicit":
            z = z + dt * (force - epsilon * z)
        else:
            z = (z + dt * force) / (1 + dt * epsilon)
        return y + dt * z, z

    def diagnostics(self) -> dict[str, float | Tensor]:
        """Return the two quantities of condition (8), and dt^(1/2), which they must not exceed (figure 3)."""
        dt = self.dt_gamma_epsilon()[0]
        W, W2 = (torch.linalg.matrix_norm(matrix, torch.inf) for matrix in (self.W, self.W2))
        return {"eta_W": dt * (1 + W) / (1 + dt), "eta_W2": dt * W2 / (1 + dt), "sqrt_dt": dt.sqrt()}

    def oscillators(self) -> Oscillators:
        """Return what the paper's propositions are about."""
        dt, gamma, epsilon = self.dt_gamma_epsilon().detach().tolist()

        def outputs(parameters: Mapping[str, Tensor], x: Tensor) -> Tensor:
            return torch.func.functional_call(self, dict(parameters), (x,))[0]

        return Oscillators(
            self.W.detach(),
            self.W2.detach(),
            dt,
            gamma,
            epsilon,
            self.damping,
            self.activation,
            self.input_projection,
            outputs,
            {name: parameter for name, parameter in self.named_parameters() if name != "constants"},
        )

    def claims(self) -> list[Claim]:
        """Return the paper's propositions; see `stablebench.models.claims.cornn`."""
        return cornn_claims(self.oscillators())

    def _phi(self, x: Tensor) -> Tensor:
        if self.activation == "tanh":
            return torch.tanh(x)
        return x if self.activation == "identity" else x - x * x * x / 3
