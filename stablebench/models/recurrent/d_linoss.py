r"""D-LinOSS: a layer of forced linear oscillators whose friction is learned, so that each forgets at its own speed.

Equation (y'' = -A y - G y' + B v with n oscillators, step sizes k = sigmoid(k_hat)):

    z_t = (z_{t-1} + k * (B v_t - A * y_{t-1})) / (1 + k G)
    y_t = y_{t-1} + k * z_t,    o_t = C y_t + D * v_t
    G = relu(G_hat),    A = A_hat held within [(sqrt(1 + k G) - 1)^2, (sqrt(1 + k G) + 1)^2] / k^2

    in a block: u_t = E x_t + e (in the first layer of a stack; x_t in those above), v_t = LayerNorm(u_t), and the
    layer gives out u_t + W_1 gelu(o_t) * sigmoid(W_2 gelu(o_t)), with biases. `norm`, `mix` and `skip` take parts away.

Shapes: x_t (batch, in); u_t, v_t, o_t (batch, hidden); y_t, z_t (batch, n); k_hat, A_hat, G_hat (n), B (n, hidden), C
    (hidden, n), D (hidden). The states are (y, z), y is read. `hidden` is the width of the block; n = `state`, by
    default the same.
Parameters: `hidden * (4 * hidden + inputs + 9)`. That is the first layer; those above have no E and e.
Cost per step: `hidden * (4 * hidden + 2 * inputs)` multiply-adds; u is computed before and again after the recurrence.
Init: the eigenvalues r exp(+-i theta) of a step with r^2 ~ U(r_min^2, 1) and theta ~ U(0, max_phase), which G = (1 -
    r^2) / (k r^2) and A = (1 + r^2 - 2 r cos theta) / (k r)^2 have; k_hat ~ N(0, 1/4), B U(+-1/sqrt(hidden)), C
    U(+-1/sqrt(n)), D N(0, 1), as in the authors' code. E, e and the gate as torch.nn.Linear.
Stability claim: inside these bounds of A both eigenvalues of a step have modulus (1 + k G)^(-1/2) <= 1, whatever the
    optimiser does; the phase is A's to choose. Asserted in tests/models/test_d_linoss.py.
Reference: Boyer, Rusch, Rus. Learning to Dissipate Energy in Oscillatory State-Space Models. 2025.
    https://arxiv.org/abs/2505.12171
Differs from the paper:
    - B and C are real, as in its equations; its authors' code has complex ones, and so two sets of oscillators.
    - LayerNorm before the recurrence in place of batch normalisation, no dropout; the encoder is part of the first
      layer.
    - The group `recurrent` (k_hat, A_hat, G_hat, B) has the run's own rate unless a recipe sets another.
"""

import math

import torch
from torch import Tensor, nn

from stablebench.errors import UserError
from stablebench.models.blocks.block import Mix, Norm
from stablebench.models.blocks.linear_oscillators import LinearOscillators
from stablebench.models.claims.claim import Claim
from stablebench.models.claims.linoss import damped_claims
from stablebench.models.registry import register_model
from stablebench.schema.strict import Count, NonNegativeInt, Positive


@register_model
class DLinOSS(LinearOscillators):
    """See the module docstring for the equation.

    Args:
        in_features: Number of input features, the width of x_t, >= 1.
        hidden: Width of the block and of its output, >= 1.
        layer: Position of this layer in the stack, >= 0; 0 is the first.
        state: Number n of oscillators, >= 1; null for `hidden`.
        r_min: Smallest initial modulus of the eigenvalues of a step, > 0 and < 1; nearer to 1 the memory is longer.
        max_phase: Largest initial phase of these eigenvalues, in radians, > 0.
        norm: Normalisation of the block's input before the recurrence: `layer` (LayerNorm over the features), `rms`
            (RMSNorm) or `none`.
        mix: Map after the recurrence: `glu` (gated linear unit of gelu), `gelu` only, or `none`.
        skip: Whether the block's input is added to its output (residual connection).
    """

    def __init__(
        self,
        in_features: int,
        hidden: int,
        *,
        layer: NonNegativeInt = 0,
        state: Count | None = None,
        r_min: Positive = 0.9,
        max_phase: Positive = math.pi,
        norm: Norm = "layer",
        mix: Mix = "glu",
        skip: bool = True,
    ) -> None:
        super().__init__(in_features, hidden, state=state, layer=layer, norm=norm, mix=mix, skip=skip)
        if r_min >= 1:
            raise UserError(f"`r_min` must be < 1 (a modulus of eigenvalues), got {r_min}.")
        k = self.steps().detach()
        r = (r_min**2 + (1 - r_min**2) * torch.rand(self.state)).sqrt()
        theta = max_phase * torch.rand(self.state)
        self.G_hat = nn.Parameter((1 - r * r) / (k * r * r))
        self.A_hat = nn.Parameter((1 + r * r - 2 * r * torch.cos(theta)) / (k * r).square())

    def constants(self) -> tuple[Tensor, Tensor]:
        """Return A and S."""
        k = self.steps()
        growth = 1 + k * torch.relu(self.G_hat)
        root = growth.sqrt()
        low, high = ((root - 1) / k).square(), ((root + 1) / k).square()
        return torch.maximum(low, torch.minimum(self.A_hat, high)), 1 / growth

    def claims(self) -> list[Claim]:
        """Return where the eigenvalues of a step lie; see `stablebench.models.claims.linoss`."""
        return damped_claims(self.transitions(), self.constants()[1])
