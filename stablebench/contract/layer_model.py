"""A layer of the user's own that runs all time steps itself, `(x, h0) -> (outputs, h)`: checked, run by no engine."""

from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from stablebench.errors import ContractError, first_line
from stablebench.models.base import real_like
from stablebench.models.restore import restored

_Begun = Literal["from None", "from inputs only", "from zeros"]
_BATCH, _STEPS = 5, (3, 4)
"""Examples, and the two lengths, of the inputs that a module is tried on."""


class LayerModel(nn.Module):
    """A layer that is called with all time steps.

    Args:
        layer: The user's module.
        hidden: Width that it was made with.
        in_features: Width of x_t.

    Raises:
        ContractError: It is none: its outputs are not (batch, time, width), for two lengths.
    """

    def __init__(self, layer: nn.Module, in_features: int, hidden: int) -> None:
        super().__init__()
        self.layer = layer
        self.in_features, self.hidden = in_features, hidden
        self._time_first = getattr(layer, "batch_first", None) is False
        self._begun = self._how_begun()

    @property
    def batch_dependent(self) -> bool:
        """Whether an example's outputs are meant to depend on the others of its batch."""
        return bool(getattr(self.layer, "batch_dependent", False))

    def forward(self, x: Tensor, state: Any = None) -> tuple[Tensor, Any]:
        """Return the outputs (batch, time, out) and the layer's state, None where it returns none.

        Args:
            x: Inputs (batch, time, in).
            state: What it returned before; None to begin.
        """
        x = x.transpose(0, 1) if self._time_first else x
        result = self.layer(x, *(self._first(x) if state is None else (state,)))
        pair: Any = result if isinstance(result, tuple | list) and len(result) == 2 else (result, None)
        outputs, after = pair
        return (outputs.transpose(0, 1) if self._time_first else outputs), after

    def state(self) -> list[Tensor]:
        """Return the tensors of the state after one step of one example; none where it returns none."""
        _, after = self(real_like(self).new_zeros(1, 1, self.in_features))
        return [leaf for leaf in pytree.tree_leaves(after) if isinstance(leaf, Tensor)]

    def _first(self, x: Tensor) -> tuple[Any, ...]:
        """Return what the layer is given next to its inputs where it begins."""
        if self._begun == "from zeros":
            return (x.new_zeros(x.shape[int(self._time_first)], self.hidden),)
        return (None,) if self._begun == "from None" else ()

    @torch.no_grad()
    def _how_begun(self) -> _Begun:
        said = []
        for self._begun in get_args(_Begun):
            try:
                with restored(self):
                    for steps in _STEPS:
                        outputs, _ = self(real_like(self).new_ones(_BATCH, steps, self.in_features))
                        if not isinstance(outputs, Tensor) or outputs.shape[:2] != (_BATCH, steps) or outputs.ndim != 3:
                            raise ContractError(f"its outputs are {getattr(outputs, 'shape', type(outputs))}")
                return self._begun
            except Exception as error:  # of code that is called in a way it is not made for
                said.append(first_line(error))
        raise ContractError(f"no layer (x, h0) -> (outputs, h) for x (batch, time, in): {'; '.join(said)}")
