r"""LEM: two states whose time steps are learned and depend on state and input, so that many time scales fit in.

Equation (3 of the paper), sigma_hat the sigmoid:

    dt_t  = dt sigma_hat(W_1 y_{t-1} + V_1 u_t + b_1)
    dt'_t = dt sigma_hat(W_2 y_{t-1} + V_2 u_t + b_2)
    z_t = (1 - dt_t) * z_{t-1} + dt_t * tanh(W_z y_{t-1} + V_z u_t + b_z)
    y_t = (1 - dt'_t) * y_{t-1} + dt'_t * tanh(W_y z_t + V_y u_t + b_y)

Shapes: u_t (batch, in); y_t, z_t (batch, hidden); W (3 hidden, hidden) with the blocks 1, 2, z; W_y (hidden, hidden);
    V (4 hidden, in) and b (4 hidden) with the blocks 1, 2, z, y. The states are (y, z), the output is y.
Parameters: `4 * hidden * (hidden + inputs + 1)`.
Cost per step: `4 * hidden * (hidden + inputs)` multiply-adds.
Init: as in the authors' code: all U(-1/sqrt(hidden), 1/sqrt(hidden)), b the sum of two such draws, for the two biases
    of each map there; the readout's weights N(0, 2 / hidden).
Stability claim: for dt <= 1 and from zero states |y_t|, |z_t| <= 1 (proposition 4.1 bounds them by min(1, .) of a
    function of t dt). With eta the largest infinity norm of W_1, W_2, W_z, W_y the Jacobian of one step has an infinity
    norm <= 1 + 3/2 eta dt (1 + eta dt), which is below the 1 + 2 (1 + eta) (1 + 3 eta) dt that the paper's
    proposition 4.2 builds on. Asserted in tests/models/test_lem.py.
Reference: Rusch, Mishra, Erichson, Mahoney. Long Expressive Memory for Sequence Modeling. ICLR 2022.
    https://arxiv.org/abs/2110.04744
Differs from the paper:
    - Nothing known in the equations.
    - The authors' code has two biases in each map, here they are one, initialised as their sum.
    - Numbers of equations and propositions are from memory.
    - The bound on the Jacobian is derived here, for tanh' <= 1, sigma_hat' <= 1/4 and states in [-1, 1].
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn

from stablebench.models.base import State
from stablebench.models.blocks.affine_input import AffineInput
from stablebench.models.claims.claim import Claim, Evidence, Outcome, at_most, largest_singular_value_at_most
from stablebench.models.registry import register_model
from stablebench.schema.strict import Positive

Weights = tuple[Float[Tensor, "hidden {3*self.hidden}"], Float[Tensor, "hidden hidden"]]


@register_model
class LEM(AffineInput):
    """See the module docstring for the equation.

    Args:
        in_features: Number of input features, the width of u_t, >= 1.
        hidden: Number of units, the width of y_t and z_t, >= 1.
        dt: Largest time step of a unit, > 0; the learned gates scale it by factors in (0, 1).
    """

    revision = 2

    def __init__(self, in_features: int, hidden: int, *, dt: Positive = 1.0) -> None:
        super().__init__(in_features, hidden)
        self.dt = dt
        bound = 1 / math.sqrt(hidden)
        self.W = nn.Parameter(torch.empty(3 * hidden, hidden).uniform_(-bound, bound))
        self.W_y = nn.Parameter(torch.empty(hidden, hidden).uniform_(-bound, bound))
        self.V = nn.Parameter(torch.empty(4 * hidden, in_features).uniform_(-bound, bound))
        self.b = nn.Parameter(torch.empty(2, 4 * hidden).uniform_(-bound, bound).sum(0))

    @property
    def state_sizes(self) -> tuple[int, ...]:
        """The widths of y and z."""
        return (self.hidden, self.hidden)

    def initialise_readout(self, readout: nn.Linear) -> None:
        """Draw the weights from N(0, 2 / hidden)."""
        nn.init.kaiming_normal_(readout.weight)

    def recurrent_weights(self) -> Weights:
        """Return W and W_y, transposed for states in rows."""
        return self.W.T, self.W_y.T

    def step(
        self, projected: Float[Tensor, "batch {4*self.hidden}"], state: State, recurrent_weights: Weights
    ) -> State:
        """Return (y_t, z_t)."""
        y, z = state
        W, W_y = recurrent_weights
        step_z, step_y, forced_z = (projected[:, : 3 * self.hidden] + y @ W).chunk(3, dim=-1)
        dt_z, dt_y = self.dt * torch.sigmoid(step_z), self.dt * torch.sigmoid(step_y)
        z = (1 - dt_z) * z + dt_z * torch.tanh(forced_z)
        y = (1 - dt_y) * y + dt_y * torch.tanh(projected[:, 3 * self.hidden :] + z @ W_y)
        return y, z

    def jacobian_bound(self) -> float:
        """Return 1 + 3/2 eta dt (1 + eta dt), the bound on the infinity norm of one step's Jacobian."""
        matrices = [*self.W.detach().chunk(3), self.W_y.detach()]
        eta = max(torch.linalg.matrix_norm(matrix, math.inf).item() for matrix in matrices)
        return 1 + 1.5 * eta * self.dt * (1 + eta * self.dt)

    def claims(self) -> list[Claim]:
        """Return the bound on the states, and the one on the Jacobian over the chain's own number of steps N."""
        growth = math.log(self.jacobian_bound())

        def states(e: Evidence) -> Outcome:
            return at_most(e.states.abs().max().item(), 1.0).under_hypothesis(self.dt <= 1)

        def jacobian(e: Evidence) -> Outcome:
            to_spectral = 0.5 * math.log(2 * self.hidden)  # ||.||_2 <= sqrt(n) ||.||_infinity
            return largest_singular_value_at_most(e, e.steps * growth + to_spectral).under_hypothesis(self.dt <= 1)

        return [
            Claim("|y_t|, |z_t| <= 1, largest of all t (proposition 4.1)", "dt <= 1, zero states at first", states),
            Claim(
                "log10 of the largest singular value of dh_T/dh_1 <= N log10(1 + 3/2 eta dt (1 + eta dt)) "
                "+ log10(2 hidden) / 2 (as proposition 4.2)",
                "dt <= 1, zero states at first",
                jacobian,
            ),
        ]
