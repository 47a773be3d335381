"""A cell or layer that was written for torch alone, as a chain of states: what probes and engines take.

A cell is called with one time step, `(x_t, h) -> h` or `-> (out, h)`; a layer with all of them, `(x, h0) -> (outputs,
h)`. Its state may be a tensor or nested tuples of tensors, each with the samples along one axis: (batch, size), or
torch's (layers, batch, size).
"""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice, product
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from stablebench.errors import UserError
from stablebench.models.base import RecurrentModel, State, real_like
from stablebench.models.own_output import Place, equal_part, may_be_part, place_of
from stablebench.models.own_start import OwnStart, first_parts, own_start
from stablebench.models.own_width import enough_rows, understood_from_zeros
from stablebench.models.user_step import UserStep, alike, tensors_of, understood

_MOST = 64
"""Choices of the axes that run over the samples that are tried."""


@dataclass(frozen=True)
class StateLayout:
    """How a state of the user's own lies in states (batch, size).

    Args:
        structure: How its tensors are nested.
        axes: The axis of each that runs over the samples.
        shapes: The shape of each without that axis.
    """

    structure: pytree.TreeSpec
    axes: tuple[int, ...]
    shapes: tuple[torch.Size, ...]

    def parts(self, state: Any) -> State:
        """Return the states, (batch, size) each."""
        leaves = zip(pytree.tree_leaves(state), self.axes, self.shapes, strict=True)
        return tuple(
            leaf if len(shape) == 1 and not axis else leaf.movedim(axis, 0).flatten(1) for leaf, axis, shape in leaves
        )

    def state(self, parts: State) -> Any:
        """Return the state of the user's own."""
        leaves = zip(parts, self.axes, self.shapes, strict=True)
        own = [
            part if len(shape) == 1 and not axis else part.unflatten(1, shape).movedim(0, axis)
            for part, axis, shape in leaves
        ]
        return pytree.tree_unflatten(own, self.structure)

    @property
    def sizes(self) -> tuple[int, ...]:
        """The widths of the states."""
        return tuple(shape.numel() for shape in self.shapes)

    def __deepcopy__(self, memo: dict[int, Any]) -> "StateLayout":
        """Return itself: nothing in it changes, and torch warns when a structure is copied."""
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        """Return how it is pickled: by numbers nested as the state is, for the same reason; equal ones to equal bytes.

        Pickled tensors would have their address in memory in them.
        """
        return _layout_like, (pytree.tree_unflatten(range(len(self.shapes)), self.structure), self.axes, self.shapes)


def _layout_like(nested: Any, axes: tuple[int, ...], shapes: tuple[torch.Size, ...]) -> StateLayout:
    return StateLayout(pytree.tree_structure(nested), axes, shapes)


class OwnCell(RecurrentModel):
    """A cell or a layer of the user's own.

    Args:
        one: Runs one step.
        in_features: Width of x_t.
        layout: How its state lies in states (batch, size).
        read: Which state is the output, or has it as a part, and which part.
        carried: Width of an output that is no state and is carried along as one; None where `read` says what it is.
        start: What it begins from, of the module's own; None for zeros.
        is_state: Whether the output is that very tensor, or a view of it.
    """

    def __init__(
        self,
        one: UserStep,
        in_features: int,
        layout: StateLayout,
        read: Place,
        carried: int | None = None,
        start: OwnStart | None = None,
        *,
        is_state: bool = False,
    ) -> None:
        super().__init__(in_features, layout.sizes[0])
        self.one, self._start = one, start
        self._layout, self._carried, self._is_state = layout, carried, is_state
        self.output_state, self._part = read

    @property
    def state_sizes(self) -> tuple[int, ...]:
        """The widths of the states; an output that is none of them comes last."""
        return self._layout.sizes if self._carried is None else (*self._layout.sizes, self._carried)

    @property
    def own_states(self) -> int:
        """How many of the states are the module's own: all but an output that is carried along."""
        return len(self._layout.sizes)

    @property
    def begins_from_its_own(self) -> bool:
        """Whether the module has the state before the first step, and does not begin from zeros."""
        return self._start is not None

    @property
    def written_in(self) -> Callable[..., Any]:
        """The code of the user's own, whose lines messages name."""
        called = self.one.called
        return called.forward if isinstance(called, nn.Module) else called

    @property
    def out_features(self) -> int:
        """The width of the output."""
        return len(range(*self._part.indices(self.state_sizes[self.output_state])))

    def initial_state(self, batch: int) -> State:
        """Return the state before the first step: zeros, or what the module has for it."""
        if self._start is None:
            return super().initial_state(batch)
        parts = first_parts(self.one, self._start, self._layout, batch, real_like(self))
        return parts if self._carried is None else (*parts, parts[0].new_zeros(batch, self._carried))

    def step(self, projected: Tensor, state: State, recurrent_weights: None) -> State:
        """Return the next states."""
        out, after = self.one(projected, self._layout.state(state[: len(self._layout.sizes)]))
        if self._is_state and not may_be_part(out, pytree.tree_leaves(after)[self.output_state]):
            raise UserError("The output of this cell was its state at first, and is another tensor now.")
        parts = self._layout.parts(after)
        return parts if self._carried is None else (*parts, out)

    def layer_output(self, output: Tensor, x: Tensor) -> Tensor:
        """Return the part of the state that is the output."""
        return output if self._part == slice(None) else output[..., self._part]

    def find_start(self, x: Tensor) -> None:
        """Look for the state that the module has before the first step: one that was given h0 has not been asked.

        Args:
            x: Inputs (batch, time, in).

        Raises:
            UserError: It begins from a state of its own that cannot be told.
        """
        with outside_inference(self.one), torch.no_grad():
            self._start = own_start(self.one, x.clone(), self._layout)

    def begin(self, state: Any, batch: int) -> State:
        """Return a state of the user's own as the states before the first step."""
        parts = self._layout.parts(state)
        return parts if self._carried is None else (*parts, parts[0].new_zeros(batch, self._carried))

    def own_state(self, state: State) -> Any:
        """Return states as the user's own."""
        return self._layout.state(state[: len(self._layout.sizes)])


def outside_inference(called: Any) -> Any:
    """Return a context without torch's inference mode, unless a module was made in it: what it prevents is for a while.

    Args:
        called: A module, a method of one or a function.
    """
    owner = getattr(called, "__self__", called)
    tensors = [*owner.parameters(), *owner.buffers()] if isinstance(owner, nn.Module) else []
    return torch.inference_mode(any(tensor.is_inference() for tensor in tensors))


def own_cell(
    called: Callable[..., Any], x: Tensor, h0: Any, *, to_run: bool = False, width: int | None = None
) -> OwnCell:
    """Return a user's module or function as a chain.

    Args:
        called: A cell, a layer, a method of a module or a function.
        x: Inputs (batch, time, in), time >= 2, in its dtype; the first steps are run to see what it returns.
        h0: The state before the first step; None for zeros.
        to_run: Whether the chain is to be run in place of a loop: then it must be a cell, and an output that is no
            state is carried along as one. Else the first state is read in its place.
        width: Where there is no h0: of the state, which then may be a tensor of zeros (batch, width), or two of them.

    Raises:
        UserError: It is neither a cell nor a layer, or its state is not one that a chain can have.
    """
    with outside_inference(called), torch.no_grad():
        x = x.clone()
        if h0 is None:
            x = enough_rows(x)
            one, example = understood_from_zeros(called, x, to_run, width)
        else:
            h0 = pytree.tree_map(lambda t: t.clone() if isinstance(t, Tensor) else t, h0)
            one, example = understood(called, x, [h0], to_run)
        layout = _layout(one, x, h0, example)
        rows = enough_rows(x)
        out, _ = one(rows[:, 0], layout.state(tuple(rows.new_zeros(len(rows), size) for size in layout.sizes)))
        start = own_start(one, x, layout) if h0 is None else None
        if out.dim() != 2:
            raise UserError(f"The output of one step must be (batch, width), got shape {tuple(out.shape)}.")
        read = place_of(one, rows, layout)
        is_state = read is not None
        if read is None and not to_run:
            read = equal_part(one, rows, layout) or (0, slice(None))
    if read is not None:
        return OwnCell(one, x.shape[2], layout, read, start=start, is_state=is_state)
    return OwnCell(one, x.shape[2], layout, (len(layout.sizes), slice(None)), out.shape[1], start)


def _layout(one: UserStep, x: Tensor, h0: Any, example: Any) -> StateLayout:
    """Return how the state lies: its axis of the samples is the one that grows with them."""
    leaves, choices = tensors_of(example), []
    others: list[Tensor] | None = None
    if h0 is None:
        with suppress(Exception):  # a module that takes no None has the layout of the zeros it begins from
            more = torch.cat([x[:, 0], x[:1, 0]])
            others = tensors_of(one(more, None)[1])
    for number, leaf in enumerate(leaves):
        fitting = [axis for axis, size in enumerate(leaf.shape) if size == len(x)]
        if others is not None:
            fitting = [axis for axis in fitting if others[number].shape[axis] != len(x)]
        if not fitting:
            raise UserError(
                f"h0 and the states must have a row for each of the {len(x)} samples, got {tuple(leaf.shape)}."
            )
        layers_first = one.how != "cell" and leaf.dim() == 3 and 1 in fitting
        choices.append(sorted(fitting, key=lambda axis: axis != 1) if layers_first else fitting)
    combinations = list(islice(product(*choices), _MOST))
    axes = next((axes for axes in combinations[1:] and combinations if _grows(one, x, example, axes)), combinations[0])
    shapes = tuple(
        torch.Size([*leaf.shape[:axis], *leaf.shape[axis + 1 :]]) for leaf, axis in zip(leaves, axes, strict=True)
    )
    return StateLayout(pytree.tree_structure(example), axes, shapes)


def _grows(one: UserStep, x: Tensor, example: Any, axes: tuple[int, ...]) -> bool:
    """Whether a state with one sample more along these axes is taken, and given back."""
    leaves, structure = pytree.tree_flatten(example)
    longer = [torch.cat([leaf, leaf.narrow(axis, 0, 1)], axis) for leaf, axis in zip(leaves, axes, strict=True)]
    state = pytree.tree_unflatten(longer, structure)
    with suppress(Exception):  # whatever code of the user's raises that is given another shape
        out, after = one(torch.cat([x[:, 0], x[:1, 0]]), state)
        return alike(after, state) and len(out) == len(x) + 1
    return False
