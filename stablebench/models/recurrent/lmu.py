r"""LMU: a network with a linear memory that holds the last theta steps of one scalar as Legendre coefficients.

Equation (6 to 8 of the paper):

    u_t = e_x^T x_t + e_h^T h_{t-1} + e_m^T m_{t-1}
    m_t = A_bar m_{t-1} + B_bar u_t
    h_t = tanh(W_x x_t + W_h h_{t-1} + W_m m_t)

    A_bar = exp(A),  B_bar = A^-1 (exp(A) - I) B                               (zero-order hold, one step)
    A_ij  = (2i + 1) / theta * (-1 if i < j else (-1)^(i - j + 1)),  B_i = (2i + 1) (-1)^i / theta,  i, j = 0 ... d - 1

    so that u_{t - r theta} is about the sum over i of P_i(2r - 1) m_i, for 0 <= r <= 1.

Shapes: x_t (batch, in); h_t (batch, hidden); m_t (batch, order), order is d; e_x (in); e_h (hidden); e_m (order); W_x
    (hidden, in); W_h (hidden, hidden); W_m (hidden, order); A_bar (order, order) and B_bar (order), fixed. The states
    are (h, m), the output is h.
Parameters: `inputs + hidden + order + hidden * (inputs + hidden + order)`.
Cost per step: `inputs + hidden + order + hidden * (inputs + hidden + order) + order * order + order` multiply-adds.
Init: e_x and e_h U(-sqrt(3 / n), sqrt(3 / n)), n their entries (LeCun), e_m = 0; W_x, W_h, W_m normal (Xavier). `init`
    memory is the authors' of psMNIST: e_x = 1, e_h = e_m = 0, W_x = W_h = 0, W_m normal (Xavier).
Stability claim: all eigenvalues of A have negative real parts, so those of A_bar lie in the unit disc; with e_m = 0 and
    e_h = 0 the memory holds a sliding window of theta steps of the input. Asserted in tests/models/test_lmu.py.
Reference: Voelker, Kajić, Eliasmith. Legendre Memory Units: Continuous-Time Representation in Recurrent Neural
    Networks. NeurIPS 2019.
    https://papers.nips.cc/paper/9689-legendre-memory-units-continuous-time-representation-in-recurrent-neural-networks
Differs from the paper:
    - A_bar and B_bar are fixed, as in its experiments, and theta too.
    - Xavier normal is not cut at two standard deviations, as Keras does.
"""

import math
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from stablebench.models.base import RecurrentModel, State
from stablebench.models.claims.claim import Claim, Evidence, Outcome
from stablebench.models.registry import register_model
from stablebench.schema.strict import Count, Positive


@register_model
class LMU(RecurrentModel):
    """See the module docstring for the equation.

    Args:
        in_features: Number of input features, the width of x_t, >= 1.
        hidden: Number of units, the width of the state h_t, >= 1.
        horizon: Number of time steps of the sequences that the model is trained on, >= 1.
        order: Number d of Legendre coefficients in the memory, >= 1. A window of theta steps needs about theta / 4 or
            more to keep all detail; smooth inputs need few.
        theta: Length of the memory's window in time steps, > 0; null for the horizon.
        init: Initial encoders and kernels: `default` drawn at random, `memory` such that only the memory drives the
            network.
    """

    A_bar: Tensor
    B_bar: Tensor

    def __init__(
        self,
        in_features: int,
        hidden: int,
        *,
        horizon: Count,
        order: Count = 64,
        theta: Positive | None = None,
        init: Literal["default", "memory"] = "default",
    ) -> None:
        super().__init__(in_features, hidden)
        self.order = order
        self.theta = float(horizon) if theta is None else theta
        self.e_x = nn.Parameter(_lecun(in_features))
        self.e_h = nn.Parameter(_lecun(hidden))
        self.e_m = nn.Parameter(torch.zeros(order))
        self.W_x = nn.Parameter(nn.init.xavier_normal_(torch.empty(hidden, in_features)))
        self.W_h = nn.Parameter(nn.init.xavier_normal_(torch.empty(hidden, hidden)))
        self.W_m = nn.Parameter(nn.init.xavier_normal_(torch.empty(hidden, order)))
        if init == "memory":
            nn.init.ones_(self.e_x)
            for parameter in (self.e_h, self.W_x, self.W_h):
                nn.init.zeros_(parameter)
        A, B = delay(order, self.theta)
        A_bar, B_bar = zero_order_hold(A, B)
        self.register_buffer("A_bar", A_bar.to(self.e_x), persistent=False)
        self.register_buffer("B_bar", B_bar.to(self.e_x), persistent=False)

    @property
    def state_sizes(self) -> tuple[int, ...]:
        """The widths of h and m."""
        return (self.hidden, self.order)

    def input_projection(self, x: Float[Tensor, "batch time in"]) -> Float[Tensor, "batch time {self.hidden+1}"]:
        """Return W_x x_t and e_x^T x_t side by side, (batch, time, hidden + 1)."""
        return nn.functional.linear(x, torch.cat([self.W_x, self.e_x[None]]))

    def recurrent_weights(self) -> tuple[Tensor, ...]:
        """Return e_h, e_m, A_bar, B_bar, W_h and W_m, transposed for states in rows."""
        memory = (self.A_bar.T, self.B_bar[None])
        return self.e_h[:, None], self.e_m[:, None], *memory, self.W_h.T, self.W_m.T

    def step(
        self, projected: Float[Tensor, "batch {self.hidden+1}"], state: State, recurrent_weights: tuple[Tensor, ...]
    ) -> State:
        """Return (h_t, m_t)."""
        h, m = state
        e_h, e_m, A_bar, B_bar, W_h, W_m = recurrent_weights
        given, written = projected.split([self.hidden, 1], dim=-1)
        u = written + h @ e_h + m @ e_m
        m = m @ A_bar + u @ B_bar
        return torch.tanh(given + h @ W_h + m @ W_m), m

    def claims(self) -> list[Claim]:
        """Return that the memory on its own is stable."""

        def check(_: Evidence) -> Outcome:
            radius = torch.linalg.eigvals(self.A_bar.double()).abs().max().item()
            return Outcome(radius, 1.0, radius < 1)

        return [Claim("spectral radius of A_bar < 1", "none", check, about="weights")]


def delay(order: int, theta: float) -> tuple[Tensor, Tensor]:
    """Return A (order, order) and B (order) of the delay network, over theta, in float64."""
    i = torch.arange(order, dtype=torch.float64)
    below = (-1.0) ** (i[:, None] - i + 1)
    signs = torch.where(i[:, None] < i, -torch.ones_like(below), below)
    rate = (2 * i + 1) / theta
    return rate[:, None] * signs, rate * (-1.0) ** i


def zero_order_hold(A: Tensor, B: Tensor) -> tuple[Tensor, Tensor]:
    """Return exp(A) and the integral of exp(A s) B over one step, exact for inputs that are constant in a step."""
    import scipy.linalg  # slow to import, and only a model that is built needs it

    n = len(A)
    joint = torch.zeros(n + 1, n + 1, dtype=A.dtype)
    joint[:n, :n], joint[:n, n] = A, B
    # torch's exponential is wrong by 3e-11 for a single coefficient
    exponential = torch.from_numpy(scipy.linalg.expm(joint.numpy()))
    return exponential[:n, :n].contiguous(), exponential[:n, n].contiguous()


def _lecun(entries: int) -> Tensor:
    bound = math.sqrt(3 / entries)
    return torch.empty(entries).uniform_(-bound, bound)
