r"""S5: one state space model with many inputs and outputs, diagonal and discretised with a step size for every state.

Equation (sections 3 and 4 of the paper; n complex states, one of each conjugate pair):

    h_t = Abar * h_{t-1} + Bbar v_t,    y_t = 2 Re(C h_t) + D * v_t
    Lambda = -exp(log_A_real) + i A_imag,    Delta = exp(log_dt)
    Abar = exp(Delta Lambda),    Bbar = diag((Abar - 1) / Lambda) B           (zero-order hold)

    in a block: u_t = E x_t + e (in the first layer of a stack; x_t in those above), v_t = LayerNorm(u_t),
    o_t = u_t + W_1 gelu(y_t) * sigmoid(W_2 gelu(y_t)), with biases. `norm`, `mix` and `skip` take parts of it away.

Shapes: x_t (batch, in); u_t, v_t, y_t, o_t (batch, hidden); h_t (batch, 2 n): real parts, then imaginary parts;
    log_A_real, A_imag, log_dt (n); B (2, n, hidden) and C (2, hidden, n), real and imaginary part; D (hidden). `hidden`
    is the width of the block; n = `state`, by default the same.
Parameters: `hidden * (6 * hidden + inputs + 9)`. That is the first layer; those above have no E and e.
Cost per step: `hidden * (6 * hidden + 2 * inputs)` multiply-adds; u is computed before and again after the recurrence.
Init: Lambda as `blocks` copies of the eigenvalues with positive imaginary part of the normal part of HiPPO-LegS, of
    size 2 n / blocks: real part -1/2; log_dt ~ U(log dt_min, log dt_max); B complex normal with variance 1 / hidden, C
    with variance 1 / (2 n), D N(0, 1). E, e and the gate as torch.nn.Linear. The paper draws real matrices and takes
    them to the eigenbasis, which is unitary: that is the same distribution.
Stability claim: Re Lambda < 0 whatever the optimiser does, so |Abar| < 1, and dh_T/dh_t, diagonal with Abar^(T-t), does
    not explode. Asserted in tests/models/test_s5.py.
Reference: Smith, Warrington, Linderman. Simplified State Space Layers for Sequence Modeling. ICLR 2023.
    https://arxiv.org/abs/2208.04933
Differs from the paper:
    - Re Lambda is kept negative by its parametrisation; the paper trains it freely.
    - LayerNorm before the recurrence, no dropout, not bidirectional; the encoder is part of the first layer.
    - The group `recurrent` (log_dt, log_A_real, A_imag, B) has the run's own rate unless a recipe sets another; the
      paper gives it a smaller one and no weight decay.
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn

from stablebench.errors import UserError
from stablebench.models.base import ParameterGroup, with_main_group
from stablebench.models.blocks.block import Mix, Norm
from stablebench.models.blocks.in_block import InBlock, complex_pair
from stablebench.models.blocks.linear import LinearRecurrence, moduli
from stablebench.models.claims.claim import Claim
from stablebench.models.claims.linear_steps import stable_diagonal
from stablebench.models.recurrent.s4d import frequencies_of
from stablebench.models.registry import register_model
from stablebench.schema.strict import Count, NonNegativeInt, Positive


@register_model
class S5(InBlock, LinearRecurrence):
    """See the module docstring for the equation.

    Args:
        in_features: Number of input features, the width of x_t, >= 1.
        hidden: Width of the block and of its output, >= 1.
        layer: Position of this layer in the stack, >= 0; 0 is the first.
        state: Number n of complex states of the recurrence, each of a conjugate pair, >= 1; null for `hidden`.
        blocks: Number of equal blocks of the initial state matrix, >= 1; it divides n.
        dt_min: Smallest initial step size of a state, > 0.
        dt_max: Largest initial step size of a state, > 0.
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
        blocks: Count = 1,
        dt_min: Positive = 0.001,
        dt_max: Positive = 0.1,
        norm: Norm = "layer",
        mix: Mix = "glu",
        skip: bool = True,
    ) -> None:
        super().__init__(in_features, hidden, state=state, layer=layer, norm=norm, mix=mix, skip=skip)
        n = self.state
        if n % blocks:
            raise UserError(f"`blocks` must divide the number of states, got {blocks} and {n}.")
        if dt_min > dt_max:
            raise UserError(f"`dt_min` must be <= `dt_max`, got {dt_min} and {dt_max}.")
        low, high = math.log(dt_min), math.log(dt_max)
        self.log_dt = nn.Parameter(low + (high - low) * torch.rand(n))
        self.log_A_real = nn.Parameter(torch.full((n,), math.log(0.5)))
        self.A_imag = nn.Parameter(frequencies_of("legs", 2 * n // blocks).to(self.log_dt.dtype).repeat(blocks))
        self.B = complex_pair(n, hidden, variance=1 / hidden)
        self.C = complex_pair(hidden, n, variance=1 / (2 * n))

    @property
    def state_sizes(self) -> tuple[int, ...]:
        """The width of h: both halves."""
        return (2 * self.state,)

    def discretised(self) -> tuple[Tensor, Tensor]:
        """Return Abar and (Abar - 1) / Lambda, complex (n,) each."""
        eigenvalues = torch.complex(-torch.exp(self.log_A_real), self.A_imag)
        x = torch.exp(self.log_dt) * eigenvalues
        return torch.exp(x), torch.expm1(x) / eigenvalues

    def read(self, v: Float[Tensor, "*steps hidden"]) -> Float[Tensor, "*steps {2*self.state}"]:
        """Return Bbar v_t."""
        matrix = self.discretised()[1][:, None] * torch.complex(*self.B)
        return nn.functional.linear(v, torch.cat([matrix.real, matrix.imag]))

    def recurrent_weights(self) -> Float[Tensor, " {2*self.state}"]:
        """Return Abar."""
        a = self.discretised()[0]
        return torch.cat([a.real, a.imag])

    def recurrent_matrix(self) -> Tensor:
        """Return diag(Abar), complex."""
        return torch.diag(self.discretised()[0])

    def terms(self, projected: Tensor, recurrent_weights: Tensor) -> tuple[Tensor, Tensor]:
        """Return Abar and Bbar v_t."""
        return recurrent_weights, projected

    def readout(self, output: Float[Tensor, "*steps {2*self.state}"]) -> Float[Tensor, "*steps hidden"]:
        """Return 2 Re(C h_t)."""
        real, imag = self.C
        return nn.functional.linear(output, 2 * torch.cat([real, -imag], dim=1))

    def parameter_groups(self) -> list[ParameterGroup]:
        """Return `main` and `recurrent`, what makes up the recurrence: the paper gives it a smaller rate."""
        own = [self.log_dt, self.log_A_real, self.A_imag, self.B]
        return with_main_group(self, ParameterGroup("recurrent", own))

    def claims(self) -> list[Claim]:
        """Return that the recurrence is stable, and what that makes of the Jacobian over N steps."""
        most = moduli(self.recurrent_weights().detach()).max().item()
        return stable_diagonal(most, "|Abar|", "Re A < 0, by construction")
