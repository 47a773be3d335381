r"""HiPPO-LegS: a gated network whose memory holds its whole past as a polynomial.

Equation (figure 2 of the paper; the memory is one scalar function of time, f, projected on N Legendre polynomials):

    h_t = (1 - g) * h_{t-1} + g * tanh(L_tau [h_{t-1}, c_{t-1}, x_t] + b_tau)
    g   = sigmoid(L_g [h_{t-1}, c_{t-1}, x_t] + b_g)
    f_t = L_f h_t + b_f
    c_t = A_k c_{t-1} + B_k f_t                              k = t - 1 steps were before;  c_1 = f_1 (1, 0, ..., 0)

    A_k = (I + A / 2k)^-1 (I - A / 2k),  B_k = (I + A / 2k)^-1 B / k         (bilinear)
    A_k = I - A / k,                     B_k = B / k                         (euler: equation 4 of the paper)
    A_k = (I + A / k)^-1,                B_k = (I + A / k)^-1 B / k          (backward)

    A_nm = sqrt(2n + 1) sqrt(2m + 1) for n > m, n + 1 for n = m, 0 for n < m;  B_n = sqrt(2n + 1);  n, m = 0 ... N - 1

    This discretises c' = -A c / t + B f / t, whose solution at time t are the coefficients of f on [0, t], over
    sqrt(2n + 1) P_n(2s/t - 1), best in the mean square over [0, t].

Shapes: x_t (batch, in); h_t (batch, hidden); c_t (batch, order), order is N; L_tau, L_g (hidden, hidden + order + in);
    b_tau, b_g (hidden); L_f (hidden); b_f scalar; A (order, order) and B (order), fixed. The states are (h, c, k), k
    (batch, 1), the same for all sequences of a batch; the output is h.
Parameters: `2 * hidden * (hidden + order + inputs + 1) + hidden + 1`.
Cost per step: `2 * hidden * (hidden + order + inputs) + hidden` multiply-adds, and order^2 / 2 for the
    triangular system.
Init: L_tau and L_g N(0, 2 / (2 hidden + order + inputs)) (Xavier, as the authors' code), L_f U(-1/sqrt(hidden),
    1/sqrt(hidden)), biases 0.
Stability claim: the eigenvalues of A are 1 ... N, and A + A^T = I + B B^T, so that no bilinear or backward step makes c
    longer, |A_k c| <= |c|. Polynomials of a degree < N are held up to an error of order 1 / t. A sample's influence on
    the memory at time t does not vanish exponentially but as 1 / t (proposition 5). Asserted in
    tests/models/test_hippo_legs.py.
Reference: Gu, Dao, Ermon, Rudra, Ré. HiPPO: Recurrent Memory with Optimal Polynomial Projections. NeurIPS 2020.
    https://arxiv.org/abs/2008.07669
Differs from the paper:
    - Nothing in the equations of figure 2.
    - The authors' code (as published) updates h from c_t, not from c_{t-1}; its gate and candidate do not see h_{t-1};
      its f_t is of h_{t-1} and x_t. From it are c_1 and the one k on both sides of a step: equation 4 has no c_1.
    - Its table of A_k ends at a given length; here each step solves its triangular system, which needs no length and
      takes no longer than a product with a matrix of the table.
    - The O(N) step of proposition 4 is a loop over N, slower in torch than the dense one.
    - Not checked against the paper: which gate its figures' tau has.
Engine: reference, because the matrix of the memory differs from step to step.
"""

import math
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from stablebench.models.base import RecurrentModel, State
from stablebench.models.claims.claim import Claim, Evidence, Outcome, at_most
from stablebench.models.registry import register_model
from stablebench.schema.strict import Count

Weights = tuple[Float[Tensor, "{self.hidden+self.order} {2*self.hidden}"], Float[Tensor, "hidden 1"]]


@register_model
class HippoLegS(RecurrentModel):
    """See the module docstring for the equation.

    Args:
        in_features: Number of input features, the width of x_t, >= 1.
        hidden: Number of units, the width of the state h_t, >= 1.
        order: Number N of Legendre coefficients in the memory, >= 1. The authors take as many as units.
        discretisation: Discretisation of a memory step: `bilinear`, `backward`, or `euler`, which is unstable for
            orders above about 10.
    """

    A: Tensor
    B: Tensor

    def __init__(
        self,
        in_features: int,
        hidden: int,
        *,
        order: Count = 64,
        discretisation: Literal["bilinear", "euler", "backward"] = "bilinear",
    ) -> None:
        super().__init__(in_features, hidden)
        self.order = order
        self.discretisation = discretisation
        width = hidden + order + in_features
        self.L_tau = nn.Parameter(nn.init.xavier_normal_(torch.empty(hidden, width)))
        self.L_g = nn.Parameter(nn.init.xavier_normal_(torch.empty(hidden, width)))
        self.b_tau = nn.Parameter(torch.zeros(hidden))
        self.b_g = nn.Parameter(torch.zeros(hidden))
        self.L_f = nn.Parameter(torch.empty(hidden).uniform_(-1 / math.sqrt(hidden), 1 / math.sqrt(hidden)))
        self.b_f = nn.Parameter(torch.zeros(1))
        A, B = legs(order)
        self.register_buffer("A", A.to(self.b_f), persistent=False)
        self.register_buffer("B", B.to(self.b_f), persistent=False)

    @property
    def state_sizes(self) -> tuple[int, ...]:
        """The widths of h, c and k."""
        return (self.hidden, self.order, 1)

    def input_projection(self, x: Float[Tensor, "batch time in"]) -> Float[Tensor, "batch time {2*self.hidden}"]:
        """Return what x_t adds to candidate and gate, with the biases, (batch, time, 2 hidden)."""
        L = torch.cat([self.L_tau, self.L_g])[:, self.hidden + self.order :]
        return nn.functional.linear(x, L, torch.cat([self.b_tau, self.b_g]))

    def recurrent_weights(self) -> Weights:
        """Return [L_tau; L_g] of (h, c), and L_f, transposed for states in rows."""
        L = torch.cat([self.L_tau, self.L_g])[:, : self.hidden + self.order]
        return L.T, self.L_f[:, None]

    def step(
        self, projected: Float[Tensor, "batch {2*self.hidden}"], state: State, recurrent_weights: Weights
    ) -> State:
        """Return (h_t, c_t, k + 1)."""
        h, c, k = state
        L, L_f = recurrent_weights
        candidate, gate = (projected + torch.cat([h, c], dim=1) @ L).chunk(2, dim=1)
        g = torch.sigmoid(gate)
        h = (1 - g) * h + g * torch.tanh(candidate)
        c = self.remember(c, h @ L_f + self.b_f, k)
        return h, c, (k + 1).detach() + 0 * k  # a count has no derivative, but a place in the graph

    def remember(self, c: Tensor, f: Tensor, k: Tensor) -> Tensor:
        """Return the memory after one more sample.

        Args:
            c: The memory before, (batch, order).
            f: The sample, (batch, 1).
            k: How many samples were before, (batch, 1); that of the first sequence counts.
        """
        k = k.detach()[:1]
        t = k.clamp(min=1)
        if self.discretisation == "euler":
            after = c + (f * self.B - c @ self.A.T) / t
        elif self.discretisation == "backward":
            after = self._solve(c + f * self.B / t, 1 / t)
        else:  # I - A/2k = 2 I - (I + A/2k), so that one system is all
            after = self._solve(2 * c + f * self.B / t, 1 / (2 * t)) - c
        return torch.where(k < 1, nn.functional.pad(f, (0, self.order - 1)), after)

    def _solve(self, right: Tensor, share: Tensor) -> Tensor:
        """Return (I + share A)^-1 of each row."""
        matrix = (share * self.A).T + torch.eye(self.order, dtype=right.dtype, device=right.device)
        return torch.linalg.solve_triangular(matrix, right, upper=True, left=False)

    def claims(self) -> list[Claim]:
        """Return what the memory's matrix is, and that no step makes the memory longer."""

        def symmetric(e: Evidence) -> Outcome:
            A, B = self.A.double(), self.B.double()
            rest = A + A.T - torch.eye(self.order, dtype=A.dtype) - torch.outer(B, B)
            return at_most(rest.abs().max().item(), 2 * A.abs().max().item() * e.weights_eps)

        def contraction(e: Evidence) -> Outcome:
            norms = [self.memory_norm(k) for k in (1, max(1, e.steps))]
            return at_most(max(norms), 1 + self.order * e.weights_eps).under_hypothesis(self.discretisation != "euler")

        return [
            Claim("A + A^T = I + B B^T: largest difference", "none", symmetric, about="weights"),
            Claim(
                "no step makes the memory longer: largest norm of the matrix of the first step and the last",
                "bilinear or backward",
                contraction,
                about="weights",
            ),
        ]

    def memory_norm(self, k: int) -> float:
        """Return the spectral norm of what the memory is multiplied by in step k, >= 1."""
        A = self.A.double()
        eye = torch.eye(self.order, dtype=A.dtype)
        if self.discretisation == "euler":
            matrix = eye - A / k
        elif self.discretisation == "backward":
            matrix = torch.linalg.inv(eye + A / k)
        else:
            matrix = torch.linalg.solve(eye + A / (2 * k), eye - A / (2 * k))
        return torch.linalg.matrix_norm(matrix, 2).item()


def legs(order: int) -> tuple[Tensor, Tensor]:
    """Return A (order, order) and B (order) of LegS, in float64."""
    n = torch.arange(order, dtype=torch.float64)
    B = torch.sqrt(2 * n + 1)
    return torch.outer(B, B).tril(-1) + torch.diag(n + 1), B
