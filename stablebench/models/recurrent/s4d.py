r"""S4D: a diagonal state space model for every channel, discretised with a step size of its own.

Equation (sections 2 and 3 of the paper; each channel has N / 2 complex states, one of each conjugate pair):

    h_t = Abar * h_{t-1} + Bbar * v_t,    y_t = 2 Re(sum over the states of C h_t) + D * v_t
    A = -exp(log_A_real) + i A_imag,      Delta = exp(log_dt)
    Abar = exp(Delta A),  Bbar = (Abar - 1) / A                                         (`discretisation` zoh)
    Abar = (1 + Delta A / 2) / (1 - Delta A / 2),  Bbar = Delta / (1 - Delta A / 2)     (bilinear)

    in a block: u_t = E x_t + e (in the first layer of a stack; x_t in those above), v_t = LayerNorm(u_t),
    o_t = u_t + W_1 gelu(y_t) * sigmoid(W_2 gelu(y_t)), with biases. `norm`, `mix` and `skip` take parts of it away.

Shapes: x_t (batch, in); u_t, v_t, y_t, o_t (batch, hidden); h_t (batch, N hidden): real parts, then imaginary parts,
    of either the first state of all channels, then the second, and so on; log_A_real, A_imag (N / 2, hidden); C
    (2, N / 2, hidden), real and imaginary part; log_dt, D (hidden). `hidden` are the channels, N = `state`.
Parameters: `hidden * (2 * hidden + inputs + 2 * state + 7)`. That is the first layer; those above have no E and e.
Cost per step: `hidden * (2 * hidden + 2 * inputs)` multiply-adds; u is computed before and again after the recurrence.
    The recurrence and its readout are elementwise: 4 N hidden multiply-adds more.
Init: A_n for n = 0 ... N / 2 - 1, the same for all channels: `init` lin -1/2 + i pi n; inv -1/2 + i (N / pi)
    (N / (2 n + 1) - 1); legs -1/2 and the positive imaginary parts of the eigenvalues of the normal part of
    HiPPO-LegS. log_dt ~ U(log dt_min, log dt_max). C complex standard normal, D N(0, 1). E, e and the gate as
    torch.nn.Linear.
Stability claim: Re A < 0 whatever the optimiser does, so |Abar| < 1 under either discretisation, and dh_T/dh_t,
    diagonal with Abar^(T-t), does not explode. The layer is the convolution of v with K_t = 2 Re(sum C Abar^t Bbar).
    Asserted in tests/models/test_s4d.py.
Adding: two layers of 32 units solve it at 200 steps in 1,800 updates at lr 0.01; lru.py says why one linear layer
    cannot.
Reference: Gu, Gupta, Goel, Re. On the Parameterization and Initialization of Diagonal State Space Models. NeurIPS 2022.
    https://arxiv.org/abs/2206.11893
Differs from the paper:
    - N is 16, not 64, because here all states of a chain are computed and stored, N hidden numbers a step, where the
      paper has only the kernel.
    - B is 1 and not trained: it enters only in a product with C.
    - LayerNorm before the recurrence, no dropout; the encoder is part of the first layer.
    - The group `recurrent` (log_dt, log_A_real, A_imag) has the run's own rate unless a recipe sets another; the paper
      gives it a smaller one and no weight decay.
    - Written from the equations; the block was not checked against the authors' code.
"""

import math
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from stablebench.errors import UserError
from stablebench.models.base import ParameterGroup, with_main_group
from stablebench.models.blocks.block import Block, Mix, Norm
from stablebench.models.blocks.linear import LinearRecurrence, moduli
from stablebench.models.claims.claim import Claim
from stablebench.models.claims.linear_steps import stable_diagonal
from stablebench.models.registry import register_model
from stablebench.schema.strict import Count, NonNegativeInt, Positive

DiagonalInit = Literal["lin", "inv", "legs"]


@register_model
class S4D(LinearRecurrence):
    """See the module docstring for the equation.

    Args:
        in_features: Number of input features, the width of x_t, >= 1.
        hidden: Number of channels, the width of the block and of its output, >= 1.
        layer: Position of this layer in the stack, >= 0; 0 is the first.
        state: Number N of states of each channel, even and >= 1: N / 2 conjugate pairs.
        init: Initial diagonal A: `lin` (S4D-Lin), `inv` (S4D-Inv) or `legs` (S4D-LegS).
        discretisation: Discretisation of the state space model: zero-order hold (`zoh`) or `bilinear`.
        dt_min: Smallest initial step size of a channel, > 0.
        dt_max: Largest initial step size of a channel, > 0.
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
        state: Count = 16,
        init: DiagonalInit = "lin",
        discretisation: Literal["zoh", "bilinear"] = "zoh",
        dt_min: Positive = 0.001,
        dt_max: Positive = 0.1,
        norm: Norm = "layer",
        mix: Mix = "glu",
        skip: bool = True,
    ) -> None:
        super().__init__(in_features, hidden)
        if state % 2:
            raise UserError(f"`state` must be even (it counts conjugate pairs twice), got {state}.")
        if dt_min > dt_max:
            raise UserError(f"`dt_min` must be <= `dt_max`, got {dt_min} and {dt_max}.")
        self.state = state
        self.discretisation = discretisation
        self.block = Block(in_features, hidden, layer=layer, norm=norm, mix=mix, skip=skip)
        pairs = state // 2
        low, high = math.log(dt_min), math.log(dt_max)
        self.log_dt = nn.Parameter(low + (high - low) * torch.rand(hidden))
        frequencies = frequencies_of(init, state).to(self.log_dt.dtype)
        self.log_A_real = nn.Parameter(torch.full((pairs, hidden), math.log(0.5)))
        self.A_imag = nn.Parameter(frequencies[:, None].repeat(1, hidden))
        self.C = nn.Parameter(torch.randn(2, pairs, hidden) / math.sqrt(2))
        self.D = nn.Parameter(torch.randn(hidden))

    @property
    def state_sizes(self) -> tuple[int, ...]:
        """The width of h: both halves."""
        return (self.state * self.hidden,)

    @property
    def out_features(self) -> int:
        """The channels."""
        return self.hidden

    def input_projection(self, x: Float[Tensor, "batch time in"]) -> Float[Tensor, "batch time hidden"]:
        """Return v_t, (batch, time, hidden)."""
        return self.block.read(x)

    def recurrent_weights(self) -> tuple[Tensor, Tensor]:
        """Return Abar and Bbar, (N hidden,) each."""
        dt = torch.exp(self.log_dt)
        real, imag = -torch.exp(self.log_A_real), self.A_imag
        x, y = dt * real, dt * imag
        if self.discretisation == "zoh":
            a = torch.exp(x) * torch.cos(y), torch.exp(x) * torch.sin(y)
            less_one = torch.expm1(x) * torch.cos(y) - 2 * torch.sin(y / 2).square(), a[1]  # exact for small Delta
            b = _divided(less_one, (real, imag))
        else:
            a = _divided((1 + x / 2, y / 2), (1 - x / 2, -y / 2))
            b = _divided((dt.expand_as(x), torch.zeros_like(y)), (1 - x / 2, -y / 2))
        return torch.cat(a).flatten(), torch.cat(b).flatten()

    def terms(
        self, projected: Float[Tensor, "*steps hidden"], recurrent_weights: tuple[Tensor, Tensor]
    ) -> tuple[Tensor, Tensor]:
        """Return Abar and Bbar * v_t."""
        a, b = recurrent_weights
        return a, torch.cat([projected] * self.state, dim=-1) * b

    def layer_output(
        self, output: Float[Tensor, "*steps state"], x: Float[Tensor, "*steps in"]
    ) -> Float[Tensor, "*steps out"]:
        """Return o_t."""
        u = self.block.stream(x)
        real, imag = self.C
        weights = 2 * torch.cat([real, -imag])
        y = (output.unflatten(-1, weights.shape) * weights).sum(-2) + self.D * self.block.norm(u)
        return self.block.merge_residual(y, u)

    def kernel(self, steps: int) -> Tensor:
        """Return K_0 ... K_{steps-1}, (steps, hidden): y is v convolved with it, plus D v."""
        real, imag = (half.unflatten(0, (-1, self.hidden)) for half in self.recurrent_weights()[0].chunk(2))
        b_re, b_im = (half.unflatten(0, (-1, self.hidden)) for half in self.recurrent_weights()[1].chunk(2))
        powers = torch.complex(real, imag) ** torch.arange(steps, device=real.device)[:, None, None]
        return 2 * (torch.complex(*self.C) * torch.complex(b_re, b_im) * powers).sum(1).real

    def parameter_groups(self) -> list[ParameterGroup]:
        """Return `main` and `recurrent`, the step sizes and A: the paper gives them a smaller rate."""
        return with_main_group(self, ParameterGroup("recurrent", [self.log_dt, self.log_A_real, self.A_imag]))

    def claims(self) -> list[Claim]:
        """Return that the recurrence is stable, and what that makes of the Jacobian over N steps."""
        most = moduli(self.recurrent_weights()[0].detach()).max().item()
        return stable_diagonal(most, "|Abar|", "Re A < 0, by construction")


def frequencies_of(init: DiagonalInit, state: int) -> Tensor:
    """Return the initial imaginary parts of A, (state / 2,), in float64."""
    n = torch.arange(state // 2, dtype=torch.float64)
    if init == "lin":
        return math.pi * n
    if init == "inv":
        return state / math.pi * (state / (2 * n + 1) - 1)
    # HiPPO-LegS plus a matrix of rank one is -1/2 I and a skew-symmetric matrix, whose eigenvalues are imaginary
    root = torch.sqrt(2 * torch.arange(state, dtype=torch.float64) + 1)
    lower = torch.tril(torch.outer(root, root) / 2, -1)
    return torch.linalg.eigvalsh(1j * (lower.T - lower))[state // 2 :]


def _divided(top: tuple[Tensor, Tensor], bottom: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    """Return the quotient of complex numbers given as real and imaginary parts."""
    (a, b), (c, d) = top, bottom
    size = c * c + d * d
    return (a * c + b * d) / size, (b * c - a * d) / size
