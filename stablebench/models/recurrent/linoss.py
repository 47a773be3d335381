r"""LinOSS: a layer of forced linear oscillators without friction, discretised implicitly or symplectically.

Equation (sections 2 and 3 of the paper; y'' = -A y + B v with n oscillators, step sizes k = sigmoid(k_hat)):

    z_t = z_{t-1} + k * (B v_t - A * y_t)        (`scheme` im, implicit)
    z_t = z_{t-1} + k * (B v_t - A * y_{t-1})    (imex, implicit-explicit)
    y_t = y_{t-1} + k * z_t,    A = relu(A_hat),    o_t = C y_t + D * v_t

    the implicit one is solved: z_t = (z_{t-1} + k (B v_t - A y_{t-1})) / (1 + k^2 A).

    in a block: u_t = E x_t + e (in the first layer of a stack; x_t in those above), v_t = LayerNorm(u_t), and the
    layer gives out u_t + W_1 gelu(o_t) * sigmoid(W_2 gelu(o_t)), with biases. `norm`, `mix` and `skip` take parts away.

Shapes: x_t (batch, in); u_t, v_t, o_t (batch, hidden); y_t, z_t (batch, n); k_hat, A_hat (n), B (n, hidden), C (hidden,
    n), D (hidden). The states are (y, z), y is read. `hidden` is the width of the block; n = `state`, by default the
    same.
Parameters: `hidden * (4 * hidden + inputs + 8)`. That is the first layer; those above have no E and e.
Cost per step: `hidden * (4 * hidden + 2 * inputs)` multiply-adds; u is computed before and again after the recurrence.
Init: A_hat ~ U(0, `largest`), k_hat ~ N(0, 1/4), B U(+-1/sqrt(hidden)), C U(+-1/sqrt(n)), D N(0, 1), as in the authors'
    code. E, e and the gate as torch.nn.Linear.
Stability claim: with A >= 0 the eigenvalues of an implicit step have modulus (1 + k^2 A)^(-1/2) <= 1; those of an
    implicit-explicit one modulus 1 where k^2 A < 4: the step is symplectic, keeps volumes and dissipates nothing.
    Asserted in tests/models/test_linoss.py.
Reference: Rusch, Rus. Oscillatory State-Space Models. ICLR 2025. https://arxiv.org/abs/2410.03943
Differs from the paper:
    - B and C are real, as in its equations; its authors' code has complex ones, and so two sets of oscillators.
    - LayerNorm before the recurrence in place of batch normalisation, no dropout; the encoder is part of the first
      layer.
    - The group `recurrent` (k_hat, A_hat, B) has the run's own rate unless a recipe sets another.
"""

from typing import Literal

import torch
from torch import Tensor, nn

from stablebench.models.blocks.block import Mix, Norm
from stablebench.models.blocks.linear_oscillators import LinearOscillators
from stablebench.models.claims.claim import Claim
from stablebench.models.claims.linoss import linoss_im_claims, linoss_imex_claims
from stablebench.models.registry import register_model
from stablebench.schema.strict import Count, NonNegativeInt, Positive


@register_model
class LinOSS(LinearOscillators):
    """See the module docstring for the equation.

    Args:
        in_features: Number of input features, the width of x_t, >= 1.
        hidden: Width of the block and of its output, >= 1.
        layer: Position of this layer in the stack, >= 0; 0 is the first.
        state: Number n of oscillators, >= 1; null for `hidden`.
        scheme: Discretisation of the oscillators: `im` implicit, which dissipates, or `imex` implicit-explicit, which
            does not.
        largest: Largest initial value of A, the squared frequencies, > 0.
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
        scheme: Literal["im", "imex"] = "im",
        largest: Positive = 1.0,
        norm: Norm = "layer",
        mix: Mix = "glu",
        skip: bool = True,
    ) -> None:
        super().__init__(in_features, hidden, state=state, layer=layer, norm=norm, mix=mix, skip=skip)
        self.scheme = scheme
        self.A_hat = nn.Parameter(largest * torch.rand(self.state))

    def constants(self) -> tuple[Tensor, Tensor]:
        """Return A and S."""
        A = torch.relu(self.A_hat)
        return A, 1 / (1 + self.steps().square() * A) if self.scheme == "im" else torch.ones_like(A)

    def claims(self) -> list[Claim]:
        """Return where the eigenvalues of a step lie; see `stablebench.models.claims.linoss`."""
        A, S = self.constants()
        if self.scheme == "im":
            return linoss_im_claims(self.transitions(), S)
        return linoss_imex_claims(self.transitions(), self.steps().square() * A)
