r"""AntisymmetricRNN: forward Euler on an ODE whose recurrent matrix has its spectrum on one vertical line.

Equation (section 3 of the paper), M = W - W^T - gamma I, step epsilon, diffusion gamma:

    h_t = h_{t-1} + epsilon tanh(M h_{t-1} + V_h x_t + b_h)

With `gated` (section 3.4; one M for the gate and the candidate):

    z_t = sigmoid(M h_{t-1} + V_z x_t + b_z)
    h_t = h_{t-1} + epsilon z_t * tanh(M h_{t-1} + V_h x_t + b_h)

Shapes: x_t (batch, in); h_t, z_t (batch, hidden); W (hidden, hidden), of which the entries above the diagonal are the
    parameters, row by row, and the others 0; V (hidden, in) and b (hidden), gated (2 hidden, in) and (2 hidden) with
    the blocks h, z.
Parameters: `hidden * (hidden - 1) / 2 + hidden * (inputs + 1)`.
Cost per step: `hidden * (hidden + inputs)` multiply-adds.
Init: W ~ N(0, sigma_w^2 / hidden) above the diagonal, V ~ N(0, 1 / in), b = 0.
Stability claim: all eigenvalues of M have real part -gamma, and those of the ODE's Jacobian diag(tanh') M, tanh' in
    (0, 1], have real parts in [-gamma, 0], for gamma = 0 all 0 (proposition 3). Forward Euler adds growth: 1 + epsilon
    (-gamma + i w) is inside the unit circle only for w^2 < 2 gamma / epsilon - gamma^2, which is what gamma is for.
    Asserted in tests/models/test_antisymmetric.py.
Reference: Chang, Chen, Haber, Chi. AntisymmetricRNN: A Dynamical System View on Recurrent Neural Networks. ICLR 2019.
    https://arxiv.org/abs/1902.09689
Differs from the paper:
    - Nothing known in the equations.
    - Its count of n (n - 1) / 2 for the recurrent matrix is taken to mean that W is strictly triangular; W drawn in
      full would make W - W^T larger by sqrt(2).
    - Section and proposition numbers are from memory.
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn

from stablebench.models.base import State
from stablebench.models.blocks.affine_input import AffineInput
from stablebench.models.blocks.skew_exponential import filled
from stablebench.models.claims.claim import Claim, Evidence, Outcome, at_most
from stablebench.models.registry import register_model
from stablebench.schema.strict import NonNegative, Positive


@register_model
class Antisymmetric(AffineInput):
    """See the module docstring for the equation.

    Args:
        in_features: Number of input features, the width of x_t, >= 1.
        hidden: Number of units, the width of the state h_t, >= 1.
        epsilon: Step size of forward Euler, > 0; smaller steps keep the state longer.
        gamma: Diffusion, >= 0: the eigenvalues of the recurrent matrix have real part -gamma.
        sigma_w: Scale of the initial recurrent matrix, > 0: W's entries have standard deviation sigma_w / sqrt(hidden).
        gated: Whether a gate z_t scales the Euler step of each unit.
    """

    above: Tensor

    def __init__(
        self,
        in_features: int,
        hidden: int,
        *,
        epsilon: Positive = 0.01,
        gamma: NonNegative = 0.01,
        sigma_w: Positive = 1.0,
        gated: bool = False,
    ) -> None:
        super().__init__(in_features, hidden)
        self.epsilon = epsilon
        self.gamma = gamma
        self.gated = gated
        rows, columns = torch.triu_indices(hidden, hidden, offset=1)
        maps = 2 if gated else 1
        self.W = nn.Parameter(torch.randn(len(rows)) * (sigma_w / math.sqrt(hidden)))
        self.V = nn.Parameter(torch.randn(maps * hidden, in_features) / math.sqrt(in_features))
        self.b = nn.Parameter(torch.zeros(maps * hidden))
        self.register_buffer("above", rows * hidden + columns, persistent=False)

    def M(self) -> Tensor:
        """Return W - W^T - gamma I, (hidden, hidden)."""
        W = filled(self.hidden, self.above, self.W)
        return W - W.T - self.gamma * torch.eye(self.hidden, dtype=W.dtype, device=W.device)

    def recurrent_weights(self) -> Float[Tensor, "hidden hidden"]:
        """Return M, transposed for states in rows."""
        return self.M().T

    def recurrent_matrix(self) -> Tensor | None:
        """Return I + epsilon M, or None with a gate."""
        return None if self.gated else torch.eye(self.hidden, dtype=self.W.dtype) + self.epsilon * self.M()

    def step(
        self,
        projected: Float[Tensor, "batch projected"],
        state: State,
        recurrent_weights: Float[Tensor, "hidden hidden"],
    ) -> State:
        """Return h_t."""
        (h,) = state
        recurrent = h @ recurrent_weights
        if not self.gated:
            return (h + self.epsilon * torch.tanh(recurrent + projected),)
        candidate, gate = projected.chunk(2, dim=-1)
        return (h + self.epsilon * torch.sigmoid(recurrent + gate) * torch.tanh(recurrent + candidate),)

    def claims(self) -> list[Claim]:
        """Return that the spectrum lies on one vertical line."""

        def check(e: Evidence) -> Outcome:
            M = self.M().detach().double()
            deviation = (torch.linalg.eigvals(M).real + self.gamma).abs().max().item()
            return at_most(deviation, len(M) * e.weights_eps * max(1.0, torch.linalg.matrix_norm(M, 2).item()))

        return [Claim("largest |Re(eigenvalue of W - W^T - gamma I) + gamma| = 0", "none", check, about="weights")]
