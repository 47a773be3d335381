r"""LRU: the linear recurrent unit, a diagonal complex recurrence that is stable by its parametrisation.

Equation (section 3 of the paper, eq. 7 and what follows; n complex states):

    h_t = lambda * h_{t-1} + gamma * (B v_t)
    y_t = Re(C h_t) + D * v_t
    lambda = exp(-exp(nu_log) + i exp(theta_log)),    gamma = exp(gamma_log)

    in a block: u_t = E x_t + e (in the first layer of a stack; x_t in those above), v_t = LayerNorm(u_t),
    o_t = u_t + W_1 gelu(y_t) * sigmoid(W_2 gelu(y_t)), with biases. `norm`, `mix` and `skip` take parts of it away.

Shapes: x_t (batch, in); u_t, v_t, y_t, o_t (batch, hidden); h_t (batch, 2 n): real parts, then imaginary parts;
    nu_log, theta_log, gamma_log (n); B (2, n, hidden) and C (2, hidden, n), real and imaginary part; D (hidden).
    `hidden` is the width of the block; n = `state`, by default the same.
Parameters: `hidden * (6 * hidden + inputs + 9)`. That is the first layer; those above have no E and e.
Cost per step: `hidden * (6 * hidden + 2 * inputs)` multiply-adds; u is computed before and again after the recurrence.
Init: |lambda|^2 ~ U(r_min^2, r_max^2), so lambda uniform on the ring, phase ~ U(0, max_phase), gamma =
    sqrt(1 - |lambda|^2) and then trained; B entries with real and imaginary part N(0, 1/(2 hidden)), C N(0, 1/n), D
    N(0, 1). E, e and the gate as torch.nn.Linear.
Stability claim: |lambda| = exp(-exp(nu_log)) < 1 whatever the optimiser does, so dh_T/dh_t, diagonal with lambda^(T-t),
    has singular values |lambda|^(T-t); at initialisation r_min <= |lambda| <= r_max. Asserted in
    tests/models/test_lru.py.
Adding: one layer with `norm` and `mix` none is linear in its inputs, and no linear function of numbers and marks has
    a mean squared error under 1/6 - 1/(3 T), 0.165 at T = 200 (tests/data/test_adding.py): it stays at the baseline.
    Two blocks can do it, the gate of the first multiplies number and mark, the second adds up. Learning that needs
    slow states, and takes longer the longer T is. With 32 units, r_min 0.9, r_max 0.9999, max_phase 0.001, lr 0.01,
    batch 50 and seed 0 the error falls under 0.01 after 1,100 updates at T = 50 and about 1,700 at T = 100; at T =
    200 it is at the baseline after 2,000 and after 4,700, and after 2,000 with 64 units on rings of 0.9 to 0.999 and
    0.99 to 0.9999. s4d takes 1,800 updates there: its slow states start with small inputs, Bbar about Delta, where
    gamma here is sqrt(1 - |lambda|^2). mingru and minlstm, whose gates see the mark and keep the number, take 300
    (two layers) and 900 (one).
Reference: Orvieto, Smith, Gu, Fernando, Gulcehre, Pascanu, De. Resurrecting Recurrent Neural Networks for Long
    Sequences. ICML 2023. https://arxiv.org/abs/2303.06349
Differs from the paper:
    - LayerNorm only (the paper also has batch normalisation), no dropout.
    - The encoder is part of the first layer.
    - The group `recurrent` (nu_log, theta_log, gamma_log, B) has the run's own rate unless a recipe sets another; the
      paper gives it a smaller one and no weight decay.
    - Written from the equations. The order of the block's parts follows the S4 line of models that the paper builds on,
      and was not checked against its code.
"""

import math

import torch
from jaxtyping import Complex, Float
from torch import Tensor, nn

from stablebench.errors import UserError
from stablebench.models.base import ParameterGroup, with_main_group
from stablebench.models.blocks.block import Block, Mix, Norm
from stablebench.models.blocks.linear import LinearRecurrence, moduli
from stablebench.models.claims.claim import Claim, Evidence, Outcome, smallest_singular_value_at_least
from stablebench.models.claims.linear_steps import stable_diagonal
from stablebench.models.registry import register_model
from stablebench.schema.strict import Count, NonNegative, NonNegativeInt, Positive


@register_model
class LRU(LinearRecurrence):
    """See the module docstring for the equation.

    Args:
        in_features: Number of input features, the width of x_t, >= 1.
        hidden: Width of the block and of its output, >= 1.
        layer: Position of this layer in the stack, >= 0; 0 is the first.
        state: Number n of complex states of the recurrence, >= 1; null for `hidden`.
        r_min: Smallest initial modulus of the eigenvalues lambda, >= 0 and < r_max.
        r_max: Largest initial modulus of the eigenvalues lambda, > 0 and <= 1.
        max_phase: Largest initial phase of the eigenvalues lambda, in radians, > 0.
        norm: Normalisation of the block's input before the recurrence: `layer` (LayerNorm over the features), `rms`
            (RMSNorm) or `none`.
        mix: Map after the recurrence: `glu` (gated linear unit of gelu), `gelu` only, or `none`.
        skip: Whether the block's input is added to its output (residual connection).
    """

    complex_state = True

    def __init__(
        self,
        in_features: int,
        hidden: int,
        *,
        layer: NonNegativeInt = 0,
        state: Count | None = None,
        r_min: NonNegative = 0.0,
        r_max: Positive = 1.0,
        max_phase: Positive = 2 * math.pi,
        norm: Norm = "layer",
        mix: Mix = "glu",
        skip: bool = True,
    ) -> None:
        super().__init__(in_features, hidden)
        if not r_min < r_max <= 1:
            raise UserError(
                f"`r_min` and `r_max` must be 0 <= r_min < r_max <= 1 (moduli of lambda), got {r_min} and {r_max}."
            )
        self.state = n = hidden if state is None else state
        self.block = Block(in_features, hidden, layer=layer, norm=norm, mix=mix, skip=skip)
        uniform = torch.rand(2, n, dtype=torch.float64)  # so that no modulus rounds to 0 or 1
        squared = r_min**2 + (r_max**2 - r_min**2) * uniform[0]
        nu, theta = -0.5 * torch.log(squared), max_phase * uniform[1]
        dtype = torch.get_default_dtype()
        self.nu_log = nn.Parameter(torch.log(nu).to(dtype))
        self.theta_log = nn.Parameter(torch.log(theta).to(dtype))
        self.gamma_log = nn.Parameter((0.5 * torch.log1p(-squared)).to(dtype))
        self.B = nn.Parameter(torch.randn(2, n, hidden) / math.sqrt(2 * hidden))
        self.C = nn.Parameter(torch.randn(2, hidden, n) / math.sqrt(n))
        self.D = nn.Parameter(torch.randn(hidden))

    @property
    def state_sizes(self) -> tuple[int, ...]:
        """The width of h: both halves."""
        return (2 * self.state,)

    @property
    def out_features(self) -> int:
        """The width of the block."""
        return self.hidden

    def input_projection(self, x: Float[Tensor, "batch time in"]) -> Float[Tensor, "batch time {2*self.state}"]:
        """Return B v_t, (batch, time, 2 n)."""
        return nn.functional.linear(self.block.read(x), self.B.flatten(0, 1))

    def recurrent_weights(self) -> tuple[Float[Tensor, " {2*self.state}"], Float[Tensor, " {2*self.state}"]]:
        """Return lambda and gamma, (2 n,) each; gamma is real, so it is the same for both halves."""
        modulus, phase = torch.exp(-torch.exp(self.nu_log)), torch.exp(self.theta_log)
        gamma = torch.exp(self.gamma_log)
        return modulus.repeat(2) * torch.cat([torch.cos(phase), torch.sin(phase)]), gamma.repeat(2)

    def recurrent_matrix(self) -> Complex[Tensor, "state state"]:
        """Return diag(lambda), complex."""
        real, imaginary = self.recurrent_weights()[0].chunk(2)
        return torch.diag(torch.complex(real, imaginary))

    def terms(
        self,
        projected: Float[Tensor, "*steps {2*self.state}"],
        recurrent_weights: tuple[Float[Tensor, " {2*self.state}"], Float[Tensor, " {2*self.state}"]],
    ) -> tuple[Tensor, Tensor]:
        """Return lambda and gamma * (B v_t)."""
        eigenvalues, gamma = recurrent_weights
        return eigenvalues, gamma * projected

    def layer_output(
        self, output: Float[Tensor, "*steps state"], x: Float[Tensor, "*steps in"]
    ) -> Float[Tensor, "*steps out"]:
        """Return o_t."""
        u = self.block.stream(x)
        real, imaginary = self.C
        y = nn.functional.linear(output, torch.cat([real, -imaginary], dim=1)) + self.D * self.block.norm(u)
        return self.block.merge_residual(y, u)

    def parameter_groups(self) -> list[ParameterGroup]:
        """Return `main` and `recurrent`, what makes up the recurrence: the paper gives it a smaller rate."""
        return with_main_group(self, ParameterGroup("recurrent", [self.nu_log, self.theta_log, self.gamma_log, self.B]))

    def claims(self) -> list[Claim]:
        """Return that the recurrence is stable, and what that makes of the Jacobian over N steps."""
        low, high = (bound.item() for bound in moduli(self.recurrent_weights()[0].detach()).aminmax())

        def check(e: Evidence) -> Outcome:
            return smallest_singular_value_at_least(e, e.steps * math.log(low), 2 * e.steps * e.weights_eps)

        least = "log10 of the smallest singular value of dh_T/dh_1 >= N log10(min |lambda|)"
        return [*stable_diagonal(high, "|lambda|", "none"), Claim(least, "none", check)]
