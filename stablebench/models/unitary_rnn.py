r"""What the complex models share: a unitary matrix between complex modReLU units; each model parametrises the matrix.

    h_t = modReLU(W h_{t-1} + V x_t, b)

The state is one real tensor of width 2 hidden: real parts, then imaginary parts. See `stablebench.models.unitary`.
"""

import abc
import math

import torch
from torch import Tensor, nn

from stablebench.models.base import RecurrentModel, State
from stablebench.models.claims import Claim
from stablebench.models.unitary import as_real, complex_modrelu, glorot_bound, unitary_claims


class UnitaryRNN(RecurrentModel):
    """A recurrent model with a unitary matrix.

    Args:
        in_features: Width of x_t.
        hidden: Complex units of h_t; the output is twice as wide.
    """

    V: nn.Parameter
    b: nn.Parameter

    def add_input_map(self) -> None:
        """Draw V (2 hidden, in) with Glorot's bound and set b (hidden) to 0."""
        bound = glorot_bound(self.in_features, self.hidden)
        self.V = nn.Parameter(torch.empty(2 * self.hidden, self.in_features).uniform_(-bound, bound))
        self.b = nn.Parameter(torch.zeros(self.hidden))

    @abc.abstractmethod
    def unitary(self) -> Tensor:
        """Return W, (hidden, hidden), complex."""

    @property
    def state_sizes(self) -> tuple[int, ...]:
        """The width of h_t, real and imaginary parts."""
        return (2 * self.hidden,)

    def drive(self, x: Tensor) -> Tensor:
        """Return V x_t, (batch, time, 2 hidden)."""
        return nn.functional.linear(x, self.V)

    def transition(self) -> tuple[Tensor, Tensor]:
        """Return W in its real form, transposed for states in rows, and b."""
        return as_real(self.unitary()).T, self.b

    def recurrent_matrix(self) -> Tensor:
        """Return W, complex."""
        return self.unitary()

    def step(self, drive: Tensor, state: State, transition: tuple[Tensor, Tensor]) -> State:
        """Return h_t."""
        (h,) = state
        W, b = transition
        return (complex_modrelu(drive + h @ W, b),)

    def isometries(self) -> dict[str, Tensor]:
        """Return W, complex."""
        return {"W": self.unitary()}

    def claims(self) -> list[Claim]:
        """Return that W is unitary, and that the Jacobian does not explode for it."""
        return unitary_claims(lambda: as_real(self.unitary()), self.b)


def drawn_start(hidden: int) -> nn.Parameter:
    """Return h_0 (2 hidden), trained, of mean square norm 1: uniform in +-sqrt(3 / (2 hidden))."""
    bound = math.sqrt(3 / (2 * hidden))
    return nn.Parameter(torch.empty(2 * hidden).uniform_(-bound, bound))
