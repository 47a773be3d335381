r"""Dilated RNN: recurrent connections that reach back exponentially farther from layer to layer.

Equation, f the step of a recurrent cell and d the dilation of the layer:

    h_t = f(x_t, h_{t-d}),    d = start * base^layer

    With `cell` rnn f is h_t = tanh(W h_{t-d} + V x_t + b), with lstm and gru those of the models `lstm` and `gru`.

Shapes: x_t (batch, in), h_t (batch, hidden); the parameters are the cell's. The states are, for each state of the
    cell, the newest one (batch, hidden) and, where d > 1, the d - 1 before it side by side (batch, (d - 1) hidden), the
    oldest first. The output is the newest h.
Parameters: `hidden * (hidden + inputs + 1)`.
Cost per step: `hidden * (hidden + inputs)` multiply-adds; with `cell` lstm 4 and with gru 3 times as much. The fused
    engine folds time into the batch: T / d steps of d times as many sequences.
Init: the cell's. All d states before the first step are zero.
Stability claim: within a layer a gradient passes T / d steps instead of T, and h_T depends on x_t only where d divides
    T - t; with dilations 1, base, base^2 ... every input reaches the last output of the stack (section 3). Asserted in
    tests/models/test_dilated_rnn.py.
Reference: Chang, Zhang, Han, Yu, Guo, Tan, Cui, Witbrock, Hasegawa-Johnson, Huang. Dilated Recurrent Neural Networks.
    NeurIPS 2017. https://arxiv.org/abs/1710.02224
Differs from the paper:
    - `start` > 1 comes without the convolution over `start` outputs that the paper adds behind the stack to make every
      input reach the last output.
    - The cells are initialised as ours are, not N(0, 1) as in the code.
"""

from typing import Any, Literal

import torch
from torch import Tensor

from stablebench.models.base import DilatedCell, RecurrentModel, State
from stablebench.models.claims.claim import Claim, Evidence, Outcome
from stablebench.models.recurrent.gru import GRU
from stablebench.models.recurrent.lstm import LSTM
from stablebench.models.recurrent.rnn import Rnn
from stablebench.models.registry import register_model
from stablebench.schema.strict import Count, NonNegativeInt


@register_model
class DilatedRNN(RecurrentModel):
    """See the module docstring for the equation.

    Args:
        in_features: Number of input features, the width of x_t, >= 1.
        hidden: Number of units, the width of the state h_t, >= 1.
        layer: Position of this layer in the stack, >= 0; 0 is the first.
        cell: Recurrent cell f of each layer: `rnn` (tanh), `lstm` or `gru`.
        base: Factor by which the dilation grows from layer to layer, >= 1.
        start: Dilation of the first layer in time steps, >= 1.
    """

    def __init__(
        self,
        in_features: int,
        hidden: int,
        *,
        layer: NonNegativeInt = 0,
        cell: Literal["rnn", "lstm", "gru"] = "rnn",
        base: Count = 2,
        start: Count = 1,
    ) -> None:
        super().__init__(in_features, hidden)
        self.dilation = start * base**layer
        self.cell: RecurrentModel = {"rnn": Rnn, "lstm": LSTM, "gru": GRU}[cell](in_features, hidden)

    @property
    def state_sizes(self) -> tuple[int, ...]:
        """The widths of the cell's states, each followed by that of its queue."""
        if self.dilation == 1:
            return self.cell.state_sizes
        return tuple(width for size in self.cell.state_sizes for width in (size, (self.dilation - 1) * size))

    def dilated_cell(self) -> DilatedCell:
        """Return the cell and the dilation."""
        return DilatedCell(self.cell, self.dilation)

    def input_projection(self, x: Tensor) -> Tensor | tuple[Tensor, ...]:
        """Return the cell's drive."""
        return self.cell.input_projection(x)

    def recurrent_weights(self) -> Any:
        """Return the cell's transition."""
        return self.cell.recurrent_weights()

    def step(self, projected: Any, state: State, recurrent_weights: Any) -> State:
        """Return the states after the step, the queues moved on by one."""
        if self.dilation == 1:
            return self.cell.step(projected, state, recurrent_weights)
        after = self.cell.step(projected, tuple(self._oldest(queue) for queue in state[1::2]), recurrent_weights)
        moved = [self._moved_on(queue, newest) for newest, queue in zip(state[::2], state[1::2], strict=True)]
        return tuple(part for pair in zip(after, moved, strict=True) for part in pair)

    def _oldest(self, queue: Tensor) -> Tensor:
        return queue[:, : queue.shape[1] // (self.dilation - 1)]

    def _moved_on(self, queue: Tensor, newest: Tensor) -> Tensor:
        rest = queue[:, newest.shape[1] :]
        return torch.cat([rest, newest], dim=1) if rest.shape[1] else newest

    def claims(self) -> list[Claim]:
        """Return which inputs reach the last output of the layer."""

        def check(e: Evidence) -> Outcome:
            norms = e.last_loss_log_input_norms
            end = norms.shape[1]
            last = end - 1 - norms.isfinite().flip(1).int().argmax(1)
            lags = last[:, None] - torch.arange(end)
            reached = int((norms.isfinite() & (lags % self.dilation != 0)).sum())
            return Outcome(reached, 0.0, reached == 0).under_hypothesis(self.dilation > 1)

        return [
            Claim(
                f"dh_T/dx_t = 0 where {self.dilation} does not divide T - t: how many others reach h_T (section 3)",
                "a dilation > 1",
                check,
            )
        ]
