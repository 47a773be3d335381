r"""The Elman network with an orthogonal recurrent matrix: expRNN, dtriv, scoRNN and oRNN parametrise the matrix.

    h_t = modrelu(W h_{t-1} + V x_t, b)    or    h_t = phi(W h_{t-1} + V x_t + b)

The complex counterpart is `unitary_rnn`.
"""

import abc
from typing import ClassVar, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from stablebench.models.base import ParameterGroup, RecurrentModel, State, with_main_group
from stablebench.models.blocks.activations import Activation, activation, modrelu
from stablebench.models.blocks.readouts import ReadoutInit, initialise
from stablebench.models.blocks.unitary import glorot_bound
from stablebench.models.claims.claim import Claim, Evidence, largest_singular_value_at_most, stays_orthogonal

Weights = tuple[Float[Tensor, "hidden hidden"], Float[Tensor, " hidden"]]


class OrthogonalRNN(RecurrentModel):
    """A recurrent model with an orthogonal matrix W, real.

    Subclasses set `V` (hidden, in) and `b` (hidden) and write `orthogonal` and `orthogonal_parameters`.

    Args:
        in_features: Width of x_t.
        hidden: Width of h_t.
    """

    V: nn.Parameter
    b: nn.Parameter
    activation: Literal["modrelu"] | Activation = "modrelu"
    """modrelu has its thresholds in b; another phi is elementwise and b is added to its argument."""
    readout_init: ReadoutInit = "default"
    hypothesis: ClassVar[str] = "|phi'| <= 1, as for all activations here"
    """Condition of the bound on the Jacobian."""

    @abc.abstractmethod
    def orthogonal(self) -> Float[Tensor, "hidden hidden"]:
        """Return W, (hidden, hidden)."""

    @abc.abstractmethod
    def orthogonal_parameters(self) -> list[nn.Parameter]:
        """Return the parameters that W is made of."""

    def add_input_map(self, init: Literal["kaiming", "glorot"]) -> None:
        """Draw V and b.

        Args:
            init: `kaiming`: V N(0, 2 / in) and b U(-0.01, 0.01), as expRNN's authors; `glorot`: V Glorot uniform, b 0.
        """
        V = torch.empty(self.hidden, self.in_features)
        if init == "kaiming":
            self.V = nn.Parameter(nn.init.kaiming_normal_(V, nonlinearity="relu"))
            self.b = nn.Parameter(torch.empty(self.hidden).uniform_(-0.01, 0.01))
        else:
            bound = glorot_bound(self.in_features, self.hidden)
            self.V = nn.Parameter(V.uniform_(-bound, bound))
            self.b = nn.Parameter(torch.zeros(self.hidden))

    def initialise_readout(self, readout: nn.Linear) -> None:
        """Draw the readout as `readout_init` says."""
        initialise(readout, self.readout_init)

    def input_projection(self, x: Float[Tensor, "batch time in"]) -> Float[Tensor, "batch time hidden"]:
        """Return V x_t, with + b unless the activation is modrelu, (batch, time, hidden)."""
        return nn.functional.linear(x, self.V, None if self.activation == "modrelu" else self.b)

    def recurrent_weights(self) -> Weights:
        """Return W, transposed for states in rows, and b."""
        return self.orthogonal().T, self.b

    def recurrent_matrix(self) -> Float[Tensor, "hidden hidden"]:
        """Return W."""
        return self.orthogonal()

    def step(self, projected: Float[Tensor, "batch hidden"], state: State, recurrent_weights: Weights) -> State:
        """Return h_t."""
        (h,) = state
        W, b = recurrent_weights
        z = projected + h @ W
        return (modrelu(z, b) if self.activation == "modrelu" else self.phi(z),)

    def phi(self, z: Tensor) -> Tensor:
        """Return the activation of z, elementwise."""
        assert self.activation != "modrelu"  # which takes b as well
        return activation(self.activation, z)

    def orthogonal_matrices(self) -> dict[str, Tensor]:
        """Return W."""
        return {"W": self.orthogonal()}

    def rounding(self, e: Evidence) -> float:
        """Return by how much rounding of W may exceed the bound on the Jacobian, as a natural logarithm."""
        return 0.0

    def claims(self) -> list[Claim]:
        """Return that W is orthogonal, and that the Jacobian does not explode for it."""
        return [
            Claim("||W^T W - I|| = 0", "none", lambda e: stays_orthogonal(e, self.orthogonal()), about="weights"),
            Claim(
                "log10 of the largest singular value of dh_T/dh_1 <= 0",
                self.hypothesis,
                lambda e: largest_singular_value_at_most(e, 0.0, self.rounding(e)),
            ),
        ]

    def parameter_groups(self) -> list[ParameterGroup]:
        """Return `main` and `orthogonal`, what W is made of."""
        return with_main_group(self, ParameterGroup("orthogonal", self.orthogonal_parameters()))
