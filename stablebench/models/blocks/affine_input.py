"""The recurrent models that see their input through one affine map."""

from jaxtyping import Float
from torch import Tensor, nn

from stablebench.models.base import RecurrentModel


class AffineInput(RecurrentModel):
    """A recurrent model of V x_t + b, which is computed once for the whole sequence.

    Subclasses set V (maps * hidden, in) and b (maps * hidden), the maps of all gates in one.

    Args:
        in_features: Width of x_t.
        hidden: Width of the hidden state.
    """

    V: Tensor
    b: Tensor

    def input_projection(self, x: Float[Tensor, "batch time in"]) -> Float[Tensor, "batch time projected"]:
        """Return V x_t + b, (batch, time, maps * hidden)."""
        return nn.functional.linear(x, self.V, self.b)
