r"""Incremental RNN (iRNN): the state is how far an equilibrium of an ODE lies from the previous state.

Equation (section 2 of the paper): with K = `iterations` Euler steps of g' = phi(U (g + h_{t-1}) + W x_t + b) -
alpha (g + h_{t-1}),

    g_0 = 0
    g_i = g_{i-1} + eta_i (phi(U (g_{i-1} + h_{t-1}) + W x_t + b) - alpha (g_{i-1} + h_{t-1})),    i = 1 ... K
    h_t = g_K

Shapes: x_t (batch, in); g_i, h_t (batch, hidden); U (hidden, hidden); W (hidden, in); b (hidden); eta (K).
Parameters: `hidden * (hidden + inputs + 1) + iterations`.
Cost per step: `hidden * (iterations * hidden + inputs)` multiply-adds.
Init: U ~ N(0, (sigma / 2)^2 / hidden), so ||U|| is about sigma; W ~ N(0, 1 / in); b = 0; eta_i = `eta`.
Stability claim: at the equilibrium g + h_{t-1} depends only on x_t, so dh_t/dh_{t-1} = -I (theorem 1) and gradients
    neither vanish nor explode. After K iterations, with |phi'| <= 1, it is within q = prod_i (|1 - eta_i alpha| +
    |eta_i| ||U||) of -I in the spectral norm, so for q < 1 the singular values of dh_T/dh_t lie in
    [(1 - q)^(T-t), (1 + q)^(T-t)]. Asserted in tests/models/test_incremental_rnn.py.
Reference: Kag, Zhang, Saligrama. RNNs Incrementally Evolving on an Equilibrium Manifold: A Panacea for Vanishing and
    Exploding Gradients? ICLR 2020. https://openreview.net/forum?id=HylpqA4FwS
Differs from the paper:
    - The initialisation, alpha and eta are ours, chosen such that q is small.
    - eta is one number per iteration, trained, the same for all t.
    - The bound for K iterations is derived here.
    - Written from the equation as remembered; numbers of sections and theorems were not checked.
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn

from stablebench.models.base import RecurrentModel, State
from stablebench.models.blocks.activations import Activation, activation
from stablebench.models.claims.claim import Claim, Evidence, Outcome, singular_values_within
from stablebench.models.registry import register_model
from stablebench.schema.strict import Count, Positive


@register_model
class IncrementalRNN(RecurrentModel):
    """See the module docstring for the equation.

    Args:
        in_features: Number of input features, the width of x_t, >= 1.
        hidden: Number of units, the width of the state h_t, >= 1.
        iterations: Number K of Euler steps towards the equilibrium per time step, >= 1.
        alpha: Leak rate of the ODE, > 0; the equilibrium is unique for ||U|| < alpha.
        eta: Initial size of each Euler step, > 0; the sizes are trained.
        sigma: Approximate initial spectral norm of the recurrent matrix U, > 0.
        activation: Elementwise nonlinearity phi of the update: `tanh`, `relu`, `abs`, `leaky_relu` (slope 0.01 below 0)
            or `identity`. The bounds hold for |phi'| <= 1.
    """

    def __init__(
        self,
        in_features: int,
        hidden: int,
        *,
        iterations: Count = 5,
        alpha: Positive = 1.0,
        eta: Positive = 1.0,
        sigma: Positive = 0.5,
        activation: Activation = "tanh",
    ) -> None:
        super().__init__(in_features, hidden)
        self.alpha = alpha
        self.activation: Activation = activation
        self.U = nn.Parameter(torch.randn(hidden, hidden) * (sigma / 2 / math.sqrt(hidden)))
        self.W = nn.Parameter(torch.randn(hidden, in_features) / math.sqrt(in_features))
        self.b = nn.Parameter(torch.zeros(hidden))
        self.eta = nn.Parameter(torch.full((iterations,), eta))

    def input_projection(self, x: Float[Tensor, "batch time in"]) -> Float[Tensor, "batch time hidden"]:
        """Return W x_t + b, (batch, time, hidden)."""
        return nn.functional.linear(x, self.W, self.b)

    def recurrent_weights(self) -> tuple[Tensor, ...]:
        """Return U, transposed for states in rows, and each eta_i as one value a unit."""
        return self.U.T, *self.eta[:, None].expand(len(self.eta), self.hidden).unbind(0)

    def step(
        self, projected: Float[Tensor, "batch hidden"], state: State, recurrent_weights: tuple[Tensor, ...]
    ) -> State:
        """Return h_t."""
        (h,) = state
        U, *etas = recurrent_weights
        s = h  # g_i + h_{t-1}
        for eta in etas:
            s = s + eta * (activation(self.activation, projected + s @ U) - self.alpha * s)
        return (s - h,)

    def distance(self) -> float:
        """Return q, the bound on ||dh_t/dh_{t-1} + I||."""
        norm = torch.linalg.matrix_norm(self.U.detach(), 2).item()
        return math.prod(abs(1 - eta * self.alpha) + abs(eta) * norm for eta in self.eta.tolist())

    def claims(self) -> list[Claim]:
        """Return the bounds on the Jacobian, for the chain's own number of steps N."""
        q = self.distance()

        def check(e: Evidence) -> Outcome:
            low = e.steps * math.log1p(-q) if q < 1 else -math.inf
            return singular_values_within(
                e, low, e.steps * math.log1p(q), 8 * e.steps * e.weights_eps
            ).under_hypothesis(q < 1)

        return [
            Claim(
                "log10 of the singular values of dh_T/dh_1 within N log10(1 - q) ... N log10(1 + q) "
                "(theorem 1 after K iterations)",
                "q = prod_i (|1 - eta_i alpha| + |eta_i| ||U||) < 1; |phi'| <= 1",
                check,
            )
        ]
