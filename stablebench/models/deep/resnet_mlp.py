r"""Residual MLP: every layer adds to what it was given.

Equation:

    h_1 = phi(W_1 x + b_1)
    h_l = h_{l-1} + step_size * phi(W_l h_{l-1} + b_l),    l = 2 ... layers - 2

    The output is W h + b of the last h, or phi of it (`output` layer).

Shapes: x (batch, in), h_l (batch, hidden), W_1 (hidden, in), W_l (hidden, hidden), b_l (hidden). `layers` counts the
    input, the hidden layers and the output.
Parameters: `hidden * (inputs + 1) + (layers - 3) * hidden * (hidden + 1)`.
Cost per sample: `hidden * inputs + (layers - 3) * hidden ** 2` multiply-adds.
Init: weights U(+-sqrt(6 / (in + out))) and biases 0 (glorot), N(0, 2 / in) and 0 (he), orthogonal and 0, or all
    N(0, 1). The readout likewise.
Stability claim: with |phi'| <= 1 and step_size * s < 1, where s is the largest ||W_l||, every singular value of the
    derivative of the last h in h_1 lies in [(1 - step_size s)^N, (1 + step_size s)^N], N = layers - 3: the paper's
    identity path. Asserted in tests/models/test_resnet_mlp.py. It is Weyl's inequality and not printed there.
Reference: He, Zhang, Ren, Sun. Deep Residual Learning for Image Recognition. CVPR 2016.
    https://arxiv.org/abs/1512.03385. The layer with its step size: Haber, Ruthotto. Stable Architectures for Deep
    Neural Networks. Inverse Problems 34, 2018. https://arxiv.org/abs/1705.03341
Differs from the paper:
    - He et al. have convolutions, two layers between additions, batch normalisation and a ReLU behind the addition.
      Here one layer is one addition and nothing follows it, as in Haber & Ruthotto, so that depth and parameters are
      those of `mlp`.
    - The first layer changes the width and adds nothing, also where the widths are equal.
"""

import math
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from stablebench.errors import UserError
from stablebench.models.base import DeepModel, LayerGroup, State
from stablebench.models.blocks.activations import activation
from stablebench.models.blocks.layered import Init, Output, new_biases, new_weights, plain_readout
from stablebench.models.claims.claim import Claim, Evidence, Outcome, singular_values_within
from stablebench.models.registry import register_model
from stablebench.schema.strict import Count, Positive


@register_model
class ResnetMlp(DeepModel):
    """See the module docstring for the equation.

    Args:
        in_features: Number of input features, the width of x, >= 1.
        hidden: Number of units of each hidden layer, the width of h_l, >= 1.
        layers: Depth of the network including its input and output layers, >= 4; it has `layers - 2` hidden layers.
        step_size: Factor of the residual that each layer adds, > 0.
        activation: Elementwise nonlinearity phi of the layers: `tanh` or `relu`.
        init: Distribution of the initial weights: `glorot` U(+-sqrt(6 / (in + out))), `he` N(0, 2 / in), `orthogonal`,
            all with biases 0, or `normal` weights and biases N(0, 1).
        output: Readout: `linear` is an affine map, `layer` applies phi to it.
    """

    def __init__(
        self,
        in_features: int,
        hidden: int,
        *,
        layers: Count,
        step_size: Positive = 1.0,
        activation: Literal["tanh", "relu"] = "tanh",
        init: Init = "glorot",
        output: Output = "linear",
    ) -> None:
        super().__init__(in_features, hidden)
        if layers < 4:
            raise UserError(f"`layers` must be >= 4 (input, first, residual and output layer), got {layers}.")
        self.step_size = step_size
        self.activation: Literal["tanh", "relu"] = activation
        self.init: Init = init
        self.output: Output = output
        self.W_1, self.b_1 = new_weights(init, 1, in_features, hidden), new_biases(init, 1, hidden)
        self.W, self.b = new_weights(init, layers - 3, hidden, hidden), new_biases(init, layers - 3, hidden)

    def embed_input(self, x: Float[Tensor, "batch in"]) -> State:
        """Return h_1."""
        return (activation(self.activation, nn.functional.linear(x, self.W_1[0], self.b_1[0])),)

    def layer_groups(self) -> list[LayerGroup]:
        """Return W_l and b_l from the second layer on."""
        return [LayerGroup((self.W, self.b))]

    def step(self, layer: tuple[Tensor, ...], state: State, shared: None) -> State:
        """Return h_l."""
        (h,), (W, b) = state, layer
        return (h + self.step_size * activation(self.activation, nn.functional.linear(h, W, b)),)

    def readout(self, outputs: int) -> nn.Module:
        """Return the output layer, drawn like the others."""
        return plain_readout(self.output, self.activation, self.init, self.hidden, outputs)

    def claims(self) -> list[Claim]:
        """Return the bounds that the identity path gives, for the chain's own number of layers N behind h_1."""

        def check(e: Evidence) -> Outcome:
            reach = self.step_size * torch.linalg.matrix_norm(self.W.detach(), 2).max().item()
            low = math.log1p(-reach) if reach < 1 else -math.inf
            outcome = singular_values_within(
                e, e.steps * low if e.steps else 0.0, e.steps * math.log1p(reach), 2 * e.steps * e.weights_eps
            )
            return outcome.under_hypothesis(reach < 1)

        return [
            Claim(
                "log10 of the singular values of dh_T/dh_1 within N log10(1 -+ step_size max ||W_l||)",
                "step_size max ||W_l|| < 1; |phi'| <= 1",
                check,
            )
        ]
