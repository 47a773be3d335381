r"""roaRNN: a convex combination of an Elman step and a fixed random orthogonal map of the state.

Equation (19 of the paper), alpha = rho / horizon:

    h_t = alpha * phi(W h_{t-1} + b + V x_t) + (1 - alpha) * O h_{t-1}

Shapes: x_t (batch, in), h_t (batch, hidden), W, O (hidden, hidden), V (hidden, in), b (hidden).
Parameters: `hidden * (hidden + inputs + 1)`.
Cost per step: `hidden * (2 * hidden + inputs)` multiply-adds.
Init: W, V, b and the readout's weights and bias N(0, 1), or all U(-1, 1) (footnote 4); `recurrent_scale` he then
    multiplies W by sqrt(2 / hidden), which is ours, for `eyernn_isometric`. O orthogonal and never trained:
    Q of the QR decomposition of a matrix with U(-1, 1) entries, no sign correction; or a random permutation
    (appendix C); or the identity (`eyernn`). Each stacked layer has an O of its own. By this procedure, the paper's, O
    is neither a rotation at even widths nor Haar distributed: whatever the seed, its determinant is (-1)^(hidden - 1),
    its first entry negative, and 1 one of its eigenvalues (and -1 at even widths). Asserted in
    tests/models/test_random_orthogonal.py.
Stability claim (theorem 3.1 before its limit): with phi' in [0, r], s = ||W||_2 and alpha (1 + r s) <= 1, all singular
    values of a product of N one-step Jacobians lie in [(1 - alpha (1 + r s))^N, (1 + alpha (r s - 1))^N]. Asserted in
    tests/models/test_roarnn.py. With N = horizon the upper end is at most exp(rho (r s - 1)), as printed; the printed
    lower end exp(-rho (1 + r s)) is only the limit for a long chain, and a finite one falls below it (asserted too).
    Remark 3.1, that the states stay in the cube [-R, R]^hidden for |phi| < R, is true only for O the identity or a
    permutation: a dense row of O has entries whose sizes add up to about sqrt(2 hidden / pi), and so far one step
    leads out of the cube from one of its corners. What every O keeps is the ball of radius R sqrt(hidden).
Reference: Ceni. Random Orthogonal Additive Filters: A Solution to the Vanishing/Exploding Gradient of Deep Neural
    Networks. IEEE TNNLS 2025. https://arxiv.org/abs/2210.01245
Differs from the paper:
    - One denominator, `horizon` = the T steps of the chain. Adding and psMNIST have rho / T as here. Copy has rho / (L
      + S) where T = L + 2 S: take rho (L + 2 S) / (L + S). The theory has rho / (L - 1) for L states, so N = L - 1
      Jacobians: take rho T / (T - 1).
    - O = permutation is applied as a matrix, so it is no faster.
"""

import math
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from stablebench.errors import UserError
from stablebench.models.base import State, frozen_generator
from stablebench.models.blocks.activations import activation
from stablebench.models.blocks.affine_input import AffineInput
from stablebench.models.blocks.random_orthogonal import random_orthogonal
from stablebench.models.claims.claim import Claim
from stablebench.models.claims.roarnn import from_corners, roarnn_claims
from stablebench.models.registry import register_model
from stablebench.schema.strict import Count, Positive

Weights = tuple[Float[Tensor, "hidden hidden"], ...]


@register_model
class RoaRNN(AffineInput):
    """See the module docstring for the equation.

    Args:
        in_features: Number of input features, the width of x_t, >= 1.
        hidden: Number of units, the width of the state h_t, >= 1.
        horizon: Number of time steps of the sequences that the model is trained on, >= 1.
        rho: Strength of the trained part, > 0 and <= horizon: alpha = rho / horizon. At rho = horizon the model is the
            Elman network.
        activation: Elementwise nonlinearity phi of the update: `relu` or `tanh`.
        init: Distribution of the initial entries of W, V and b: `normal` N(0, 1), or `uniform` U(-1, 1), the readout's
            too.
        orthogonal: Fixed matrix O on the residual path: `dense` a random orthogonal matrix, `permutation` a random
            permutation, or `identity`.
        recurrent_scale: Factor of W after its draw: 1 (`unit`), or sqrt(2 / hidden) (`he`).
    """

    O: Tensor  # noqa: E741 - the paper's name

    def __init__(
        self,
        in_features: int,
        hidden: int,
        *,
        horizon: Count,
        rho: Positive = 1.0,
        activation: Literal["relu", "tanh"] = "relu",
        init: Literal["normal", "uniform"] = "normal",
        orthogonal: Literal["dense", "permutation", "identity"] = "dense",
        recurrent_scale: Literal["unit", "he"] = "unit",
    ) -> None:
        super().__init__(in_features, hidden)
        if rho > horizon:
            raise UserError(f"`rho` must be <= {horizon}, the steps of the chain (alpha = rho / horizon), got {rho}.")
        self.alpha = rho / horizon
        self.activation: Literal["relu", "tanh"] = activation
        self.init = init
        self.orthogonal = orthogonal
        self.W = nn.Parameter(torch.empty(hidden, hidden))
        self.V = nn.Parameter(torch.empty(hidden, in_features))
        self.b = nn.Parameter(torch.empty(hidden))
        for parameter in (self.W, self.V, self.b):
            self._initialise(parameter)
        if recurrent_scale == "he":
            self.W.data *= math.sqrt(2 / hidden)
        rng = frozen_generator("O")
        if orthogonal == "dense":
            fixed = random_orthogonal(hidden, rng)
        elif orthogonal == "permutation":
            fixed = torch.eye(hidden)[torch.randperm(hidden, generator=rng)]
        else:
            fixed = torch.eye(hidden)
        self.register_buffer("O", fixed)

    def _initialise(self, tensor: Tensor) -> None:
        if self.init == "normal":
            nn.init.normal_(tensor)
        else:
            nn.init.uniform_(tensor, -1, 1)

    def initialise_readout(self, readout: nn.Linear) -> None:
        """Draw weights and bias like the other parameters (section IV: W_o and b_o too)."""
        self._initialise(readout.weight)
        self._initialise(readout.bias)

    def diagnostics(self) -> dict[str, float | Tensor]:
        """Return sigma = ||W||, and alpha (1 + sigma), which theorem 3.1 wants below 1 for phi' in [0, 1]."""
        sigma = torch.linalg.matrix_norm(self.W, 2)
        return {"sigma": sigma, "alpha_1_plus_sigma": self.alpha * (1 + sigma)}

    def orthogonal_matrices(self) -> dict[str, Tensor]:
        """Return O."""
        return {"O": self.O}

    def claims(self) -> list[Claim]:
        """Return theorem 3.1 and remark 3.1; see `stablebench.models.claims.roarnn`."""
        bounded = self.activation == "tanh"
        return roarnn_claims(
            self.alpha, self.W.detach(), bounded, lambda: from_corners(self.O, self.step_without_input)
        )

    def step_without_input(self, h: Tensor) -> Tensor:
        """Return h_t for x_t = 0 and h_{t-1} = h, (rows, hidden)."""
        return self.step(self.b.expand_as(h), (h,), self.recurrent_weights())[0]

    def recurrent_weights(self) -> Weights:
        """Return W and, unless O is the identity, (1 - alpha) O, both transposed for states in rows."""
        if self.orthogonal == "identity":
            return (self.W.T,)
        return self.W.T, (1 - self.alpha) * self.O.T

    def recurrent_matrix(self) -> Float[Tensor, "hidden hidden"]:
        """Return alpha W + (1 - alpha) O."""
        return self.alpha * self.W + (1 - self.alpha) * self.O

    def step(self, projected: Float[Tensor, "batch hidden"], state: State, recurrent_weights: Weights) -> State:
        """Return h_t."""
        (h,) = state
        W = recurrent_weights[0]
        kept = (1 - self.alpha) * h if self.orthogonal == "identity" else h @ recurrent_weights[1]
        return (self.alpha * activation(self.activation, projected + h @ W) + kept,)
