r"""oRNN: the recurrent matrix is a product of Householder reflections.

Equation (M_1 and M_k of the paper, k = n - m + 1 for n = hidden and m = `reflections`):

    h_t = phi(W h_{t-1} + V x_t + b),    phi(z) = max(z, z / 10)
    W = H_n(u_n) H_{n-1}(u_{n-1}) ... H_k(u_k)

    H_k(u) = I - 2 u u^T / |u|^2 on the last k coordinates, the identity on the others, for u in R^k, k >= 2
    H_1(u) = diag(1, ..., 1, u), u = +1 or -1

Shapes: x_t (batch, in), h_t (batch, hidden), W (hidden, hidden), u_k (k), V (hidden, in), b (hidden). `u` holds the
    entries of u_n, u_{n-1}, ... as the lower triangle of a matrix of their columns, row by row.
Parameters: `hidden * (hidden + 1) / 2 - 1 + hidden * (inputs + 1)`.
Cost per step: `hidden * (hidden + inputs)` multiply-adds; W is built once per pass: a triangular system.
Init: u_k in a uniformly random direction and of length 1, u_1 a random sign, V Glorot uniform, b = 0, as the authors'
    code.
Stability claim: W^T W = I whatever the optimiser does, so that the singular values of dh_T/dh_t are in [0.1^(T-t), 1].
    With m = n every orthogonal W of one sign of the determinant can be had (theorem 1), and a smaller m gives matrices
    with W - I of rank m at most. Asserted in tests/models/test_ornn.py.
Reference: Mhammedi, Hellicar, Rahman, Bailey. Efficient Orthogonal Parametrisation of Recurrent Neural Networks Using
    Householder Reflections. ICML 2017. https://arxiv.org/abs/1612.00188
Differs from the paper:
    - W is built as one matrix, W = I - U S^-1 U^T with S upper triangular; the paper applies the reflections to the
      state at each step.
    - u_1 is drawn and fixed: in the authors' code it is trained as a real number, and W is not orthogonal once it has
      left +-1.
    - h_0 = 0; their code learns it.
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn

from stablebench.errors import UserError
from stablebench.models.base import frozen_generator
from stablebench.models.blocks.orthogonal_rnn import OrthogonalRNN
from stablebench.models.blocks.skew_exponential import filled
from stablebench.models.blocks.unitary import householder_product
from stablebench.models.claims.claim import Claim, smallest_singular_value_at_least
from stablebench.models.registry import register_model
from stablebench.schema.strict import Count

_SLOPE = 0.1
"""phi' below 0."""


@register_model
class ORNN(OrthogonalRNN):
    """See the module docstring for the equation.

    Args:
        in_features: Number of input features, the width of x_t, >= 1.
        hidden: Number of units, the width of the state h_t, >= 1.
        reflections: Number m of Householder reflections, >= 1 and at most hidden; null for hidden, which gives every
            orthogonal W of one sign.
    """

    activation = "leaky_relu"
    hypothesis = "none"
    places: Tensor
    last_sign: Tensor

    def __init__(self, in_features: int, hidden: int, *, reflections: Count | None = None) -> None:
        super().__init__(in_features, hidden)
        reflections = hidden if reflections is None else reflections
        if reflections > hidden:
            raise UserError(
                f"`reflections` must be <= {hidden}, the hidden width (there are H_1 ... H_n), got {reflections}."
            )
        self.trained = min(reflections, hidden - 1)
        """Reflections of two coordinates and more."""
        rows, columns = torch.tril_indices(hidden, self.trained)
        start = torch.tril(torch.randn(hidden, self.trained))
        start /= torch.linalg.vector_norm(start, dim=0)
        self.u = nn.Parameter(start[rows, columns])
        self.add_input_map("glorot")
        sign = torch.ones(hidden)
        if reflections == hidden:
            sign[-1] -= 2 * torch.randint(2, (), generator=frozen_generator("u_1"))
        self.register_buffer("last_sign", sign)
        self.register_buffer("places", rows * hidden + columns, persistent=False)

    def orthogonal(self) -> Float[Tensor, "hidden hidden"]:
        """Return W, the product of the reflections."""
        columns = filled(self.hidden, self.places, self.u)[:, : self.trained]
        return householder_product(columns) * self.last_sign

    def orthogonal_parameters(self) -> list[nn.Parameter]:
        """Return the reflection vectors."""
        return [self.u]

    def phi(self, z: Tensor) -> Tensor:
        """Return max(z, z / 10)."""
        return nn.functional.leaky_relu(z, _SLOPE)

    def claims(self) -> list[Claim]:
        """Return that W is orthogonal, and the bounds that it puts on the Jacobian."""
        return [
            *super().claims(),
            Claim(
                "log10 of the smallest singular value of dh_T/dh_1 >= -(T - 1), a tenth for each step",
                "none",
                lambda e: smallest_singular_value_at_least(e, e.steps * math.log(_SLOPE)),
            ),
        ]
