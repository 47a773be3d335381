r"""Highway network: every layer decides unit by unit how much it changes and how much it carries on.

Equation (3 of the paper, with C = 1 - T):

    h_1 = phi(W_1 x + b_1)
    T_l = sigmoid(W_T h_{l-1} + b_T)
    h_l = phi(W_H h_{l-1} + b_H) * T_l + h_{l-1} * (1 - T_l),    l = 2 ... layers - 2

    Every layer has W_H, b_H, W_T and b_T of its own. The output is W h + b of the last h, or phi of it (`output`
    layer).

Shapes: x (batch, in), h_l and T_l (batch, hidden), W_1 (hidden, in), W_H and W_T (hidden, hidden), b_1, b_H, b_T
    (hidden). `layers` counts the input, the hidden layers and the output.
Parameters: `hidden * (inputs + 1) + 2 * (layers - 3) * hidden * (hidden + 1)`.
Cost per sample: `hidden * inputs + 2 * (layers - 3) * hidden ** 2` multiply-adds.
Init: all weights N(0, 2 / in) and biases 0 (He et al. 2015, as the paper), or otherwise like `mlp`'s; b_T = gate_bias
    in any case, below 0 so that layers carry at first (section 2.2). The readout likewise, without gates.
Stability claim: a layer whose T is 0 is the identity, and so is its derivative (section 2). Asserted in
    tests/models/test_highway.py.
Reference: Srivastava, Greff, Schmidhuber. Highway Networks. 2015. https://arxiv.org/abs/1505.00387, and Training Very
    Deep Networks. NeurIPS 2015. https://arxiv.org/abs/1507.06228
Differs from the paper:
    - gate_bias is -2 by default; the paper names -1 and -3, and searched -1 to -10 for each depth (from memory, the
      text was not at hand).
    - The output need not be a softmax.
"""

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from stablebench.errors import UserError
from stablebench.models.base import DeepModel, LayerGroup, State
from stablebench.models.blocks.activations import activation
from stablebench.models.blocks.layered import Init, Output, new_biases, new_weights, plain_readout
from stablebench.models.registry import register_model
from stablebench.schema.strict import Count


@register_model
class Highway(DeepModel):
    """See the module docstring for the equation.

    Args:
        in_features: Number of input features, the width of x, >= 1.
        hidden: Number of units of each hidden layer, the width of h_l, >= 1.
        layers: Depth of the network including its input and output layers, >= 4; it has `layers - 2` hidden layers.
        gate_bias: Initial bias b_T of the transform gates; lower values make layers carry more of their input.
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
        gate_bias: float = -2.0,
        activation: Literal["tanh", "relu"] = "tanh",
        init: Init = "he",
        output: Output = "linear",
    ) -> None:
        super().__init__(in_features, hidden)
        if layers < 4:
            raise UserError(f"`layers` must be >= 4 (input, first, highway and output layer), got {layers}.")
        self.activation: Literal["tanh", "relu"] = activation
        self.init: Init = init
        self.output: Output = output
        count = layers - 3
        self.W_1, self.b_1 = new_weights(init, 1, in_features, hidden), new_biases(init, 1, hidden)
        self.W_H, self.b_H = new_weights(init, count, hidden, hidden), new_biases(init, count, hidden)
        self.W_T = new_weights(init, count, hidden, hidden)
        self.b_T = nn.Parameter(torch.full((count, hidden), gate_bias))

    def embed_input(self, x: Float[Tensor, "batch in"]) -> State:
        """Return h_1, of a plain layer."""
        return (activation(self.activation, nn.functional.linear(x, self.W_1[0], self.b_1[0])),)

    def layer_groups(self) -> list[LayerGroup]:
        """Return W_H, b_H, W_T and b_T of all highway layers."""
        return [LayerGroup((self.W_H, self.b_H, self.W_T, self.b_T))]

    def step(self, layer: tuple[Tensor, ...], state: State, shared: None) -> State:
        """Return h_l."""
        (h,), (W_H, b_H, W_T, b_T) = state, layer
        T = torch.sigmoid(nn.functional.linear(h, W_T, b_T))
        return (activation(self.activation, nn.functional.linear(h, W_H, b_H)) * T + h * (1 - T),)

    def readout(self, outputs: int) -> nn.Module:
        """Return the output layer, drawn like the first."""
        return plain_readout(self.output, self.activation, self.init, self.hidden, outputs)
