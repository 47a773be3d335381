"""Attention models: the base class of models without a state, which look back at all inputs they were given."""

import abc

from jaxtyping import Float
from torch import Tensor

from stablebench.models.chain_model import ChainModel


class AttentionModel(ChainModel):
    """Maps (batch, time, in) to (batch, time, out) at once: the output of a step is a function of the inputs up to it.

    There is no chain of states, so nothing is carried from one call to the next, and no engine but torch's calls runs
    it. A constructor takes `in_features` and `hidden`, then keyword arguments of its own; one named `layer` receives
    the position in the stack, from 0.

    Args:
        in_features: Width of x_t.
        hidden: Width of the output.
    """

    @property
    def out_features(self) -> int:
        """The width of the layer's output."""
        return self.hidden

    @abc.abstractmethod
    def forward(self, x: Float[Tensor, "batch time in"]) -> Float[Tensor, "batch time out"]:
        """Return the outputs of all steps.

        Args:
            x: Inputs (batch, time, in); the output of a step does not depend on those after it.
        """


def run_attention(model: AttentionModel, x: Float[Tensor, "batch time in"]) -> Float[Tensor, "batch time out"]:
    """Run a layer as it is defined: the reference engine of attention models."""
    return model(x)
