"""The fused engine's programs in torch calls: what compiled code is compared with, and no compiler is waited for."""

import operator
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor
from torch.nn import functional

from stablebench.engines.fused import engine as fused
from stablebench.engines.fused.autograd_function import Layout
from stablebench.engines.fused.program import MATMUL, NEW, OLD, OUTPUT, SAVED, Buffer, Kind, Loop, Program, Slice

BACKENDS = ["native", "torch"]
_aten = torch.ops.aten


def _maximum_backward(g: Any, x: Any, y: Any) -> Any:
    return torch.where(x == y, g / 2, g).masked_fill(x < y, 0)


NUMBERED: dict[str, Callable[..., Any]] = {
    "leaky_relu": lambda x, slope: functional.leaky_relu(x, slope),
    "leaky_relu_backward": lambda g, x, slope: _aten.leaky_relu_backward(g, x, slope, False),
}
FUNCTIONS: dict[str, Callable[..., Any]] = {
    "add": operator.add,
    "sub": operator.sub,
    "mul": operator.mul,
    "div": operator.truediv,
    "neg": operator.neg,
    "softplus": functional.softplus,
    "log_sigmoid": functional.logsigmoid,
    **{
        name: getattr(torch, name)
        for name in ("abs", "sign", "relu", "tanh", "sigmoid", "exp", "log", "sqrt", "round", "detach")
    },
    "maximum": torch.maximum,
    "minimum": torch.minimum,
    "relu_backward": lambda g, r: _aten.threshold_backward(g, r, 0),
    "tanh_backward": _aten.tanh_backward,
    "sigmoid_backward": _aten.sigmoid_backward,
    "maximum_backward": _maximum_backward,
    "softplus_backward": lambda g, x: _aten.softplus_backward(g, x, 1, 20),
}
"""torch's functions by the names of `stablebench.engines.fused.operations.OPERATIONS`."""


def run(*args: Any, backend: str = "torch", **named: Any) -> Any:
    """Return what `fused.run` returns, with compiled C (`native`) or in torch calls (`torch`)."""
    return _with(fused.run, backend, args, named)


def run_layers(*args: Any, backend: str = "torch", **named: Any) -> Any:
    """Return what `fused.run_layers` returns, as in `run`."""
    return _with(fused.run_layers, backend, args, named)


def plan_model(*args: Any, backend: str = "torch") -> Any:
    """Return the plan that `run` makes."""
    return fused.plan_model(*args, backend=_NAMES[backend])


_NAMES: dict[str, Any] = {"native": "native", "torch": "triton"}
"""Whose plans are taken: those without the input projection for torch calls."""


def _with(run: Callable[..., Any], backend: str, args: Any, named: Any) -> Any:
    if backend == "native":
        return run(*args, backend=backend, **named)
    with patch.object(fused, "_new_backend", new_backend):
        return run(*args, backend=_NAMES[backend], **named)


def new_backend(program: Program, layout: Layout, *_: object) -> "TorchBackend":
    """Return what replaces `fused._new_backend`."""
    return TorchBackend(program, Slice(NEW, sum(layout.widths[: layout.output]), layout.widths[layout.output]))


class TorchBackend:
    """A program in torch calls. The methods are those of `stablebench.engines.fused.c.backend.Native`.

    Args:
        program: The program.
        output: Which features of `new` are the output.
    """

    def __init__(self, program: Program, output: Slice) -> None:
        self.program = program
        self.output = output

    def forward(self, buffers: dict[Buffer, Tensor], matrices: list[Tensor], *, saving: bool) -> None:
        """Run all steps; see `Native.forward`."""
        steps, batch, _ = buffers[NEW].shape
        matmul = buffers[NEW].new_empty(1, batch, self.program.widths.get(MATMUL, 0)).expand(steps, -1, -1)
        arrays = {**buffers, MATMUL: matmul, **{Buffer(Kind.MATRIX, k): m for k, m in enumerate(matrices)}}
        for step in self._by_step(arrays, range(steps)):
            for stage in self.program.stages:
                for p in stage.matmuls:
                    _multiply(step, p.lhs, step[Buffer(Kind.MATRIX, p.matrix)], p.out, p.accumulate)
                for loop in stage.forward:
                    _run(loop, step, saving)

    def backward(
        self, buffers: dict[Buffer, Tensor], matrices: list[Tensor], needs_grad: list[bool]
    ) -> list[Tensor | None]:
        """Run all steps backward; see `Native.backward`."""
        steps, batch, _ = buffers[NEW].shape
        in_memory = steps if any(needs_grad) else 1
        d_matmul = buffers[NEW].new_empty(in_memory, batch, self.program.widths.get(MATMUL.gradient, 0))
        arrays = {**buffers, MATMUL.gradient: d_matmul.expand(steps, -1, -1)}
        carry = arrays.pop(NEW.gradient)
        d_output = arrays.pop(OUTPUT.gradient, None)
        arrays |= {Buffer(Kind.MATRIX, k): matrix.mT for k, matrix in enumerate(matrices)}
        arrays[OLD.gradient] = carry[:1].expand(steps, -1, -1)  # replaced below
        for t, step in zip(reversed(range(steps)), self._by_step(arrays, reversed(range(steps))), strict=True):
            step[NEW.gradient], step[OLD.gradient] = carry[(t + 1) % 2], carry[t % 2]
            if d_output is not None:
                _part(step, Slice(NEW.gradient, self.output.offset, self.output.width)).add_(d_output[t])
            for buffer in self.program.zeroed:
                step[buffer].zero_()
            for stage in reversed(self.program.stages):
                for loop in stage.backward:
                    _run(loop, step, True)
                for p in (p for p in stage.matmuls if p.lhs_needs_grad):
                    matrix = step[Buffer(Kind.MATRIX, p.matrix)]
                    _multiply(step, p.out.gradient, matrix, p.lhs.gradient, p.accumulate_lhs_gradient)
        return self._matrix_gradients(arrays, matrices, needs_grad)

    def _matrix_gradients(
        self, arrays: dict[Buffer, Tensor], matrices: list[Tensor], needs_grad: list[bool]
    ) -> list[Tensor | None]:
        """Return each matrix's gradient, as one matmul over all steps and rows."""
        gradients: list[Tensor | None] = [
            torch.zeros_like(m) if need else None for m, need in zip(matrices, needs_grad, strict=True)
        ]
        for p in self.program.matmuls:
            gradient = gradients[p.matrix]
            if gradient is not None and Buffer(Kind.MATRIX, p.matrix) in self.program.by_step:
                gradient.baddbmm_(_part(arrays, p.lhs).mT, _part(arrays, p.out.gradient))
            elif gradient is not None:
                lhs, d_out = _part(arrays, p.lhs).flatten(0, 1), _part(arrays, p.out.gradient).flatten(0, 1)
                gradient.addmm_(lhs.T, d_out)
        return gradients

    def _by_step(self, buffers: dict[Buffer, Tensor], order: "Iterator[int] | range") -> Iterator[dict[Buffer, Tensor]]:
        """Yield the buffers of one time step after the other; what has no time axis stays as it is."""
        constant = {
            name: buffer
            for name, buffer in buffers.items()
            if name.kind in (Kind.MATRIX, Kind.VECTOR) and name.value not in self.program.by_step
        }
        unbound = {name: buffer.unbind(0) for name, buffer in buffers.items() if name not in constant}
        for t in order:
            yield constant | {name: parts[t] for name, parts in unbound.items()}


def _part(buffers: dict[Buffer, Tensor], part: Slice) -> Tensor:
    buffer = buffers[part.buffer]
    return buffer if buffer.shape[-1] == part.width else buffer.narrow(-1, part.offset, part.width)


def _multiply(step: dict[Buffer, Tensor], lhs: Slice, matrix: Tensor, out: Slice, accumulate: bool) -> None:
    target = _part(step, out)
    if accumulate:
        target.addmm_(_part(step, lhs), matrix)
    else:
        torch.mm(_part(step, lhs), matrix, out=target)


def _run(loop: Loop, step: dict[Buffer, Tensor], saving: bool) -> None:
    values: list[Any] = []
    for instruction in loop.instructions:
        if instruction.source is not None:
            values.append(_part(step, instruction.source))
        elif instruction.op == "constant":
            values.append(instruction.number)
        else:
            function = FUNCTIONS.get(instruction.op) or partial(NUMBERED[instruction.op], slope=instruction.number)
            values.append(function(*(values[arg] for arg in instruction.args)))
    for store in loop.stores:
        value, target = values[store.value], store.target
        if target.buffer == SAVED and not saving:
            continue
        if target.buffer.is_vector_gradient:
            value = value.sum(0)
        destination = _part(step, target)
        if store.accumulate:
            destination.add_(value)
        else:
            destination.copy_(value)
