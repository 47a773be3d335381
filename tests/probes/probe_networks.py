"""Small networks in float64 with known derivatives."""

import torch
from torch import Tensor, nn

from stablebench.data.batch import Batch
from stablebench.models import registry as model_registry
from stablebench.models.base import RecurrentModel, State
from stablebench.models.network import Network
from stablebench.models.recurrent.rnn import Rnn


def linear_network(W: Tensor, activation: str = "identity") -> Network:
    """The chain h' = phi(W h), whatever the input; one output, the sum of h, read at the last step."""
    layer = Rnn(1, len(W), activation=activation)  # pyright: ignore[reportArgumentType]
    network = Network([layer], 1, readout="last", input="values")
    with torch.no_grad():
        layer.W.copy_(W)
        layer.V.zero_()
        layer.b.zero_()
        network.head.weight.fill_(1)
        network.head.bias.zero_()
    return network


def still_batch(samples: int, steps: int) -> Batch:
    """Inputs of zeros and targets 1, so that dL/dh_T = -2 for the squared error of an output 0."""
    return Batch(torch.zeros(samples, steps, 1), torch.ones(samples, 1))


class Emitting(RecurrentModel):
    """A linear recurrence whose layers give out something wider than the state, and their input with it."""

    def __init__(self, in_features: int, hidden: int) -> None:
        super().__init__(in_features, hidden)
        self.V = nn.Parameter(torch.randn(hidden, in_features))
        self.decay = nn.Parameter(torch.rand(hidden))

    @property
    def out_features(self) -> int:
        return 2 * self.hidden

    def input_projection(self, x: Tensor) -> Tensor:
        return x @ self.V.T

    def step(self, projected: Tensor, state: State, recurrent_weights: None) -> State:
        return (self.decay * state[0] + projected,)

    def layer_output(self, output: Tensor, x: Tensor) -> Tensor:
        return torch.cat([torch.tanh(output), torch.sin(output * (x @ self.V.T))], dim=-1)


def emitting_stack(layers: int) -> Network:
    """Stacked layers with an `layer_output` of their own, tokens 0 ... 4 in and 3 classes out."""
    widths = [5] + [8] * (layers - 1)
    return Network([Emitting(width, 4) for width in widths], 3, readout="every", input="tokens")


def stack(name: str, layers: int, steps: int, readout: str = "every") -> Network:
    """Stacked layers of a registered model, width 4, tokens 0 ... 4 in and 3 classes out."""
    entry = model_registry.model_entry(name)
    built = []
    for i in range(layers):
        width = built[-1].out_features if built else 5
        built.append(entry.build(width, 4, entry.resolve({}), horizon=steps, layer=i))
    return Network(built, 3, readout=readout, input="tokens").eval()  # pyright: ignore[reportArgumentType]
