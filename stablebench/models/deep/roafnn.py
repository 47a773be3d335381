r"""roaFNN: every layer is a convex combination of a plain layer and a fixed orthogonal map of what it was given.

Equation (12 of the paper), alpha = rho / (layers - 1):

    h_l = alpha * phi(W_l h_{l-1} + b_l) + (1 - alpha) * O_l h_{l-1},    h_0 = x,    l = 1 ... layers - 2

    The output is one more such layer (`output` layer), or W h + b of the last h (linear).

Shapes: x (batch, in), h_l (batch, width of layer l), W_l and O_l (width of l, width of l - 1), b_l (width of l). All
    widths are `hidden` unless `widths` names them; they may grow. `layers` counts the input, the hidden layers and the
    output.
Parameters: `hidden * (inputs + 1) + (layers - 3) * hidden * (hidden + 1)`.
Cost per sample: `2 * hidden * (inputs + (layers - 3) * hidden)` multiply-adds. Half of it for O = identity of equal
    widths.
Init: weights and biases N(0, 1), the output's too (caption of figure 1), or like `mlp`'s. O_l never trained: Q of the
    QR decomposition of a matrix with U(-1, 1) entries, no sign correction (a square one as in `roarnn`: of determinant
    -1 at every even width); or a random semi-permutation (appendix C (I)); or the identity, cut to its shape. One O for
    all layers of a shape with `shared` (appendix C (II)).
Stability claim (theorem 2.1 before its limit): with phi' in [0, r], s the largest ||W_l||_2, and N layers behind h_1,
    the norm of dh_T/dh_1 is at most (1 + alpha (r s - 1))^N, and for widths that never grow and alpha (1 + r s) < 1 at
    least (1 - alpha (1 + r s))^N. Asserted in tests/models/test_roafnn.py. The upper end is at most
    exp(rho (r s - 1)) with rho = alpha N, as printed; the printed lower end exp(-rho (1 + r s)) is only the limit for
    many layers, and a chain of few can fall below it (asserted too).
Reference: Ceni. Random Orthogonal Additive Filters: A Solution to the Vanishing/Exploding Gradient of Deep Neural
    Networks. IEEE TNNLS 2025. https://arxiv.org/abs/2210.01245
Differs from the paper:
    - Figure 1 counts layers of neurons, so "L = 50" has 49 maps and 291 parameters, while equation 12 has L maps; here
      `layers` is the former, also in alpha.
    - A wide matrix has no QR factor of its own shape; O is then the transpose of a tall one's.
    - Definition C.1 takes unit vectors that do not fit a tall matrix; here they are of the larger dimension and all
      different.
    - Semi-permutations are applied as matrices, so they are no faster.
"""

import math
from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor, nn

from stablebench.errors import UserError
from stablebench.models.base import DeepModel, LayerGroup, State, frozen_generator
from stablebench.models.blocks.activations import activation
from stablebench.models.blocks.layered import (
    Init,
    Output,
    draw_readout,
    equal_shapes,
    hidden_widths,
    new_biases,
    new_weights,
)
from stablebench.models.blocks.random_orthogonal import random_semi_orthogonal, random_semi_permutation
from stablebench.models.claims.claim import (
    Claim,
    Evidence,
    Outcome,
    largest_singular_value_at_least,
    largest_singular_value_at_most,
)
from stablebench.models.registry import register_model
from stablebench.schema.strict import Count, Positive

Filter = Literal["dense", "permutation", "identity"]


class FilteredReadout(nn.Linear):
    """A layer of a roaFNN as the readout: alpha phi(W h + b) + (1 - alpha) O h.

    Args:
        O: The filter (out, in).
        alpha: The weight of the trained part.
        phi: The activation.
    """

    O: Tensor  # noqa: E741 - the paper's name

    def __init__(self, O: Tensor, alpha: float, phi: Literal["tanh", "relu"]) -> None:  # noqa: E741
        super().__init__(O.shape[1], O.shape[0])
        self.alpha = alpha
        self.phi: Literal["tanh", "relu"] = phi
        self.register_buffer("O", O)

    def forward(self, input: Tensor) -> Tensor:
        """Return the outputs (batch, out) of states (batch, in)."""
        return self.alpha * activation(self.phi, super().forward(input)) + (1 - self.alpha) * (input @ self.O.T)


@register_model
class RoaFNN(DeepModel):
    """See the module docstring for the equation.

    Args:
        in_features: Number of input features, the width of x, >= 1.
        hidden: Width of the hidden layers, or of the last one if `widths` are given, >= 1.
        layers: Depth of the network including its input and output layers, >= 3; it has `layers - 2` hidden layers.
        rho: Strength of the trained part, > 0 and <= layers - 1: alpha = rho / (layers - 1). At the upper end the model
            is the plain network.
        widths: Widths of the hidden layers from first to last, each >= 1; the last must be `hidden`. null makes all
            `hidden`.
        activation: Elementwise nonlinearity phi of the layers: `tanh` or `relu`.
        orthogonal: Fixed matrices O_l: `dense` random (semi-)orthogonal, `permutation` random semi-permutations, or
            `identity`, cut to shape.
        shared: Whether all layers of one shape have the same O.
        init: Distribution of the initial weights: `glorot` U(+-sqrt(6 / (in + out))), `he` N(0, 2 / in), `orthogonal`,
            all with biases 0, or `normal` weights and biases N(0, 1).
        output: Readout: `linear` is an affine map, `layer` one more layer with its own O.
    """

    def __init__(
        self,
        in_features: int,
        hidden: int,
        *,
        layers: Count,
        rho: Positive = 1.0,
        widths: list[Count] | None = None,
        activation: Literal["tanh", "relu"] = "tanh",
        orthogonal: Filter = "dense",
        shared: bool = False,
        init: Init = "normal",
        output: Output = "layer",
    ) -> None:
        super().__init__(in_features, hidden)
        self.widths = hidden_widths(hidden, layers, widths)
        if rho > layers - 1:
            raise UserError(f"`rho` must be <= {layers - 1} (alpha = rho / (layers - 1) is at most 1), got {rho}.")
        self.alpha = rho / (layers - 1)
        self.activation: Literal["tanh", "relu"] = activation
        self.orthogonal: Filter = orthogonal
        self.shared = shared
        self.init: Init = init
        self.output: Output = output
        shapes = equal_shapes(in_features, self.widths)
        self.W = nn.ParameterList([new_weights(init, *shape) for shape in shapes])
        self.b = nn.ParameterList([new_biases(init, count, outer) for count, _, outer in shapes])
        rng = frozen_generator("O")
        for i, (count, inner, outer) in enumerate(shapes):
            if not self._skips(inner, outer):
                filters = self._shared_filter(outer, inner) if shared else self._filters(count, outer, inner, rng)
                self.register_buffer(f"O_{i}", filters)

    def _skips(self, inner: int, outer: int) -> bool:
        """Whether O is no matrix at all."""
        return self.orthogonal == "identity" and inner == outer

    def _filters(self, count: int, rows: int, columns: int, rng: torch.Generator) -> Tensor:
        """Return O_l of `count` layers, (count, rows, columns)."""
        if self.orthogonal == "dense":
            return random_semi_orthogonal(count, rows, columns, rng)
        if self.orthogonal == "permutation":
            return random_semi_permutation(count, rows, columns, rng)
        return torch.eye(rows, columns).repeat(count, 1, 1)

    def _shared_filter(self, rows: int, columns: int) -> Tensor:
        """Return the O of all layers of a shape, (rows, columns)."""
        return self._filters(1, rows, columns, frozen_generator(f"O {rows} {columns}"))[0]

    def layer_groups(self) -> list[LayerGroup]:
        """Return W_l, b_l and O_l of the layers, those of one shape together."""
        groups = []
        for i, (W, b) in enumerate(zip(self.W, self.b, strict=True)):
            if self._skips(*W.shape[1:]):
                groups.append(LayerGroup((W, b)))
            elif self.shared:
                groups.append(LayerGroup((W, b), self.get_buffer(f"O_{i}")))
            else:
                groups.append(LayerGroup((W, b, self.get_buffer(f"O_{i}"))))
        return groups

    def step(self, layer: tuple[Tensor, ...], state: State, shared: Tensor | None) -> State:
        """Return h_l."""
        (h,) = state
        W, b, *own = layer
        O = own[0] if own else shared  # noqa: E741 - the paper's name
        kept = h if O is None else nn.functional.linear(h, O)
        return (self.alpha * activation(self.activation, nn.functional.linear(h, W, b)) + (1 - self.alpha) * kept,)

    def readout(self, outputs: int) -> nn.Module:
        """Return the output layer, drawn like the others."""
        if self.output == "linear":
            readout = nn.Linear(self.hidden, outputs)
        else:
            if self.shared:
                O = self._shared_filter(outputs, self.hidden)  # noqa: E741
            else:
                O = self._filters(1, outputs, self.hidden, frozen_generator("O of the output"))[0]  # noqa: E741
            readout = FilteredReadout(O, self.alpha, self.activation)
        draw_readout(readout, self.init)
        return readout

    def diagnostics(self) -> dict[str, float | Tensor]:
        """Return the largest sigma = ||W_l||, and alpha (1 + sigma), below 1 for theorem 2.1 with phi' in [0, 1]."""
        sigma = torch.cat([torch.linalg.matrix_norm(W, 2) for W in self.W]).max()
        return {"sigma": sigma, "alpha_1_plus_sigma": self.alpha * (1 + sigma)}

    def orthogonal_matrices(self) -> dict[str, Tensor]:
        """Return the filters O, those of one shape together."""
        return {name: filters for name, filters in self.named_buffers() if name.startswith("O_")}

    def claims(self) -> list[Claim]:
        """Return theorem 2.1 for the chain's own number of layers N behind h_1, before its limit and as printed."""
        norms = [torch.linalg.matrix_norm(W.detach(), 2) for W in self.W]
        behind_the_first = torch.cat(norms)[1:]
        s = behind_the_first.max().item() if len(behind_the_first) else 0.0
        shrink, grow = self.alpha * (1 + s), self.alpha * (s - 1)  # r = 1 for tanh and relu
        never_grow = all(a >= b for a, b in pairwise(self.widths))

        def upper(e: Evidence, high: float) -> Outcome:
            return largest_singular_value_at_most(e, high, 2 * e.steps * e.weights_eps)

        def lower(e: Evidence, low: float) -> Outcome:
            outcome = largest_singular_value_at_least(e, low, 2 * e.steps * e.weights_eps)
            return outcome.under_hypothesis(shrink < 1 and never_grow)

        log_shrink = math.log1p(-shrink) if shrink < 1 else -math.inf
        bounded = "phi' in [0, r], with s = max ||W_l|| and r = 1"
        hypothesis = f"widths never grow, rho < N / (1 + r s), {bounded}"
        return [
            Claim(
                "log10 ||dh_T/dh_1|| <= N log10(1 + alpha (r s - 1)) (theorem 2.1 before its limit)",
                bounded,
                lambda e: upper(e, e.steps * math.log1p(grow)),
            ),
            Claim(
                "log10 ||dh_T/dh_1|| <= rho (r s - 1) / ln 10, rho = alpha N (theorem 2.1, equation 15)",
                bounded,
                lambda e: upper(e, e.steps * grow),
            ),
            Claim(
                "log10 ||dh_T/dh_1|| >= N log10(1 - alpha (1 + r s)) (theorem 2.1 before its limit)",
                hypothesis,
                lambda e: lower(e, e.steps * log_shrink if e.steps else 0.0),
            ),
            Claim(
                "log10 ||dh_T/dh_1|| >= -rho (1 + r s) / ln 10, rho = alpha N (theorem 2.1, equation 16)",
                hypothesis,
                lambda e: lower(e, -e.steps * shrink),
            ),
        ]
