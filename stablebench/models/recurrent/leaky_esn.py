r"""Leaky ESN: an echo state network of leaky integrators, a fixed random reservoir under a trained readout.

Equation (an Euler step of c h' = -a h + tanh(...), gamma = step / c):

    h_t = (1 - a gamma) h_{t-1} + gamma tanh(W h_{t-1} + V x_t + b)

Shapes: x_t (batch, in), h_t (batch, hidden); W (hidden, hidden), V (hidden, in), b (hidden), none of them trained.
Parameters: `0`.
Cost per step: `hidden * (hidden + inputs)` multiply-adds.
Init: each row of W has `connections` entries at random places (all, if there are no more units), U(-1, 1), the rest are
    0; W is then scaled so that its spectral radius, or with `scaled_by` norm its largest singular value, is
    `spectral_radius`. V ~ U(-input_scaling, input_scaling), b ~ U(-bias_scaling, bias_scaling). All from a generator of
    their own. Each stacked layer has a reservoir of its own.
Stability claim: from zero, |h_t| <= 1 / a elementwise. The step is Lipschitz with the constant 1 - gamma (a - s), s =
    ||W||_2 (proposition 1), so for s < a it contracts, the network has echo states, and dL/dh_t vanishes; the effective
    spectral radius, of gamma W + (1 - a gamma) I, must be below 1 for echo states of the zero input (proposition 2).
    Asserted in tests/models/test_leaky_esn.py.
Reference: Jaeger, Lukosevicius, Popovici, Siewert. Optimization and applications of echo state networks with
    leaky-integrator neurons. Neural Networks 20, 2007.
Differs from the paper:
    - The readout sees h_t only, not [h_t, x_t], and is trained by the run's optimiser, not by linear regression.
    - No feedback from outputs, no noise; the constants are not optimised by gradient.
    - b is written apart from V; the paper has a constant input.
    - W is sparse in values, stored and multiplied as a dense matrix.
"""

import math
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from stablebench.errors import UserError
from stablebench.models.base import State, frozen_generator
from stablebench.models.blocks.affine_input import AffineInput
from stablebench.models.claims.claim import Claim, Evidence, Outcome, largest_singular_value_at_most
from stablebench.models.registry import register_model
from stablebench.schema.strict import Count, NonNegative, Positive


@register_model
class LeakyESN(AffineInput):
    """See the module docstring for the equation.

    Args:
        in_features: Number of input features, the width of x_t, >= 1.
        hidden: Number of units of the reservoir, >= 1.
        spectral_radius: Size that the reservoir matrix W is scaled to, >= 0; see `scaled_by`.
        scaled_by: Measure of W's size: its spectral `radius`, or its `norm`, the largest singular value.
        leak: Leaking rate a, > 0, with leak * gamma <= 1: how fast units forget.
        gamma: Time step over time constant, > 0: the speed of the reservoir.
        input_scaling: Largest absolute entry of the input matrix V, >= 0.
        bias_scaling: Largest absolute entry of the bias b, >= 0.
        connections: Number of nonzero entries in each row of W, >= 1; all, if there are no more units.
    """

    W: Tensor

    def __init__(
        self,
        in_features: int,
        hidden: int,
        *,
        spectral_radius: NonNegative = 0.9,
        scaled_by: Literal["radius", "norm"] = "radius",
        leak: Positive = 1.0,
        gamma: Positive = 0.5,
        input_scaling: NonNegative = 1.0,
        bias_scaling: NonNegative = 0.2,
        connections: Count = 10,
    ) -> None:
        super().__init__(in_features, hidden)
        if leak * gamma > 1:
            raise UserError(
                f"`leak` * `gamma` must be <= 1 (1 - leak * gamma is what a unit keeps), got {leak} * {gamma}; "
                "take a smaller `gamma`."
            )
        self.leak, self.gamma = leak, gamma
        rng = frozen_generator("reservoir")

        def uniform(*shape: int) -> Tensor:
            return torch.rand(*shape, generator=rng, dtype=torch.float64) * 2 - 1

        places = torch.rand(hidden, hidden, generator=rng).argsort(1)[:, :connections]
        W = uniform(hidden, hidden) * torch.zeros(hidden, hidden, dtype=torch.float64).scatter(1, places, 1.0)
        size = torch.linalg.eigvals(W).abs().max() if scaled_by == "radius" else torch.linalg.matrix_norm(W, 2)
        dtype = torch.get_default_dtype()
        self.register_buffer("W", (W * (spectral_radius / size)).to(dtype))
        self.register_buffer("V", (uniform(hidden, in_features) * input_scaling).to(dtype))
        self.register_buffer("b", (uniform(hidden) * bias_scaling).to(dtype))

    def recurrent_weights(self) -> Float[Tensor, "hidden hidden"]:
        """Return W, transposed for states in rows."""
        return self.W.T

    def recurrent_matrix(self) -> Float[Tensor, "hidden hidden"]:
        """Return gamma W + (1 - a gamma) I."""
        return self.gamma * self.W + (1 - self.leak * self.gamma) * torch.eye(self.hidden, dtype=self.W.dtype)

    def step(
        self, projected: Float[Tensor, "batch hidden"], state: State, recurrent_weights: Float[Tensor, "hidden hidden"]
    ) -> State:
        """Return h_t."""
        (h,) = state
        return ((1 - self.leak * self.gamma) * h + self.gamma * torch.tanh(projected + h @ recurrent_weights),)

    def claims(self) -> list[Claim]:
        """Return the contraction of proposition 1, for the chain's own number of steps N."""
        s = torch.linalg.matrix_norm(self.W.double(), 2).item()
        constant = 1 - self.gamma * (self.leak - s)

        def check(e: Evidence) -> Outcome:
            bound = largest_singular_value_at_most(e, e.steps * math.log(constant), 2 * e.steps * e.weights_eps)
            return bound.under_hypothesis(s < self.leak)

        return [
            Claim(
                "log10 of the largest singular value of dh_T/dh_1 <= N log10(1 - gamma (a - ||W||)) (proposition 1)",
                "||W|| < a",
                check,
            )
        ]
