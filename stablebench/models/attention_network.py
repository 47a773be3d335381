"""The whole network of attention models: encoded inputs, a stack of layers, a linear readout."""

from typing import Any, Literal, Protocol

import torch
from torch import Tensor, nn

from stablebench.models.attention_model import AttentionModel, run_attention
from stablebench.models.encoding import encoded
from stablebench.models.network import AnyNetwork


class EngineRunAttention(Protocol):
    """An engine's run of a layer; see `stablebench.models.attention_model.run_attention`."""

    def __call__(self, model: AttentionModel, x: Tensor, /) -> Tensor:
        """Run one layer over all steps."""
        ...


class AttentionNetwork(AnyNetwork):
    """Stacked attention models and a readout.

    It carries nothing from one call to the next: of a stream of text that comes window by window it sees a window.

    Args:
        layers: The models; each but the first takes the outputs of the one before.
        outputs: Classes, or width of the target values.
        readout: Whether the last output is read or every one.
        input: `tokens` are fed one-hot or embedded, `values` as they are.
        embedding: The vectors of the tokens; None for one-hot.
    """

    def __init__(
        self,
        layers: list[AttentionModel],
        outputs: int,
        *,
        readout: Literal["last", "every"],
        input: Literal["tokens", "values"],
        embedding: nn.Embedding | None = None,
    ) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)
        self.readout = readout
        self.input: Literal["tokens", "values"] = input
        self.embedding = embedding
        self.engine: EngineRunAttention = run_attention
        self.head: nn.Linear = nn.Linear(layers[-1].out_features, outputs)

    @property
    def models(self) -> list[AttentionModel]:
        """The layers, from bottom to top."""
        return [layer for layer in self.layers if isinstance(layer, AttentionModel)]

    def encode(self, inputs: Tensor) -> Tensor:
        """Return the inputs as values (batch, time, in): tokens one-hot or embedded, in the parameters' dtype."""
        width = self.models[0].in_features
        return encoded(inputs, input=self.input, embedding=self.embedding, width=width, dtype=self.dtype)

    def outputs(self, x: Tensor) -> Tensor:
        """Return what the top layer gives out at every step, (batch, time, out), of encoded inputs."""
        for layer in self.models:
            x = self.engine(layer, x)
        return x

    def read(self, outputs: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Return the readout of the top layer's outputs; arguments as those of `forward`."""
        if self.readout == "last":
            if lengths is None:
                outputs = outputs[:, -1]
            else:
                outputs = outputs[torch.arange(len(outputs), device=outputs.device), lengths - 1]
        return self.head(outputs)

    def forward(self, inputs: Tensor, states: Any = None, lengths: Tensor | None = None) -> tuple[Tensor, list[Any]]:
        """Run the network.

        Args:
            inputs: Tokens (batch, time) or values (batch, time, in).
            states: Nothing: there is no state.
            lengths: Real steps of each sequence, (batch,), 1 ... time: the last of them is read. The padding after it
                reaches no output before it. By default all are real.

        Returns:
            The readout, (batch, outputs) or (batch, time, outputs), and no states.
        """
        if self.readout == "last" and lengths is not None and lengths.device.type == "cpu":
            inputs = inputs[:, : int(lengths.max())]  # elsewhere it would wait for the device
        return self.read(self.outputs(self.encode(inputs)), lengths), []
