r"""UnICORNN: undamped oscillators that do not act on each other, stepped by a symplectic scheme.

Equation (4 of the paper), sigma_hat the sigmoid, k = dt sigma_hat(c):

    z_t = z_{t-1} - k * (tanh(w * y_{t-1} + V u_t + b) + alpha y_{t-1})
    y_t = y_{t-1} + k * z_t

    The layer gives out y_t (`stack` plain), or y_t + u_t where the widths are equal (residual). Layers act on each
    other only through V, so the model is meant to be stacked (--layers).

Shapes: u_t (batch, in); y_t, z_t (batch, hidden); V (hidden, in); w, b, c (hidden). The states are (y, z), the output
    is y.
Parameters: `hidden * (inputs + 3)`.
Cost per step: `hidden * inputs` multiply-adds.
Init: w ~ U(0, 1), c ~ U(-0.1, 0.1), b = 0, V Kaiming uniform with slope 8, so U(+-sqrt(6 / (65 in))); the readout's
    weights N(0, 2 / hidden) and its bias 0, as in the authors' code.
Stability claim: a step is a symplectic map of (y, z), the flow of a Hamiltonian discretised by symplectic Euler: it
    keeps volumes, can be inverted exactly, and the singular values of dh_T/dh_1 come in pairs s, 1/s, so the gradient
    cannot vanish in all directions (section 3). With k^2 alpha < 4, from zero states, the energy G = alpha y^2 + z^2 -
    k alpha y z of a unit, which the unforced step keeps exactly, is at most (t k)^2 after t steps: it does not grow
    exponentially, whatever the input. Asserted in tests/models/test_unicornn.py.
Reference: Rusch, Mishra. UnICORNN: A recurrent model for learning very long time dependencies. ICML 2021.
    https://arxiv.org/abs/2103.05487
Differs from the paper:
    - Its residual stacking feeds V (y^(l-1) + Lambda y^(l-1-S)) with a trained Lambda and a skip over S layers; here
      every layer adds its own input to its output, S = 1 with Lambda = 1, and sums go on from layer to layer.
    - No dropout between layers, and no backward pass that computes the states again from their inverse.
    - The energy bound is derived here, in place of the paper's, which was not checked.
"""

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from stablebench.models.base import State
from stablebench.models.blocks.affine_input import AffineInput
from stablebench.models.claims.claim import Claim, Evidence, Outcome, at_most
from stablebench.models.registry import register_model
from stablebench.schema.strict import NonNegative, Positive

Weights = tuple[Float[Tensor, " hidden"], Float[Tensor, " hidden"]]


@register_model
class UnICORNN(AffineInput):
    """See the module docstring for the equation.

    Args:
        in_features: Number of input features, the width of u_t, >= 1.
        hidden: Number of oscillators, the width of y_t and z_t, >= 1.
        dt: Largest time step of an oscillator, > 0; its initial value is about half of it.
        alpha: Squared frequency of the oscillators, >= 0.
        stack: Output of the layer: `plain` y_t, or `residual` y_t + u_t where the widths are equal.
    """

    def __init__(
        self,
        in_features: int,
        hidden: int,
        *,
        dt: Positive = 0.1,
        alpha: NonNegative = 10.0,
        stack: Literal["plain", "residual"] = "plain",
    ) -> None:
        super().__init__(in_features, hidden)
        self.dt = dt
        self.alpha = alpha
        self.stack = stack
        self.V = nn.Parameter(nn.init.kaiming_uniform_(torch.empty(hidden, in_features), a=8))
        self.w = nn.Parameter(torch.empty(hidden).uniform_(0, 1))
        self.b = nn.Parameter(torch.zeros(hidden))
        self.c = nn.Parameter(torch.empty(hidden).uniform_(-0.1, 0.1))

    @property
    def state_sizes(self) -> tuple[int, ...]:
        """The widths of y and z."""
        return (self.hidden, self.hidden)

    def initialise_readout(self, readout: nn.Linear) -> None:
        """Draw the weights from N(0, 2 / hidden), and start the bias at 0."""
        nn.init.kaiming_normal_(readout.weight)
        nn.init.zeros_(readout.bias)

    def steps(self) -> Tensor:
        """Return k, the time step of each unit, (hidden,)."""
        return self.dt * torch.sigmoid(self.c)

    def recurrent_weights(self) -> Weights:
        """Return w and k."""
        return self.w, self.steps()

    def step(self, projected: Float[Tensor, "batch hidden"], state: State, recurrent_weights: Weights) -> State:
        """Return (y_t, z_t)."""
        y, z = state
        w, k = recurrent_weights
        z = z - k * (torch.tanh(w * y + projected) + self.alpha * y)
        return y + k * z, z

    def layer_output(
        self, output: Float[Tensor, "*steps state"], x: Float[Tensor, "*steps in"]
    ) -> Float[Tensor, "*steps out"]:
        """Return y_t, with u_t added where the stack says so."""
        return output + x if self.stack == "residual" and self.in_features == self.hidden else output

    def claims(self) -> list[Claim]:
        """Return that singular values come in pairs, and the bound on the energy."""
        k = self.steps().detach().double().cpu()

        def paired(e: Evidence) -> Outcome:
            smallest, largest = e.log_singular_values
            slack = 1e-7 * max(1.0, largest) + 8 * e.steps * e.weights_eps
            return at_most(abs(smallest + largest), slack)

        def energy(e: Evidence) -> Outcome:
            y, z = e.states[1:, :, : self.hidden].cpu(), e.states[1:, :, self.hidden : 2 * self.hidden].cpu()
            squares = self.alpha * y.square() + z.square() - k * self.alpha * y * z
            t = torch.arange(1, len(squares) + 1, dtype=squares.dtype)[:, None, None]
            share = (squares / (t * k).square()).max().item()
            return at_most(share, 1 + 1e-6).under_hypothesis((k.square() * self.alpha).max().item() < 4)

        return [
            Claim(
                "|ln of the smallest plus ln of the largest singular value of dh_T/dh_1| = 0 (symplectic)",
                "none",
                paired,
            ),
            Claim(
                "energy alpha y^2 + z^2 - k alpha y z of a unit over (t k)^2, largest of all t, <= 1",
                "k^2 alpha < 4; zero states at first",
                energy,
            ),
        ]
