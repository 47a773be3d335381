"""Small networks in float64 with known derivatives."""

import torch
from torch import Tensor

from stablebench import registry
from stablebench.data.batch import Batch
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


def stack(name: str, layers: int, steps: int, readout: str = "every") -> Network:
    """Stacked layers of a registered model, width 4, tokens 0 ... 4 in and 3 classes out."""
    entry = registry.model_entry(name)
    horizon = {"horizon": steps} if entry.takes_horizon else {}
    built = []
    for _ in range(layers):
        built.append(entry.cls(built[-1].out_features if built else 5, 4, **horizon, **entry.resolve({})))
    return Network(built, 3, readout=readout, input="tokens")  # pyright: ignore[reportArgumentType]
