"""Recurrences made of one step function, for tests of the engines."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from stablebench.models.base import RecurrentModel, State


class Stepped(RecurrentModel):
    """h_t = update(h_{t-1} W, drive_t, v), with a matrix W and a vector v.

    Args:
        update: (product, drive, state, vector) -> state, or a tuple of states.
        hidden: Width of the state and the drive.
        states: How many states there are; the product is of the first.
    """

    def __init__(self, update: Callable[..., Any], hidden: int = 5, states: int = 1) -> None:
        super().__init__(hidden, hidden)
        self.update, self.states = update, states
        generator = torch.Generator().manual_seed(0)
        self.W = nn.Parameter(torch.randn(hidden, hidden, generator=generator) / hidden**0.5)
        self.v = nn.Parameter(torch.rand(hidden, generator=generator) + 0.5)

    @property
    def state_sizes(self) -> tuple[int, ...]:
        return (self.hidden,) * self.states

    def recurrent_weights(self) -> tuple[Tensor, Tensor]:
        return self.W, self.v

    def step(self, projected: Tensor, state: State, recurrent_weights: tuple[Tensor, Tensor]) -> State:
        W, v = recurrent_weights
        new = self.update(state[0] @ W, projected, state if self.states > 1 else state[0], v)
        return new if isinstance(new, tuple) else (new,)
