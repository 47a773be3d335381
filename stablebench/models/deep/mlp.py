r"""MLP: the plain feed-forward network.

Equation:

    h_l = phi(W_l h_{l-1} + b_l),    h_0 = x,    l = 1 ... layers - 2

    The output is W h + b of the last h, or phi of it (`output` layer).

Shapes: x (batch, in), h_l (batch, width of layer l), W_l (width of l, width of l - 1), b_l (width of l). All widths are
    `hidden` unless `widths` names them. `layers` counts the input, the hidden layers and the output.
Parameters: `hidden * (inputs + 1) + (layers - 3) * hidden * (hidden + 1)`.
Cost per sample: `hidden * inputs + (layers - 3) * hidden ** 2` multiply-adds.
Init: weights U(+-sqrt(6 / (in + out))) and biases 0 (Glorot & Bengio), N(0, 2 / in) and 0 (he), orthogonal and 0, or
    all N(0, 1), as roaFNN's paper has it. The readout likewise.
Stability claim: none; the derivative of the last layer in the first is a product of layers - 3 matrices diag(phi') W_l.
Reference: Rumelhart, Hinton, Williams. Learning Representations by Back-propagating Errors. Nature 323, 1986. Start:
    Glorot, Bengio. Understanding the Difficulty of Training Deep Feedforward Neural Networks. AISTATS 2010.
Differs from the paper: phi is tanh or ReLU, not the logistic function.
"""

from typing import Literal

from torch import Tensor, nn

from stablebench.models.base import DeepModel, LayerGroup, State
from stablebench.models.blocks.activations import activation
from stablebench.models.blocks.layered import (
    Init,
    Output,
    equal_shapes,
    hidden_widths,
    new_biases,
    new_weights,
    plain_readout,
)
from stablebench.models.registry import register_model
from stablebench.schema.strict import Count


@register_model
class Mlp(DeepModel):
    """See the module docstring for the equation.

    Args:
        in_features: Number of input features, the width of x, >= 1.
        hidden: Width of the hidden layers, or of the last one if `widths` are given, >= 1.
        layers: Depth of the network including its input and output layers, >= 3; it has `layers - 2` hidden layers.
        widths: Widths of the hidden layers from first to last, each >= 1; the last must be `hidden`. null makes all
            `hidden`.
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
        widths: list[Count] | None = None,
        activation: Literal["tanh", "relu"] = "tanh",
        init: Init = "glorot",
        output: Output = "linear",
    ) -> None:
        super().__init__(in_features, hidden)
        self.activation: Literal["tanh", "relu"] = activation
        self.init: Init = init
        self.output: Output = output
        shapes = equal_shapes(in_features, hidden_widths(hidden, layers, widths))
        self.W = nn.ParameterList([new_weights(init, *shape) for shape in shapes])
        self.b = nn.ParameterList([new_biases(init, count, outer) for count, _, outer in shapes])

    def layer_groups(self) -> list[LayerGroup]:
        """Return W_l and b_l of the layers, those of one shape together."""
        return [LayerGroup(pair) for pair in zip(self.W, self.b, strict=True)]

    def step(self, layer: tuple[Tensor, ...], state: State, shared: None) -> State:
        """Return h_l."""
        (h,), (W, b) = state, layer
        return (activation(self.activation, nn.functional.linear(h, W, b)),)

    def readout(self, outputs: int) -> nn.Module:
        """Return the output layer, drawn like the others."""
        return plain_readout(self.output, self.activation, self.init, self.hidden, outputs)
