r"""BN-LSTM: an LSTM with recurrent batch normalisation, each time step with statistics of its own.

Equation:

    f, i, o, g = BN(W_h h_{t-1}; gamma_h) + BN(W_x x_t; gamma_x) + b          (four blocks)
    c_t = sigmoid(f) * c_{t-1} + sigmoid(i) * tanh(g)
    h_t = sigmoid(o) * tanh(BN(c_t; gamma_c, beta_c))

    BN(z; gamma, beta) = beta + gamma * (z - E z) / sqrt(Var z + epsilon), beta = 0 where it has none

    In training, E and Var are of the batch at this step; in evaluation those of the population at this step, and after
    `horizon` steps those of the last one.

Shapes: x_t (batch, in); h_t, c_t (batch, hidden); W_h (4 hidden, hidden); W_x (4 hidden, in); b, gamma_h, gamma_x (4
    hidden); gamma_c, beta_c (hidden). The states are (h, c, t), t (batch, 1) the number of steps before; the output is
    h.
Parameters: `hidden * (4 * hidden + 4 * inputs + 14)`.
Cost per step: `4 * hidden * (hidden + inputs)` multiply-adds, and the statistics of 9 hidden features.
Init: W_h orthogonal block by block, or the identity in each (the paper's MNIST), W_x orthogonal, b = beta_c = 0, all
    gamma 0.1 (section 4). Population: mean 0 and variance 1 until the first update.
Stability claim: none proved. In training, every normalised feature has at every step mean 0 and standard deviation
    gamma over the batch (less where epsilon counts), whatever the weights. The paper measures in a tanh network that
    gradients vanish at gamma 1 and not at 0.1; in this LSTM at initialisation they grow, only at gamma 1. Asserted in
    tests/models/test_bn_lstm.py.
Reference: Cooijmans, Ballas, Laurent, Gülçehre, Courville. Recurrent Batch Normalization. ICLR 2017.
    https://arxiv.org/abs/1603.09025
Differs from the paper:
    - Population statistics are means of the batches' up to 1 / `momentum` updates and move with `momentum` from there;
      the paper averages over the training set at the end. They lag behind the weights, and late steps feel all earlier
      ones: in short runs the usual 0.1 evaluated worse than 0.5 here.
    - A pass in training records its statistics and `after_update` adds them to the population's. So what is computed
      again for the gradient counts once, and of several passes before an update the last one counts.
    - h_0 and c_0 are zero, not learned. `noise` is added to h_0 in training, as the paper does on MNIST, whose first
      pixels are the same for all.
Engine: reference, because the statistics mix the sequences of a batch, and those of evaluation are looked up by step.
"""

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from stablebench.models.base import RecurrentModel, State
from stablebench.models.registry import register_model
from stablebench.schema.strict import Count, NonNegative, Positive, Probability

_EPSILON = 1e-5  # as the authors' code


@register_model
class BNLSTM(RecurrentModel):
    """See the module docstring for the equation.

    Args:
        in_features: Number of input features, the width of x_t, >= 1.
        hidden: Number of units, the width of h_t and c_t, >= 1.
        horizon: Number of time steps of the sequences that the model is trained on, >= 1. Each of them has its own
            statistics.
        recurrent_init: Initial value of each block of W_h: `orthogonal` a random orthogonal matrix, `identity` the unit
            matrix.
        gamma: Initial scale of all normalised features, > 0.
        momentum: Weight of a batch in the running statistics, >= 0 and <= 1, once 1 / momentum batches were seen.
        noise: Standard deviation of Gaussian noise added to h_0 in training, >= 0.
    """

    batch_dependent = True
    population: Tensor
    moments: Tensor
    updates: Tensor
    seen: Tensor

    def __init__(
        self,
        in_features: int,
        hidden: int,
        *,
        horizon: Count,
        recurrent_init: Literal["orthogonal", "identity"] = "orthogonal",
        gamma: Positive = 0.1,
        momentum: Probability = 0.5,
        noise: NonNegative = 0.0,
    ) -> None:
        super().__init__(in_features, hidden)
        self.horizon = horizon
        self.momentum = momentum
        self.noise = noise
        start = nn.init.orthogonal_ if recurrent_init == "orthogonal" else nn.init.eye_
        self.W_h = nn.Parameter(torch.cat([start(torch.empty(hidden, hidden)) for _ in range(4)]))
        self.W_x = nn.Parameter(nn.init.orthogonal_(torch.empty(4 * hidden, in_features)))
        self.b = nn.Parameter(torch.zeros(4 * hidden))
        self.gamma_h = nn.Parameter(torch.full((4 * hidden,), gamma))
        self.gamma_x = nn.Parameter(torch.full((4 * hidden,), gamma))
        self.gamma_c = nn.Parameter(torch.full((hidden,), gamma))
        self.beta_c = nn.Parameter(torch.zeros(hidden))
        neutral = torch.tensor([0.0, 1.0])[:, None, None]
        self.register_buffer("population", neutral.repeat(1, horizon, 9 * hidden))  # means and variances
        self.register_buffer("updates", torch.zeros(horizon))
        self.register_buffer("moments", torch.zeros(2, horizon, 9 * hidden), persistent=False)  # of the last pass
        self.register_buffer("seen", torch.zeros(horizon), persistent=False)

    @property
    def state_sizes(self) -> tuple[int, ...]:
        """The widths of h, c and t."""
        return (self.hidden, self.hidden, 1)

    def initial_state(self, batch: int) -> State:
        """Return zeros; in training with noise in h where it is asked for."""
        h, *rest = super().initial_state(batch)
        return (h + self.noise * torch.randn_like(h) if self.noise and self.training else h, *rest)

    def input_projection(self, x: Float[Tensor, "batch time in"]) -> Float[Tensor, "batch time {4*self.hidden}"]:
        """Return W_x x_t, (batch, time, 4 hidden)."""
        return nn.functional.linear(x, self.W_x)

    def recurrent_weights(self) -> Float[Tensor, "hidden {4*self.hidden}"]:
        """Return W_h, transposed for states in rows."""
        return self.W_h.T

    def step(
        self,
        projected: Float[Tensor, "batch {4*self.hidden}"],
        state: State,
        recurrent_weights: Float[Tensor, "hidden {4*self.hidden}"],
    ) -> State:
        """Return (h_t, c_t, t + 1)."""
        h, c, t = state
        at = t.detach()[:, 0].long().clamp(0, self.horizon - 1)
        norm = _Batch() if self.training else _Population(*self.population[:, at])
        seen = norm.normalised(h @ recurrent_weights, self.gamma_h)
        given = norm.normalised(projected, self.gamma_x)
        f, i, o, g = (seen + given + self.b).chunk(4, dim=1)
        c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
        h = torch.sigmoid(o) * torch.tanh(norm.normalised(c, self.gamma_c, self.beta_c))
        if isinstance(norm, _Batch) and torch.is_grad_enabled():
            with torch.no_grad():
                self.moments.index_copy_(1, at[:1], norm.moments()[:, None])
                self.seen.index_fill_(0, at[:1], 1)
        return h, c, (t + 1).detach() + 0 * t  # a count has no derivative, but a place in the graph

    def after_update(self) -> None:
        """Move the population's statistics towards those of the last pass."""
        with torch.no_grad():
            share = self.seen * (1 / (self.updates + 1)).clamp(min=self.momentum)
            self.population += share[:, None] * (self.moments - self.population)
            self.updates += self.seen
            self.seen.zero_()


class _Batch:
    """Normalises with the batch's own statistics, and records them in the order of the calls."""

    def __init__(self) -> None:
        self._statistics: list[tuple[Tensor, Tensor]] = []

    def normalised(self, z: Tensor, gamma: Tensor, beta: Tensor | None = None) -> Tensor:
        """Return BN(z; gamma, beta) of z (batch, features)."""
        result, mean, inverse = torch.native_batch_norm(z, gamma, beta, None, None, True, 0.0, _EPSILON)
        self._statistics.append((mean, inverse))
        return result

    def moments(self) -> Tensor:
        """Return means and variances, (2, all features)."""
        mean, inverse = (torch.cat(parts) for parts in zip(*self._statistics, strict=True))
        return torch.stack([mean, (inverse.pow(-2) - _EPSILON).clamp(min=0)])


class _Population:
    """Normalises with given statistics, feature by feature in the order of the calls.

    Args:
        mean: Each (batch, all features).
        variance: The same.
    """

    def __init__(self, mean: Tensor, variance: Tensor) -> None:
        self._mean, self._scale = mean, (variance + _EPSILON).rsqrt()
        self._used = 0

    def normalised(self, z: Tensor, gamma: Tensor, beta: Tensor | None = None) -> Tensor:
        """Return BN(z; gamma, beta) of z (batch, features)."""
        here = slice(self._used, self._used + z.shape[1])
        self._used = here.stop
        result = (z - self._mean[:, here]) * (self._scale[:, here] * gamma)
        return result if beta is None else result + beta
