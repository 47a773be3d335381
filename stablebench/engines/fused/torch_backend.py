"""Runs a program with torch's operations, one call each: where there is no C compiler, and on other devices."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from stablebench.engines.fused.operations import OPERATIONS
from stablebench.engines.fused.program import Loop, Program, Slice


class TorchBackend:
    """A program in torch calls. The methods are those of `stablebench.engines.fused.c.backend.Native`.

    Args:
        program: The program.
        output: Which features of `new` are the output.
    """

    def __init__(self, program: Program, output: Slice) -> None:
        self.program = program
        self.output = output

    def forward(self, buffers: dict[str, Tensor], matrices: list[Tensor], *, saving: bool) -> None:
        """Run all steps; see `Native.forward`."""
        steps, batch, _ = buffers["new"].shape
        product = buffers["new"].new_empty(1, batch, self.program.widths.get("product", 0)).expand(steps, -1, -1)
        arrays = {**buffers, "product": product, **{f"matrix{k}": m for k, m in enumerate(matrices)}}
        for step in self._by_step(arrays, range(steps)):
            for stage in self.program.stages:
                for p in stage.products:
                    _multiply(step, p.left, step[f"matrix{p.matrix}"], p.out, p.accumulate)
                for loop in stage.forward:
                    _run(loop, step, saving)

    def reverse(self, buffers: dict[str, Tensor], matrices: list[Tensor], wanted: list[bool]) -> list[Tensor | None]:
        """Run all steps in reverse; see `Native.reverse`."""
        steps, batch, _ = buffers["new"].shape
        kept = steps if any(wanted) else 1
        d_product = buffers["new"].new_empty(kept, batch, self.program.widths.get("d_product", 0))
        arrays = {**buffers, "d_product": d_product.expand(steps, -1, -1)}
        carry = arrays.pop("d_new")
        d_output = arrays.pop("d_output", None)
        arrays |= {f"matrix{k}": matrix.mT for k, matrix in enumerate(matrices)}
        arrays["d_old"] = carry[:1].expand(steps, -1, -1)  # replaced below
        for t, step in zip(reversed(range(steps)), self._by_step(arrays, reversed(range(steps))), strict=True):
            step["d_new"], step["d_old"] = carry[(t + 1) % 2], carry[t % 2]
            if d_output is not None:
                _part(step, Slice("d_new", self.output.offset, self.output.width)).add_(d_output[t])
            for buffer in self.program.zeroed:
                step[buffer].zero_()
            for stage in reversed(self.program.stages):
                for loop in stage.reverse:
                    _run(loop, step, True)
                for p in (p for p in stage.products if p.has_gradient):
                    matrix = step[f"matrix{p.matrix}"]
                    _multiply(step, p.out.gradient, matrix, p.left.gradient, p.accumulate_gradient)
        return self._matrix_gradients(arrays, matrices, wanted)

    def _matrix_gradients(
        self, arrays: dict[str, Tensor], matrices: list[Tensor], wanted: list[bool]
    ) -> list[Tensor | None]:
        """Return each wanted matrix's gradient, as one product over all steps and rows."""
        gradients: list[Tensor | None] = [
            torch.zeros_like(m) if w else None for m, w in zip(matrices, wanted, strict=True)
        ]
        for p in self.program.products:
            gradient = gradients[p.matrix]
            if gradient is not None and f"matrix{p.matrix}" in self.program.by_step:
                gradient.baddbmm_(_part(arrays, p.left).mT, _part(arrays, p.out.gradient))
            elif gradient is not None:
                left, d_out = _part(arrays, p.left).flatten(0, 1), _part(arrays, p.out.gradient).flatten(0, 1)
                gradient.addmm_(left.T, d_out)
        return gradients

    def _by_step(self, buffers: dict[str, Tensor], order: "Iterator[int] | range") -> Iterator[dict[str, Tensor]]:
        """Yield the buffers of one time step after the other; what has no time axis stays as it is."""
        constant = {
            name: buffer
            for name, buffer in buffers.items()
            if ("matrix" in name or "vector" in name) and name.removeprefix("d_") not in self.program.by_step
        }
        unbound = {name: buffer.unbind(0) for name, buffer in buffers.items() if name not in constant}
        for t in order:
            yield constant | {name: parts[t] for name, parts in unbound.items()}


def _part(buffers: dict[str, Tensor], part: Slice) -> Tensor:
    buffer = buffers[part.buffer]
    return buffer if buffer.shape[-1] == part.width else buffer.narrow(-1, part.offset, part.width)


def _multiply(step: dict[str, Tensor], left: Slice, matrix: Tensor, out: Slice, accumulate: bool) -> None:
    target = _part(step, out)
    if accumulate:
        target.addmm_(_part(step, left), matrix)
    else:
        torch.mm(_part(step, left), matrix, out=target)


def _run(loop: Loop, step: dict[str, Tensor], saving: bool) -> None:
    values: list[Any] = []
    for instruction in loop.instructions:
        if instruction.source is not None:
            values.append(_part(step, instruction.source))
        elif instruction.op == "constant":
            values.append(instruction.number)
        else:
            operation = OPERATIONS[instruction.op]
            number = (instruction.number,) if operation.numbered else ()
            values.append(operation.torch(*(values[arg] for arg in instruction.args), *number))
    for store in loop.stores:
        value, target = values[store.value], store.target
        if target.buffer == "saved" and not saving:
            continue
        if target.buffer.startswith("d_vector"):
            value = value.sum(0)
        destination = _part(step, target)
        if store.accumulate:
            destination.add_(value)
        else:
            destination.copy_(value)
