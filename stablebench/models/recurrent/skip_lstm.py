r"""Skip LSTM: an LSTM that learns at which steps to update its state; at all others it copies it.

Equation, s = (h, c) and S the LSTM:

    u_t = round(p_t)                                            0 or 1
    s_t = u_t S(s_{t-1}, x_t) + (1 - u_t) s_{t-1}
    d_t = sigmoid(w_p c_t + b_p)
    p_{t+1} = u_t d_t + (1 - u_t) (p_t + min(d_t, 1 - p_t))

    S:  i, f, g, o = W h_{t-1} + V x_t + b          (four blocks)
        c~_t = sigmoid(f) * c_{t-1} + sigmoid(i) * tanh(g),   h~_t = sigmoid(o) * tanh(c~_t)

    round has the derivative 1 (straight-through estimator). `straight_through` code has d and p in the form of
    the authors' code, with the same values and other gradients: d~_t = sigmoid(w_p c~_t + b_p), q_t = (1 - u_t) p_t,

    d_t = u_t d~_t + (1 - u_t) d_{t-1},   p_{t+1} = q_t + min(d_t, 1 - q_t),   d_0 = 1

    With `cell` gru, S is that of `skip_gru` and d_t is of h_t.

Shapes: x_t (batch, in); h_t, c_t (batch, hidden); p_t (batch, 1); W (4 hidden, hidden); V (4 hidden, in); b (4 hidden);
    w_p (1, hidden); b_p (1). The states are (h, c, p), or (h, c, d, p), the output is h. With `cost` > 0 the number of
    updates so far stands behind h in its state, hidden + 1 wide in all; the output does not have it.
Parameters: `4 * hidden * (hidden + inputs + 1) + hidden + 1`.
Cost per step: `4 * hidden * (hidden + inputs) + 2 * hidden` multiply-adds, one hidden of them to spread u_t over the
    units; a step that copies costs as much here.
Init: as the authors' code: [W, V] Glorot uniform, w_p too, b = 0 but 1 for the forget gates, b_p = `update_bias`; h_0 =
    c_0 = 0 and p_1 = 1, so that the first step updates.
Stability claim: a step that copies has the Jacobian ds_t/ds_{t-1} = I, so gradients cross skipped steps unchanged;
    after an update that leaves d, the next one comes min {n: n d >= 1/2} steps later, up to rounding and ties (section
    3). Asserted in tests/models/test_skip_lstm.py.
Reference: Campos, Jou, Giro-i-Nieto, Torres, Chang. Skip RNN: Learning to Skip State Updates in Recurrent Neural
    Networks. ICLR 2018. https://arxiv.org/abs/1708.06834
Differs from the paper:
    - Each stacked layer decides for itself; there the top layer decides for all.
    - h_0 and c_0 are zero, not learned as in the code.
    - The budget loss, `cost` times the number of updates of a sequence, is averaged over the batch and added as this
      layer's `penalty`: `layer_output`, the last to see a pass in training, stores the number of updates until
      `penalty` reads it.
    - Halves are rounded to the even number, so p = 1/2 skips.
    - The gradient is that of the paper's equations, through d_t's dependence on u_t by the state. The published results
      come from the code's form (`straight_through` code), whose gradients differ by up to some per cent of their norm,
      w_p's by up to a quarter.
"""

from dataclasses import replace
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from stablebench.models.base import State
from stablebench.models.blocks.affine_input import AffineInput
from stablebench.models.blocks.unitary import glorot_bound
from stablebench.models.claims.claim import Claim, Evidence, Outcome, at_most
from stablebench.models.registry import register_model
from stablebench.schema.strict import NonNegative


@register_model
class SkipRNN(AffineInput):
    """See the module docstring for the equation.

    Args:
        in_features: Number of input features, the width of x_t, >= 1.
        hidden: Number of units, the width of h_t and c_t, >= 1.
        cell: Recurrent cell that updates the state: `lstm` or `gru`.
        update_bias: Initial bias b_p of the update probability; larger values make updates more frequent at first.
        cost: Penalty lambda for each update of a sequence, >= 0, added to the loss.
        straight_through: Form of the equations of u, d and p that is differentiated: the `paper`'s or the `code`'s. The
            values are equal.
    """

    added_arguments = (("straight_through", "paper"),)

    non_differentiable_reason = (
        "whether a step updates is rounded to 0 or 1, and the derivative of rounding is replaced by 1"
    )

    def __init__(
        self,
        in_features: int,
        hidden: int,
        *,
        cell: Literal["lstm", "gru"] = "lstm",
        update_bias: float = 1.0,
        cost: NonNegative = 0.0,
        straight_through: Literal["paper", "code"] = "paper",
    ) -> None:
        super().__init__(in_features, hidden)
        self.keeps_d = straight_through == "code"
        self.cell = cell
        self.cost = cost
        maps = {"lstm": [4], "gru": [2, 1]}[cell]  # affine maps of [x, h], by their blocks
        bounds = torch.cat([torch.full((n * hidden, 1), glorot_bound(in_features + hidden, n * hidden)) for n in maps])
        self.W = nn.Parameter(torch.empty(len(bounds), hidden).uniform_(-1, 1) * bounds)
        self.V = nn.Parameter(torch.empty(len(bounds), in_features).uniform_(-1, 1) * bounds)
        self.b = nn.Parameter(torch.zeros(len(bounds)))
        with torch.no_grad():
            self.b[hidden if cell == "lstm" else 0 : 2 * hidden] = 1.0  # forget gates, or reset and update gates
        self.w_p = nn.Parameter(torch.empty(1, hidden).uniform_(-1, 1) * glorot_bound(hidden, 1))
        self.b_p = nn.Parameter(torch.full((1,), update_bias))
        self._updates: Tensor | None = None

    @property
    def state_sizes(self) -> tuple[int, ...]:
        """The widths of h (and the number of updates, where it has a cost), of c and d where they are, and of p."""
        cell = (self.hidden,) if self.cell == "lstm" else ()
        return (self.hidden + (self.cost > 0), *cell, *((1,) if self.keeps_d else ()), 1)

    @property
    def out_features(self) -> int:
        """The width of h."""
        return self.hidden

    def initial_state(self, batch: int) -> State:
        """Return zeros, and ones for d and p."""
        states = super().initial_state(batch)
        probabilities = 2 if self.keeps_d else 1
        return (*states[:-probabilities], *(torch.ones_like(p) for p in states[-probabilities:]))

    def recurrent_weights(self) -> tuple[Tensor, ...]:
        """Return w_p, transposed, b_p, a row of ones, and W (for a GRU the blocks r, z and the block n), transposed."""
        blocks = [self.W] if self.cell == "lstm" else [self.W[: 2 * self.hidden], self.W[2 * self.hidden :]]
        return self.w_p.T, self.b_p, self.b_p.new_ones(1, self.hidden), *(block.T for block in blocks)

    def step(
        self, projected: Float[Tensor, "batch gates"], state: State, recurrent_weights: tuple[Tensor, ...]
    ) -> State:
        """Return the states after the step."""
        first, p = state[0], state[-1]
        w_p, b_p, ones, *W = recurrent_weights
        before = (first[:, : self.hidden], *state[1 : -2 if self.keeps_d else -1])
        update = p + (torch.round(p) - p).detach()
        spread = update @ ones
        candidate = (
            self._lstm(projected, before, W[0]) if self.cell == "lstm" else self._gru(projected, before, W[0], W[1])
        )
        after = [spread * new + (1 - spread) * old for new, old in zip(candidate, before, strict=True)]
        if self.keeps_d:
            d = update * torch.sigmoid(candidate[-1] @ w_p + b_p) + (1 - update) * state[-2]
            q = (1 - update) * p
            probabilities = d, q + torch.minimum(d, 1 - q)
        else:
            d = torch.sigmoid(after[-1] @ w_p + b_p)
            probabilities = (update * d + (1 - update) * (p + torch.minimum(d, 1 - p)),)
        if self.cost:
            after[0] = torch.cat([after[0], first[:, self.hidden :] + update], dim=-1)
        return (*after, *probabilities)

    @staticmethod
    def _lstm(projected: Tensor, before: State, W: Tensor) -> State:
        h, c = before
        i, f, g, o = (projected + h @ W).chunk(4, dim=-1)
        c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
        return torch.sigmoid(o) * torch.tanh(c), c

    @staticmethod
    def _gru(projected: Tensor, before: State, gates: Tensor, W_n: Tensor) -> State:
        (h,) = before
        drive_r, drive_z, drive_n = projected.chunk(3, dim=-1)
        hidden_r, hidden_z = (h @ gates).chunk(2, dim=-1)
        r, z = torch.sigmoid(drive_r + hidden_r), torch.sigmoid(drive_z + hidden_z)
        return (z * h + (1 - z) * torch.tanh(drive_n + (r * h) @ W_n),)

    def layer_output(
        self, output: Float[Tensor, "*steps state"], x: Float[Tensor, "*steps in"]
    ) -> Float[Tensor, "*steps out"]:
        """Return h."""
        if not self.cost:
            return output
        if self.training and torch.is_grad_enabled():
            self._updates = (output[:, -1] if output.dim() == 3 else output)[:, -1]
        return output[..., : self.hidden]

    def penalty(self) -> Tensor | None:
        """Return the cost of the last pass's updates, once; None where there is none."""
        updates, self._updates = self._updates, None
        return None if updates is None else self.cost * updates.mean()

    def claims(self) -> list[Claim]:
        """Return that skipped steps copy the state."""

        def check(e: Evidence) -> Outcome:
            sizes = self.state_sizes
            copied = sum(sizes[: -2 if self.keeps_d else -1])
            skipped = e.states[:-1, :, sum(sizes) - 1].round() == 0
            changes = (e.states[1:, :, :copied] - e.states[:-1, :, :copied]).abs()[skipped]
            remark = f"{int(skipped.sum())} of {skipped.numel()}"
            outcome = at_most(changes.max().item() if changes.numel() else 0.0, 0.0)
            return replace(outcome, applies=bool(skipped.any()), remark=remark)

        return [Claim("a skipped step leaves the state as it is: largest change (section 3)", "skipped steps", check)]
