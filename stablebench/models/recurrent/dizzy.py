r"""DizzyRNN: rotations and absolute values, so that the norm of the backpropagated gradient never changes.

Equation (section 4.4 of the paper; section 5.1 with `singular_values`):

    h_t = f(W_h h_{t-1} + W_x x_t + b)         f = abs
    W_h = P_1 P_2 ... P_r                      or  U diag(sigma) V^T, U and V each such a product

    Each P_k packs floor(hidden/2) Givens rotations of disjoint pairs a < b, in round-robin order:
    y_a = cos(theta) x_a + sin(theta) x_b,  y_b = -sin(theta) x_a + cos(theta) x_b.
    W_x is dense, or of the form of W_h (`input_map` rotations, needs in = hidden).
    Penalty with `singular_values`: lambda/2 * sum over all such maps of ||sigma - 1||^2, summed over stacked layers.

Shapes: x_t (batch, in), h_t (batch, hidden), W_h (hidden, hidden), W_x (hidden, in), b, sigma (hidden),
    theta (r, floor(hidden/2)).
Parameters: `hidden * (hidden - 1) / 2 + hidden * (inputs + 1)`; with fewer `rotations` r the angles are r hidden / 2.
Cost per step: `hidden * (hidden + inputs)` multiply-adds; W_h is built once per pass.
Init: theta ~ U(-pi, pi), the whole circle as in the authors' code (the paper does not say), W_x ~ N(0, 1/hidden) as
    their N(0, 1/sqrt n) read as a standard deviation, b = 0, sigma = 1. `angle_start` ring (ours) makes abs(W_h) a
    cyclic permutation; with b = 0 and `silent` columns of W_x at 0 a blank input then moves the state on unchanged.
Stability claim: ||dL/dh_t|| = ||dL/dh_{t-1}|| for a loss on the last state (theorem 3), wherever no pre-activation is
    exactly 0, the derivative of abs being 0 there (a blank input at the zero state with b = 0). False for relu. With
    rotations as input map ||dL/dx_t|| = ||dL/dh_{t-1}|| (theorem 4), for every f: both are f' dL/dh_t turned. Asserted
    in tests/models/test_dizzy.py.
Reference: Dorobantu, Stromhaug, Renteria. DizzyRNN: Reparameterizing Recurrent Neural Networks for Norm-Preserving
    Backpropagation. 2016. https://arxiv.org/abs/1612.04035
Differs from the paper:
    - Odd hidden sizes are allowed: each P_k leaves one coordinate as it is, hidden rounds reach all pairs.
    - The text has both Q_1 ... Q_n and Q_1 ... Q_{n-1}; n - 1 exist.
    - The authors' code averages the penalty and puts sigma half-way into one product; here it is the text's sum and U
      diag(sigma) V^T.
"""

import math
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from stablebench.errors import UserError
from stablebench.models.base import ParameterGroup, with_main_group
from stablebench.models.blocks.activations import Activation
from stablebench.models.blocks.rotations import PackedRotations
from stablebench.models.claims.claim import Claim, gradient_norm_kept, input_gradient_norm_is_the_states
from stablebench.models.recurrent.rnn import Elman
from stablebench.models.registry import register_model
from stablebench.schema.strict import Count, NonNegative, NonNegativeInt, Positive


@register_model
class DizzyRNN(Elman):
    """See the module docstring for the equation.

    Args:
        in_features: Number of input features, the width of x_t, >= 1.
        hidden: Number of units, the width of the state h_t, >= 2.
        rotations: Number r of packed rotations, >= 1 and at most hidden - 1 (hidden for odd sizes); null for all. The
            paper's best runs have 10 of 127.
        activation: Elementwise nonlinearity f of the update: `tanh`, `relu`, `abs`, `leaky_relu` (slope 0.01 below 0)
            or `identity`.
        input_map: Input map W_x: `dense` a trained matrix, `rotations` of the form of W_h, which needs inputs as wide
            as the state.
        singular_values: Whether the rotation maps are U diag(sigma) V^T with trained singular values sigma.
        sigma_penalty: Weight lambda of the penalty on singular values away from 1, >= 0; used with `singular_values`.
            The paper gives none.
        angle_start: Centres of the initial recurrent angles: `zero`, or `ring`, with which abs(W_h) is a cyclic
            permutation.
        angle_range: Half-width of the uniform distribution of initial angles around their centres, in radians, >= 0.
        input_std: Standard deviation of a dense W_x's initial entries, > 0; null for 1/sqrt(hidden).
        silent: Indices, >= 0, of input features whose columns of a dense W_x start at 0, for example a task's blank.
        readout_std: Standard deviation of the readout's initial weights, >= 0, its bias then being 0; null for torch's
            initialisation.
    """

    b: nn.Parameter

    def __init__(
        self,
        in_features: int,
        hidden: int,
        *,
        rotations: Count | None = None,
        activation: Activation = "abs",
        input_map: Literal["dense", "rotations"] = "dense",
        singular_values: bool = False,
        sigma_penalty: NonNegative = 1.0,
        angle_start: Literal["zero", "ring"] = "zero",
        angle_range: NonNegative = math.pi,
        input_std: Positive | None = None,
        silent: list[NonNegativeInt] | None = None,
        readout_std: NonNegative | None = None,
    ) -> None:
        super().__init__(in_features, hidden)
        if input_map == "rotations" and in_features != hidden:
            raise UserError(
                f"`input_map` rotations needs inputs as wide as the state, got in_features {in_features} and hidden "
                f"{hidden}; take `hidden` {in_features} or `input_map` dense."
            )
        self.activation = activation
        if silent and (input_map == "rotations" or max(silent) >= in_features):
            raise UserError(f"`silent` names features 0 ... {in_features - 1} of a dense input map, got {silent}.")
        self.sigma_penalty = sigma_penalty
        self.readout_std = readout_std
        self.recurrent_map = _RotationMap(hidden, rotations, angle_range, singular_values, ring=angle_start == "ring")
        self.input_map: _RotationMap | None = None
        if input_map == "rotations":
            self.input_map = _RotationMap(hidden, rotations, angle_range, singular_values)
        else:
            std = 1 / math.sqrt(hidden) if input_std is None else input_std
            self.W_x = nn.Parameter(torch.empty(hidden, in_features).normal_(std=std))
            with torch.no_grad():
                self.W_x[:, silent or []] = 0
        self.b = nn.Parameter(torch.zeros(hidden))

    @property
    def _maps(self) -> list["_RotationMap"]:
        return [self.recurrent_map] if self.input_map is None else [self.recurrent_map, self.input_map]

    def input_projection(self, x: Float[Tensor, "batch time in"]) -> Float[Tensor, "batch time hidden"]:
        """Return W_x x_t + b, (batch, time, hidden)."""
        return nn.functional.linear(x, self.W_x if self.input_map is None else self.input_map(), self.b)

    def recurrent_matrix(self) -> Float[Tensor, "hidden hidden"]:
        """Return W_h."""
        return self.recurrent_map()

    def initialise_readout(self, readout: nn.Linear) -> None:
        """Draw the weights N(0, readout_std^2) and zero the bias, where `readout_std` is given."""
        if self.readout_std is not None:
            nn.init.normal_(readout.weight, std=self.readout_std)
            nn.init.zeros_(readout.bias)

    def penalty(self) -> Tensor | None:
        """Return lambda/2 * ||sigma - 1||^2 over the layer's maps (section 5.3), or None where they are rotations."""
        terms = [(m.sigma - 1).square().sum() for m in self._maps if m.sigma is not None]
        if not terms or not self.sigma_penalty:
            return None
        return self.sigma_penalty / 2 * torch.stack(terms).sum()

    def parameter_groups(self) -> list[ParameterGroup]:
        """Return `main`, `bias` (b), `orthogonal` (all angles) and, where there are any, `singular_values`."""
        angles = [r.angles for m in self._maps for r in m.modules() if isinstance(r, PackedRotations)]
        groups = [ParameterGroup("bias", [self.b]), ParameterGroup("orthogonal", angles)]
        if sigmas := [m.sigma for m in self._maps if m.sigma is not None]:
            groups.append(ParameterGroup("singular_values", sigmas))
        return with_main_group(self, *groups)

    def orthogonal_matrices(self) -> dict[str, Tensor]:
        """Return the products of rotations in W_h and, where it is one, in W_x."""
        return {n.replace("_map", ""): m() for n, m in self.named_modules() if isinstance(m, PackedRotations)}

    def claims(self) -> list[Claim]:
        """Return theorems 3 and 4."""
        kept, rotations = self.activation == "abs", self.recurrent_map.sigma is None
        turned = rotations and self.input_map is not None and self.input_map.sigma is None
        return [
            Claim(
                "||dL/dh_t|| is the same for all t, L read from the last state: largest relative change (theorem 3)",
                "activation abs with no unit at exactly 0; rotations without singular values",
                lambda e: gradient_norm_kept(e, kink=kept).under_hypothesis(kept and rotations),
            ),
            Claim(
                "||dL/dx_t|| = ||dL/dh_{t-1}|| for all t, L read from the last state: largest relative difference "
                "(theorem 4)",
                "W_h and the square W_x rotations without singular values; any activation",
                lambda e: input_gradient_norm_is_the_states(e).under_hypothesis(turned),
            ),
        ]


class _RotationMap(nn.Module):
    """A square linear map: packed rotations U, or U diag(sigma) V^T with two such products."""

    def __init__(
        self, n: int, rotations: int | None, angle_range: float, singular_values: bool, ring: bool = False
    ) -> None:
        super().__init__()
        self.U = PackedRotations(n, rotations, angle_range, ring)
        self.V: PackedRotations | None = None
        self.sigma: nn.Parameter | None = None
        if singular_values:
            self.V = PackedRotations(n, rotations, angle_range)
            self.sigma = nn.Parameter(torch.ones(n))

    def forward(self) -> Tensor:
        """Return the matrix, (n, n)."""
        if self.V is None or self.sigma is None:
            return self.U()
        return (self.U() * self.sigma) @ self.V().T
