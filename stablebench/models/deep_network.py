"""The whole network of a deep model: static inputs, the chain of layers, a readout."""

from typing import Any, Protocol

from torch import Tensor, nn

from stablebench.models import deep_model
from stablebench.models.base import DeepModel, LayerGroup, State
from stablebench.models.network import AnyNetwork


class EngineRunLayers(Protocol):
    """An engine's `run_layers`; see `stablebench.models.base.run_layers`."""

    def __call__(self, model: DeepModel, group: LayerGroup, state: State, /) -> tuple[Tensor, State]:
        """Run a group of layers."""
        ...


class DeepNetwork(AnyNetwork):
    """A deep model and its readout.

    Args:
        model: The chain of layers.
        outputs: Classes, or width of the target values.
        engine: Runs a group of layers.
    """

    def __init__(self, model: DeepModel, outputs: int, *, engine: EngineRunLayers = deep_model.run_layers) -> None:
        super().__init__()
        self.model = model
        self.readout = "last"
        self.engine: EngineRunLayers = engine
        self.head: nn.Module = model.readout(outputs)

    @property
    def models(self) -> list[DeepModel]:
        """The one model."""
        return [self.model]

    def forward(self, inputs: Tensor, states: Any = None, lengths: Tensor | None = None) -> tuple[Tensor, State]:
        """Run the network.

        Args:
            inputs: Values (batch, in).
            states: Nothing: a chain over layers begins with the input.
            lengths: Nothing.

        Returns:
            The readout, (batch, outputs), and the states behind the last layer.
        """
        state = self.model.embed_input(inputs.to(self.dtype))
        for group in self.model.layer_groups():
            _, state = self.engine(self.model, group, state)
        return self.head(state[self.model.output_state]), state
