"""The chain of a planned step as one autograd function: a loop over time, and the loop of its derivative."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Literal, Protocol

import torch
from torch import Tensor

from stablebench.engines.fused.program import MATMUL_LHS, NEW, OLD, OUTPUT, SAVED, Buffer, Kind, Program
from stablebench.process.huge_pages import empty

_CHUNK = 64
"""Steps whose states are in memory at once where no gradient is wanted and only the last output is used."""


class Backend(Protocol):
    """Runs a program's loops; see `stablebench.engines.fused.c.backend.Native`."""

    program: Program

    def forward(self, buffers: dict[Buffer, Tensor], matrices: list[Tensor], *, saving: bool) -> None:
        """Run all steps."""
        ...

    def backward(
        self, buffers: dict[Buffer, Tensor], matrices: list[Tensor], needs_grad: list[bool]
    ) -> list[Tensor | None]:
        """Run all steps in backward and return the matrices' gradients."""
        ...


@dataclass(frozen=True)
class Layout:
    """Where the states lie side by side, which of them is the output, and what else a chain takes.

    Args:
        widths: Of the states.
        output: The output's index.
        projections: How many projected inputs there are.
        matrices: How many matrices there are.
        vectors: The vectors' widths.
    """

    widths: tuple[int, ...]
    output: int
    projections: int
    matrices: int
    vectors: tuple[int, ...]

    def part(self, states: Tensor, index: int) -> Tensor:
        """Return one state of (..., all states)."""
        return states.narrow(-1, sum(self.widths[:index]), self.widths[index])


def run_chain(
    backend: Backend,
    layout: Layout,
    inputs: "ChainInputs",
    outputs: Literal["every", "last"],
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """Return the outputs, (batch, time, out) or (batch, out), and the last states.

    Args:
        backend: Runs the loops.
        layout: Of the program.
        inputs: What the chain depends on.
        outputs: `every` or `last`.
    """
    if torch.is_grad_enabled() and any(tensor.requires_grad for tensor in inputs.flat):
        results = _Chain.apply(backend, layout, outputs, inputs.steps, *inputs.flat)
        assert isinstance(results, tuple)
    elif outputs == "every":
        results = _with_every_output(layout, _forward(backend, layout, inputs, saving=False)[NEW])
    else:
        results = _last_states(backend, layout, inputs)
    if outputs == "every":
        return results[0], results[1:]
    return results[layout.output], results


@dataclass(frozen=True)
class ChainInputs:
    """Everything that a chain depends on.

    Args:
        steps: Steps of the chain.
        states: Before the first step, each (batch, size).
        projections: The projected inputs, each (batch, time, any).
        matrices: Each (inner, columns), or (time, inner, columns) where it differs from step to step.
        vectors: Each (any,) or (time, any).
    """

    steps: int
    states: tuple[Tensor, ...]
    projections: tuple[Tensor, ...]
    matrices: tuple[Tensor, ...]
    vectors: tuple[Tensor, ...]

    @property
    def flat(self) -> tuple[Tensor, ...]:
        """All of them."""
        return (*self.states, *self.projections, *self.matrices, *self.vectors)

    @classmethod
    def from_flat(cls, layout: Layout, steps: int, tensors: "tuple[Tensor, ...] | list[Tensor]") -> "ChainInputs":
        """Return them in their places."""
        projections = len(layout.widths)
        matrices = projections + layout.projections
        vectors = matrices + layout.matrices
        flat = tuple(tensors)
        return cls(steps, flat[:projections], flat[projections:matrices], flat[matrices:vectors], flat[vectors:])

    def segments(self, steps: int, by_step: frozenset[Buffer]) -> "Iterator[ChainInputs]":
        """Yield segments of time, each with the states before the first step of all.

        Args:
            steps: Of a segment.
            by_step: `Program.by_step`.
        """
        for start in range(0, self.steps, steps):
            here = slice(start, min(start + steps, self.steps))
            projections = tuple(projected[:, here] for projected in self.projections)
            matrices = tuple(m[here] if Buffer(Kind.MATRIX, k) in by_step else m for k, m in enumerate(self.matrices))
            vectors = tuple(v[here] if Buffer(Kind.VECTOR, k) in by_step else v for k, v in enumerate(self.vectors))
            yield ChainInputs(here.stop - start, self.states, projections, matrices, vectors)


def _forward(backend: Backend, layout: Layout, inputs: ChainInputs, *, saving: bool) -> dict[Buffer, Tensor]:
    """Run all steps and return the buffers, each (time, batch, features), vectors as they are."""
    widths, like = backend.program.widths, inputs.states[0]
    batch, steps = len(like), inputs.steps
    history = empty(steps + 1, batch, widths[NEW], like=like)
    for i, state in enumerate(inputs.states):
        layout.part(history[0], i).copy_(state)
    buffers = {OLD: history[:-1], NEW: history[1:]}
    for i, projected in enumerate(inputs.projections):
        buffers[Buffer(Kind.PROJECTION, i)] = _dense(projected).transpose(0, 1)
    for i, vector in enumerate(inputs.vectors):
        buffers[Buffer(Kind.VECTOR, i)] = vector.contiguous()
    if MATMUL_LHS in widths:
        buffers[MATMUL_LHS] = empty(steps if saving else 1, batch, widths[MATMUL_LHS], like=like).expand(steps, -1, -1)
    if SAVED in widths and saving:
        buffers[SAVED] = empty(steps, batch, widths[SAVED], like=like)
    backend.forward(buffers, list(inputs.matrices), saving=saving)
    return buffers


def _with_every_output(layout: Layout, new: Tensor) -> tuple[Tensor, ...]:
    """Return the outputs, (batch, time, out), and the last states, of (time, batch, all states)."""
    last = tuple(layout.part(new[-1], i).clone() for i in range(len(layout.widths)))
    return (layout.part(new, layout.output).transpose(0, 1), *last)


def _last_states(backend: Backend, layout: Layout, inputs: ChainInputs) -> tuple[Tensor, ...]:
    """Return the last states, with the memory of `_CHUNK` steps."""
    states = inputs.states
    for segment in inputs.segments(_CHUNK, backend.program.by_step):
        buffers = _forward(backend, layout, replace(segment, states=states), saving=False)
        states = _with_every_output(layout, buffers[NEW])[1:]
    return states


class _Chain(torch.autograd.Function):
    """(states, projections, matrices, vectors) -> (every output if asked for, last states)."""

    @staticmethod
    def forward(
        ctx: Any, backend: Backend, layout: Layout, outputs: Literal["every", "last"], steps: int, *flat: Tensor
    ) -> tuple[Tensor, ...]:
        inputs = ChainInputs.from_flat(layout, steps, flat)
        buffers = _forward(backend, layout, inputs, saving=True)
        saved = {name: buffer for name, buffer in buffers.items() if name in backend.program.saved_for_backward}
        ctx.save_for_backward(*inputs.matrices, *saved.values())
        ctx.set_materialize_grads(False)
        ctx.call = backend, layout, outputs, steps, list(saved)
        results = _with_every_output(layout, buffers[NEW])
        return results if outputs == "every" else results[1:]

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[Any, ...]:
        if torch.is_grad_enabled():  # create_graph=True: what is returned would pass for constant
            raise RuntimeError("The fused engine has first derivatives only; second ones need the reference engine.")
        backend, layout, outputs, steps, names = ctx.call
        saved = ctx.saved_tensors  # read once: reading may compute them again
        matrices = list(saved[: layout.matrices])
        buffers = dict(zip(names, saved[layout.matrices :], strict=True))
        buffers |= _gradient_buffers(backend.program, buffers[NEW])
        carry = buffers[NEW.gradient]
        if outputs == "every":
            d_outputs, *d_last = gradients
            if d_outputs is not None:
                buffers[OUTPUT.gradient] = _dense(d_outputs).transpose(0, 1)
        else:
            d_last = gradients
        for i, d_state in enumerate(d_last):
            if d_state is not None:
                layout.part(carry[steps % 2], i).copy_(d_state)
        needs_grad = ChainInputs.from_flat(layout, steps, ctx.needs_input_grad[4:])
        d_matrices = backend.backward(buffers, matrices, list(needs_grad.matrices))
        d_states = [layout.part(carry[0], i) if need else None for i, need in enumerate(needs_grad.states)]

        def wanted(kind: Kind, needed: tuple[Any, ...]) -> list[Tensor | None]:
            return [buffers.get(Buffer(kind, k).gradient) if need else None for k, need in enumerate(needed)]

        d_projections = [
            None if d is None else d.transpose(0, 1) for d in wanted(Kind.PROJECTION, needs_grad.projections)
        ]
        d_vectors = [
            None if d is None else (d if width > 1 else d.sum(-1, keepdim=True)).to(carry.dtype)
            for d, width in zip(wanted(Kind.VECTOR, needs_grad.vectors), layout.vectors, strict=True)
        ]
        return (None, None, None, None, *d_states, *d_projections, *d_matrices, *d_vectors)


def _gradient_buffers(program: Program, new: Tensor) -> dict[Buffer, Tensor]:
    """Return the gradient buffers that a backward pass starts from; the adjoints of the last states are zero."""
    steps, batch, _ = new.shape
    carry = new.new_zeros(2, batch, program.widths[NEW])
    buffers = {NEW.gradient: carry, OLD.gradient: carry}
    for buffer, width in program.widths.items():
        if not buffer.is_gradient:
            continue
        if buffer.kind is Kind.PROJECTION:
            buffers[buffer] = empty(batch, steps, width, like=new).transpose(0, 1)
        elif buffer.kind is Kind.VECTOR:
            shape = (steps, width) if buffer.value in program.by_step else (width,)
            buffers[buffer] = torch.zeros(shape, dtype=torch.float64, device=new.device)  # sums of many terms
        elif buffer.kind is Kind.MATMUL_LHS:
            buffers[buffer] = empty(1, batch, width, like=new).expand(steps, -1, -1)
    return buffers


def _dense(tensor: Tensor) -> Tensor:
    return tensor if tensor.stride(-1) == 1 else tensor.contiguous()
