"""Recurrences that are linear in the state, unit by unit: h_t = a_t * h_{t-1} + b_t.

Because such steps compose to a step of the same kind, all states can be had from an associative scan
(`stablebench.engines.scan`) as well as from the loop over `step`.
"""

import abc
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from stablebench.models.base import RecurrentModel, State


class LinearRecurrence(RecurrentModel):
    """h_t = a_t * h_{t-1} + b_t elementwise, with a_t and b_t that depend only on the input.

    Subclasses write `terms` in place of `step`; what follows the recurrence goes into `layer_output`. There is one
    state. A complex one is a real tensor, (batch, 2 n): n real parts, then n imaginary ones; so are its a and b.
    """

    complex_state: bool = False
    """Whether the state is complex."""

    @abc.abstractmethod
    def terms(
        self, projected: Any, recurrent_weights: Any
    ) -> tuple[Float[Tensor, "*steps size"], Float[Tensor, "*all_steps size"]]:
        """Return a and b, elementwise in all leading dimensions of `projected`.

        Args:
            projected: `input_projection(x)`: (batch, any) for one time step, (batch, time, any) for all.
            recurrent_weights: What `recurrent_weights()` returned.

        Returns:
            a, (..., size), or (size,) where it is the same at all steps; and b, (..., size).
        """

    def step(self, projected: Any, state: State, recurrent_weights: Any) -> State:
        """Return a_t h_{t-1} + b_t."""
        (h,) = state
        a, b = self.terms(projected, recurrent_weights)
        if not self.complex_state:
            return (a * h + b,)
        a_re, a_im = a.chunk(2, dim=-1)
        h_re, h_im = h.chunk(2, dim=-1)
        return (torch.cat([a_re * h_re - a_im * h_im, a_re * h_im + a_im * h_re], dim=-1) + b,)


def moduli(halves: Tensor) -> Tensor:
    """Return the moduli, (..., n), of complex numbers (..., 2 n): the n real parts, then the n imaginary ones."""
    return torch.hypot(*halves.chunk(2, dim=-1))
