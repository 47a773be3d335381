r"""The complex models: a unitary matrix between complex modReLU units; each model parametrises the matrix.

    h_t = modReLU(W h_{t-1} + V x_t, b)

The state is one real tensor of width 2 hidden: real parts, then imaginary parts. See `unitary`.
"""

import abc
import math
from typing import Literal

import torch
from jaxtyping import Complex, Float
from torch import Tensor, nn

from stablebench.models.base import RecurrentModel, State
from stablebench.models.blocks.unitary import as_real, complex_modrelu, glorot_bound, unitary_claims
from stablebench.models.claims.claim import Claim

UnitaryInit = Literal["paper", "code"]
"""Where uRNN's paper and its authors' code differ: V's bound with fan-out n or 2 n, b = 0 or U(+-0.01), readout."""


Weights = tuple[Float[Tensor, "{2*self.hidden} {2*self.hidden}"], Float[Tensor, " {self.hidden}"]]


class UnitaryRNN(RecurrentModel):
    """A recurrent model with a unitary matrix.

    Args:
        in_features: Width of x_t.
        hidden: Complex units of h_t; the output is twice as wide.
    """

    V: nn.Parameter
    b: nn.Parameter

    def add_input_map(self, init: UnitaryInit = "paper") -> None:
        """Draw V (2 hidden, in) with Glorot's bound, and b (hidden).

        Args:
            init: `paper` counts complex units as V's outputs, and b is 0; `code` counts real and imaginary parts, so
                that V is up to sqrt(2) times smaller, and b is within 0.01.
        """
        bound = glorot_bound(self.in_features, self.hidden if init == "paper" else 2 * self.hidden)
        self.V = nn.Parameter(torch.empty(2 * self.hidden, self.in_features).uniform_(-bound, bound))
        b = torch.zeros(self.hidden)
        self.b = nn.Parameter(b if init == "paper" else b.uniform_(-0.01, 0.01))

    @abc.abstractmethod
    def unitary(self) -> Complex[Tensor, "hidden hidden"]:
        """Return W, (hidden, hidden), complex."""

    @property
    def state_sizes(self) -> tuple[int, ...]:
        """The width of h_t, real and imaginary parts."""
        return (2 * self.hidden,)

    def input_projection(self, x: Float[Tensor, "batch time in"]) -> Float[Tensor, "batch time {2*self.hidden}"]:
        """Return V x_t, (batch, time, 2 hidden)."""
        return nn.functional.linear(x, self.V)

    def recurrent_weights(self) -> Weights:
        """Return W in its real form, transposed for states in rows, and b."""
        return as_real(self.unitary()).T, self.b

    def recurrent_matrix(self) -> Complex[Tensor, "hidden hidden"]:
        """Return W, complex."""
        return self.unitary()

    def step(
        self, projected: Float[Tensor, "batch {2*self.hidden}"], state: State, recurrent_weights: Weights
    ) -> State:
        """Return h_t."""
        (h,) = state
        W, b = recurrent_weights
        return (complex_modrelu(projected + h @ W, b),)

    def orthogonal_matrices(self) -> dict[str, Tensor]:
        """Return W, complex."""
        return {"W": self.unitary()}

    def claims(self) -> list[Claim]:
        """Return that W is unitary, and that the Jacobian does not explode for it."""
        return unitary_claims(lambda: as_real(self.unitary()), self.b)


class StartedUnitaryRNN(UnitaryRNN):
    """A unitary recurrent model with a trained h_0, where paper and code may differ.

    Args:
        in_features: Width of x_t.
        hidden: Complex units of h_t.
        init: Whose initial values.
    """

    h_0: nn.Parameter
    added_arguments = (("init", "paper"),)

    def __init__(self, in_features: int, hidden: int, init: UnitaryInit) -> None:
        super().__init__(in_features, hidden)
        self.init: UnitaryInit = init

    def add_initial_state(self) -> None:
        """Draw h_0 (2 hidden) of mean square norm 1: uniform in +-sqrt(3 / (2 hidden))."""
        bound = math.sqrt(3 / (2 * self.hidden))
        self.h_0 = nn.Parameter(torch.empty(2 * self.hidden).uniform_(-bound, bound))

    def initial_state(self, batch: int) -> State:
        """Return h_0 for each sequence."""
        return (self.h_0.expand(batch, -1),)

    def initialise_readout(self, readout: nn.Linear) -> None:
        """Draw it Glorot uniform with bias 0, where `init` is code."""
        if self.init == "code":
            nn.init.xavier_uniform_(readout.weight)
            nn.init.zeros_(readout.bias)
