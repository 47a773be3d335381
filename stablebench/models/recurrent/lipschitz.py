r"""Lipschitz RNN: a linear and a saturating part, both with matrices between symmetric and antisymmetric.

Equation (3 and 4 of the paper), X(M) = (1 - beta) (M + M^T) + beta (M - M^T) - gamma I for A = X(M_A) and W = X(M_W):

    f(h, x) = A h + tanh(W h + U x + b)
    h_t = h_{t-1} + epsilon f(h_{t-1}, x_t)                                     (`solver` euler)
    h_t = h_{t-1} + epsilon f(h_{t-1} + epsilon / 2 f(h_{t-1}, x_t), x_t)       (rk2, the explicit midpoint)

With `gated`, f(h, x) = sigmoid(W h + V x + d) * (A h + tanh(W h + U x + b)).

Shapes: x_t (batch, in); h_t (batch, hidden); M_A, M_W (hidden, hidden); U (hidden, in) and b (hidden), gated
    (2 hidden, in) and (2 hidden) with V and d below.
Parameters: `hidden * (2 * hidden + inputs + 1)`.
Cost per step: `hidden * (2 * hidden + inputs)` multiply-adds; rk2 has the recurrent ones twice.
Init: M_A, M_W ~ N(0, (sigma / hidden)^2). `init` xavier, an older state of the authors' code: U ~ N(0, 2 / (in +
    hidden)), b = 0, sigma 6. `init` code, the published one: U and b as torch.nn.Linear's, U(+-1/sqrt(in)), sigma 0.1.
    Untrained, 784 steps of that one nearly keep gradients (128 units, epsilon 0.03: singular values of the Jacobian e^
    -0.24 to e^0.16), where sigma 6 gives e^-5.6 to e^5.3.
Stability claim: the real parts of A's eigenvalues lie between the smallest and the largest eigenvalue of its symmetric
    part A_sym = (1 - beta) (M_A + M_A^T) - gamma I (proposition 1). Where A_sym is negative definite with eigenvalues
    beyond ||W|| in size, the ODE has one equilibrium for a constant input and contracts to it (theorem 1). Of the
    discrete chain, any N steps of Euler ungated have a Jacobian of norm <= (||I + epsilon A|| + epsilon ||W||)^N,
    which is < 1 for a small epsilon under that condition. Asserted in tests/models/test_lipschitz.py.
Reference: Erichson, Azencot, Queiruga, Hodgkinson, Mahoney. Lipschitz Recurrent Neural Networks. ICLR 2021.
    https://arxiv.org/abs/2006.12070
Differs from the paper:
    - W and A have one beta and one gamma each, `beta_w` and `gamma_w` being A's unless given.
    - The authors' code has h in rows and multiplies by A from the right, which is the same with M transposed.
    - The gated form is not in the paper but in that code, where W is shared.
    - Numbers of equations are from memory.
"""

import math
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from stablebench.models.base import RecurrentModel, State
from stablebench.models.claims.claim import Claim, Evidence, Outcome, at_most, largest_singular_value_at_most
from stablebench.models.registry import register_model
from stablebench.schema.strict import NonNegative, Positive, Probability

_SIGMA = {"xavier": 6.0, "code": 0.1}
"""sigma of each start."""

Weights = Float[Tensor, "hidden {2*self.hidden}"]


@register_model
class Lipschitz(RecurrentModel):
    """See the module docstring for the equation.

    Args:
        in_features: Number of input features, the width of x_t, >= 1.
        hidden: Number of units, the width of the state h_t, >= 1.
        epsilon: Time step of the discretised ODE, > 0.
        beta: Share of antisymmetry in A, >= 0 and <= 1: 0 makes it symmetric, 1 antisymmetric.
        gamma: Damping of A, >= 0: how far its spectrum is moved to the left.
        beta_w: Share of antisymmetry in W, >= 0 and <= 1; null for `beta`.
        gamma_w: Damping of W, >= 0; null for `gamma`.
        init: Initial U and b, and the default of sigma: `xavier` (an older state of the authors' code) or `code` (the
            published one).
        sigma: Scale of the initial M_A and M_W, > 0: entries N(0, (sigma / hidden)^2); null for 6, with `init` code
            0.1.
        solver: Discretisation of the ODE: forward `euler`, or `rk2`, the explicit midpoint rule.
        gated: Whether a gate scales f, the change of each unit.
    """

    added_arguments = (("init", "xavier"),)

    def __init__(
        self,
        in_features: int,
        hidden: int,
        *,
        epsilon: Positive = 0.03,
        beta: Probability = 0.75,
        gamma: NonNegative = 0.001,
        beta_w: Probability | None = None,
        gamma_w: NonNegative | None = None,
        init: Literal["xavier", "code"] = "xavier",
        sigma: Positive | None = None,
        solver: Literal["euler", "rk2"] = "euler",
        gated: bool = False,
    ) -> None:
        super().__init__(in_features, hidden)
        self.epsilon = epsilon
        self.beta, self.gamma = beta, gamma
        self.beta_w = beta if beta_w is None else beta_w
        self.gamma_w = gamma if gamma_w is None else gamma_w
        self.solver = solver
        self.gated = gated
        maps = 2 if gated else 1
        sigma = _SIGMA[init] if sigma is None else sigma
        self.M_A = nn.Parameter(torch.randn(hidden, hidden) * (sigma / hidden))
        self.M_W = nn.Parameter(torch.randn(hidden, hidden) * (sigma / hidden))
        if init == "xavier":
            self.U = nn.Parameter(torch.randn(maps * hidden, in_features) * math.sqrt(2 / (in_features + hidden)))
            self.b = nn.Parameter(torch.zeros(maps * hidden))
        else:
            bound = 1 / math.sqrt(in_features)
            self.U = nn.Parameter(torch.empty(maps * hidden, in_features).uniform_(-bound, bound))
            self.b = nn.Parameter(torch.empty(maps * hidden).uniform_(-bound, bound))

    @classmethod
    def spec_arguments(cls, arguments: dict[str, Any]) -> dict[str, Any]:
        """Return them with the number that sigma stands for."""
        sigma = arguments["sigma"]
        return super().spec_arguments(arguments | {"sigma": _SIGMA[arguments["init"]] if sigma is None else sigma})

    def A_and_W(self) -> tuple[Tensor, Tensor]:
        """Return A and W, (hidden, hidden) each."""
        eye = torch.eye(self.hidden, dtype=self.M_A.dtype, device=self.M_A.device)

        def between(M: Tensor, beta: float, gamma: float) -> Tensor:
            return (1 - beta) * (M + M.T) + beta * (M - M.T) - gamma * eye

        return between(self.M_A, self.beta, self.gamma), between(self.M_W, self.beta_w, self.gamma_w)

    def input_projection(self, x: Float[Tensor, "batch time in"]) -> Float[Tensor, "batch time projected"]:
        """Return U x_t + b, (batch, time, hidden), or (batch, time, 2 hidden) where gated."""
        return nn.functional.linear(x, self.U, self.b)

    def recurrent_weights(self) -> Weights:
        """Return A and W, transposed for states in rows, side by side."""
        A, W = self.A_and_W()
        return torch.cat([A.T, W.T], dim=1)

    def step(self, projected: Float[Tensor, "batch projected"], state: State, recurrent_weights: Weights) -> State:
        """Return h_t."""
        (h,) = state
        middle = h
        if self.solver == "rk2":
            middle = h + (self.epsilon / 2) * self._f(projected, h, recurrent_weights)
        return (h + self.epsilon * self._f(projected, middle, recurrent_weights),)

    def _f(self, projected: Tensor, h: Tensor, recurrent_weights: Weights) -> Tensor:
        linear, recurrent = (h @ recurrent_weights).chunk(2, dim=-1)
        if not self.gated:
            return linear + torch.tanh(recurrent + projected)
        forward, gate = projected.chunk(2, dim=-1)
        return torch.sigmoid(recurrent + gate) * (linear + torch.tanh(recurrent + forward))

    def claims(self) -> list[Claim]:
        """Return where A's spectrum lies, and the contraction of theorem 1 for the chain of Euler steps."""
        A, W = (matrix.detach().double() for matrix in self.A_and_W())
        symmetric = torch.linalg.eigvalsh((A + A.T) / 2)
        norm_w = torch.linalg.matrix_norm(W, 2).item()
        step = torch.eye(len(A), dtype=A.dtype, device=A.device) + self.epsilon * A
        growth = torch.linalg.matrix_norm(step, 2).item() + self.epsilon * norm_w
        contracts = symmetric.max().item() < -norm_w

        def within(e: Evidence) -> Outcome:
            real = torch.linalg.eigvals(A).real
            outside = torch.stack([real.max() - symmetric.max(), symmetric.min() - real.min()]).max().item()
            slack = len(A) * torch.finfo(A.dtype).eps * max(1.0, torch.linalg.matrix_norm(A, 2).item())
            return at_most(outside, slack)

        def bounded(e: Evidence) -> Outcome:
            outcome = largest_singular_value_at_most(e, e.steps * math.log(growth), e.steps * e.weights_eps)
            return outcome.under_hypothesis(self.solver == "euler" and not self.gated and contracts)

        return [
            Claim(
                "by how much real parts of A's eigenvalues leave the interval of its symmetric part's <= 0",
                "none",
                within,
                about="weights",
            ),
            Claim(
                "log10 of the largest singular value of dh_T/dh_1 <= N log10(||I + epsilon A|| + epsilon ||W||) "
                "(theorem 1, of the chain)",
                "the symmetric part of A is negative definite with eigenvalues beyond ||W||; euler, no gate",
                bounded,
            ),
        ]
