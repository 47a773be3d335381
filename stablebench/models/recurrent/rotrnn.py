r"""RotRNN: a linear recurrence whose matrix is a rotation times a scalar decay, head by head.

Equation (section 3 of the paper; a head has N / heads states):

    h_t = gamma P R(theta) P^T h_{t-1} + xi B v_t,    y_t = C h_t + D * v_t
    gamma = exp(-exp(gamma_log)),    P = exp(M - M^T),    xi = sqrt((1 - gamma^2) / trace(B^T B))

    R(theta) turns pairs of states by angles theta. Computed in the basis of P, as g_t = P^T h_t, whose matrix is gamma
    R(theta): a diagonal one of complex numbers gamma exp(i theta).

    in a block: u_t = E x_t + e (in the first layer of a stack; x_t in those above), v_t = LayerNorm(u_t),
    o_t = u_t + W_1 gelu(y_t) * sigmoid(W_2 gelu(y_t)), with biases. `norm`, `mix` and `skip` take parts of it away.

Shapes: x_t (batch, in); u_t, v_t, y_t, o_t (batch, hidden); the state g_t (batch, N): the first states of all pairs,
    then the second ones; theta (heads, N / 2 / heads), gamma_log (heads), M (heads, N / heads, N / heads), B (heads, N
    / heads, hidden), C (hidden, N), D (hidden). `hidden` is the width of the block; N = `state`, by default the same,
    or one more where that is odd.
Parameters: `hidden * (4 * hidden + hidden / heads + inputs + 13 / 2) + heads`. That is the first layer; those above
    have no E and e.
Cost per step: `hidden * (4 * hidden + 2 * hidden / heads + 2 * inputs)` multiply-adds; u is computed before and again
    after the recurrence.
Init: gamma: log(-log gamma) uniform between its values at gamma_max and gamma_min; theta ~ U(0, max_phase); M N(0, 1);
    B, C N(0, 1 / (hidden + N)); D N(0, 1). E, e and the gate as torch.nn.Linear.
Stability claim: all singular values of dh_T/dh_t are those of the heads, gamma^(T-t) exactly, below 1 whatever the
    optimiser does; by xi a white input of unit variance keeps E|h|^2 of a head at 1 for all t. Asserted in
    tests/models/test_rotrnn.py.
Reference: Biegun, Dolga, Cunningham, Barber. RotRNN: Modelling Long Sequences with Rotations. 2024.
    https://arxiv.org/abs/2407.07239
Differs from the paper:
    - LayerNorm before the recurrence, no dropout, not bidirectional; the encoder is part of the first layer.
    - The group `recurrent` (gamma_log, theta, M, B) has the run's own rate unless a recipe sets another.
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn

from stablebench.errors import UserError
from stablebench.models.base import ParameterGroup, with_main_group
from stablebench.models.blocks.block import Mix, Norm
from stablebench.models.blocks.in_block import InBlock
from stablebench.models.blocks.linear import LinearRecurrence
from stablebench.models.claims.claim import Claim, Evidence, Outcome, singular_values_within, stays_orthogonal
from stablebench.models.registry import register_model
from stablebench.schema.strict import Count, NonNegativeInt, Positive


@register_model
class RotRNN(InBlock, LinearRecurrence):
    """See the module docstring for the equation.

    Args:
        in_features: Number of input features, the width of x_t, >= 1.
        hidden: Width of the block and of its output, >= 1.
        layer: Position of this layer in the stack, >= 0; 0 is the first.
        state: Number N of states, rotated in pairs, even and >= 2; null for `hidden`, or one more where that is odd.
        heads: Number of heads, each with a decay of its own, >= 1; it divides N / 2.
        gamma_min: Smallest initial decay gamma, > 0 and < gamma_max.
        gamma_max: Largest initial decay gamma, > 0 and < 1; nearer to 1 the memory is longer.
        max_phase: Largest initial angle theta, in radians, > 0.
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
        heads: Count = 1,
        gamma_min: Positive = 0.9,
        gamma_max: Positive = 0.999,
        max_phase: Positive = 2 * math.pi,
        norm: Norm = "layer",
        mix: Mix = "glu",
        skip: bool = True,
    ) -> None:
        state = hidden + hidden % 2 if state is None else state
        super().__init__(in_features, hidden, state=state, layer=layer, norm=norm, mix=mix, skip=skip)
        if state % (2 * heads):
            raise UserError(f"`heads` must divide half the number of states, which is even; got {heads} and {state}.")
        if not gamma_min < gamma_max < 1:
            raise UserError(
                f"`gamma_min` and `gamma_max` must be 0 < gamma_min < gamma_max < 1, got {gamma_min} and {gamma_max}."
            )
        self.heads = heads
        size = state // heads
        low, high = math.log(-math.log(gamma_max)), math.log(-math.log(gamma_min))
        self.gamma_log = nn.Parameter(torch.empty(heads).uniform_(low, high))
        self.theta = nn.Parameter(max_phase * torch.rand(heads, size // 2))
        self.M = nn.Parameter(torch.randn(heads, size, size))
        scale = 1 / math.sqrt(hidden + state)
        self.B = nn.Parameter(scale * torch.randn(heads, size, hidden))
        self.C = nn.Parameter(scale * torch.randn(hidden, state))

    @property
    def state_sizes(self) -> tuple[int, ...]:
        """The width of g: both halves."""
        return (self.state,)

    def decays(self) -> Float[Tensor, " heads"]:
        """Return gamma."""
        return torch.exp(-torch.exp(self.gamma_log))

    def bases(self) -> Float[Tensor, "heads size size"]:
        """Return P, orthogonal."""
        return torch.matrix_exp(self.M - self.M.mT)

    def read(self, v: Float[Tensor, "*steps hidden"]) -> Float[Tensor, "*steps {self.state}"]:
        """Return P^T xi B v_t, the first states of all pairs and then the second ones."""
        xi = torch.sqrt((1 - self.decays().square()) / self.B.square().sum((1, 2)))
        driven = nn.functional.linear(v, (xi[:, None, None] * self.B).flatten(0, 1)).unflatten(-1, (self.heads, -1))
        turned = torch.einsum("...hi,hij->...hj", driven, self.bases())
        return torch.cat([half.flatten(-2) for half in turned.chunk(2, dim=-1)], dim=-1)

    def recurrent_weights(self) -> Float[Tensor, " {self.state}"]:
        """Return gamma exp(i theta)."""
        gamma = self.decays()[:, None]
        return torch.cat([(gamma * torch.cos(self.theta)).flatten(), (gamma * torch.sin(self.theta)).flatten()])

    def recurrent_matrix(self) -> Tensor:
        """Return diag(gamma exp(i theta)), complex."""
        return torch.diag(torch.complex(*self.recurrent_weights().chunk(2)))

    def terms(self, projected: Tensor, recurrent_weights: Tensor) -> tuple[Tensor, Tensor]:
        """Return gamma exp(i theta), and what enters."""
        return recurrent_weights, projected

    def readout(self, output: Float[Tensor, "*steps {self.state}"]) -> Float[Tensor, "*steps hidden"]:
        """Return C P g_t."""
        halves = [half.unflatten(-1, (self.heads, -1)) for half in output.chunk(2, dim=-1)]
        h = torch.einsum("...hj,hij->...hi", torch.cat(halves, dim=-1), self.bases())
        return nn.functional.linear(h.flatten(-2), self.C)

    def parameter_groups(self) -> list[ParameterGroup]:
        """Return `main` and `recurrent`, what makes up the recurrence."""
        own = [self.gamma_log, self.theta, self.M, self.B]
        return with_main_group(self, ParameterGroup("recurrent", own))

    def orthogonal_matrices(self) -> dict[str, Tensor]:
        """Return P."""
        return {"P": self.bases()}

    def claims(self) -> list[Claim]:
        """Return that P is orthogonal, and that the singular values over N steps are those of the decays."""
        low, high = (math.log(gamma.item()) for gamma in self.decays().detach().aminmax())

        def check(e: Evidence) -> Outcome:
            return singular_values_within(e, e.steps * low, e.steps * high, 4 * e.steps * e.weights_eps)

        def orthogonal(e: Evidence) -> Outcome:
            return stays_orthogonal(e, torch.block_diag(*self.bases()))

        return [
            Claim("||P^T P - I|| = 0", "none", orthogonal, about="weights"),
            Claim(
                "log10 of the singular values of dh_T/dh_1 within N log10 of the least and the greatest gamma",
                "none",
                check,
            ),
        ]
