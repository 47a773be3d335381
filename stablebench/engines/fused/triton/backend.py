"""Runs a program on a GPU as Triton kernels: one launch per sequence and direction, matmuls included.

Gradients of matrices are no part of the kernels: they are one large matmul of torch's over all steps and rows.
"""

import hashlib
import importlib.util
import os
import tempfile
from contextlib import AbstractContextManager, nullcontext
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from stablebench.engines.fused.program import MATMUL, NEW, OLD, OUTPUT, Buffer, Program, Slice
from stablebench.engines.fused.triton.codegen import source
from stablebench.engines.fused.triton.kernel_text import ROWS, Precision, module
from stablebench.process.c_library import CompilerError, cache_folder, private_folder

_MAX_KERNEL_LINES = 1500
"""Lines of a kernel. Wide states take many: an LSTM of 512 units has 480, for which Triton takes half a minute."""


class TritonBackend:
    """A program as Triton kernels. The methods are those of `stablebench.engines.fused.c.backend.Native`.

    Args:
        program: The program.
        output: Which features of `new` are the output.
        precision: Of the matmuls: `float32`, or on tensor cores `tf32` or `bf16`, where operands are rounded to 11 or
            8 bits and sums stay in float32. All else is done in float32. Gradients of matrices are torch's matmuls
            in float32 (`torch.set_float32_matmul_precision`), and for `bf16` those of operands rounded likewise.
    """

    def __init__(self, program: Program, output: Slice, precision: Precision = "float32") -> None:
        self.program = program
        self.precision = precision
        self._sources = source(program, output, precision)
        self._module = _load(module(*self._sources), cache_folder())

    def forward(self, buffers: dict[Buffer, Tensor], matrices: list[Tensor], *, saving: bool) -> None:
        """Run all steps; see `Native.forward`."""
        steps, batch, _ = buffers[NEW].shape
        arrays = {name: (buffer, 1) for name, buffer in buffers.items()}
        self._launch("forward", arrays, [m.detach() for m in matrices], batch, steps, saving=saving)

    def backward(
        self, buffers: dict[Buffer, Tensor], matrices: list[Tensor], needs_grad: list[bool]
    ) -> list[Tensor | None]:
        """Run all steps backward; see `Native.backward`."""
        new = buffers[NEW]
        steps, batch, _ = new.shape
        keeping = any(needs_grad)
        every = OUTPUT.gradient in buffers
        arrays = dict(buffers)
        if MATMUL.gradient in self.program.widths:
            width = self.program.widths[MATMUL.gradient]
            arrays[MATMUL.gradient] = new.new_empty(steps if keeping else 1, batch, width).expand(steps, -1, -1)
        from_last = {name: (b[-1:] if b.dim() == 3 else b, -1) for name, b in arrays.items()}
        carry = arrays[NEW.gradient]
        from_last |= {NEW.gradient: (carry[steps % 2 :], 0), OLD.gradient: (carry[(steps - 1) % 2 :], 0)}
        sums = self._sources[1].sums
        programs = -(-batch // ROWS)
        partial = new.new_empty(programs, max(1, sum(part.width for part in sums)))
        transposed = [matrix.detach().T for matrix in matrices]
        self._launch("backward", from_last, transposed, batch, steps, sums=partial, every=every, keeping=keeping)
        at = 0
        for part in sums:
            target = buffers[part.buffer].narrow(0, part.offset, part.width)
            target.add_(partial[:, at : at + part.width].sum(0, dtype=target.dtype))
            at += part.width
        return self._matrix_gradients(arrays, matrices, needs_grad)

    def _launch(
        self,
        name: str,
        arrays: dict[Buffer, tuple[Tensor, int]],
        matrices: list[Tensor],
        batch: int,
        steps: int,
        **extra: Any,
    ) -> None:
        """Run a kernel.

        Args:
            name: `forward` or `backward`.
            arrays: The buffers from the first step on that is run, and the direction in which the steps follow.
            matrices: The matrices.
            batch: Rows.
            steps: Steps.
            extra: Its other arguments.
        """
        kernel = self._sources[("forward", "backward").index(name)]
        some = arrays[NEW][0]
        arguments: list[Any] = [batch, steps]
        for buffer in kernel.buffers:
            tensor, direction = arrays.get(buffer, (some, 0))
            arguments += [tensor, direction * tensor.stride(0), tensor.stride(1)]
        arguments += [arrays[buffer][0] for buffer in kernel.vectors]
        dtype = torch.bfloat16 if self.precision == "bf16" else torch.float32
        arguments += [matrices[k].to(dtype).contiguous() for k in kernel.matrices]
        with _on(some.device):
            grid = (-(-batch // ROWS),)
            getattr(self._module, name)[grid](*arguments, **extra, num_warps=kernel.warps)

    def _matrix_gradients(
        self, arrays: dict[Buffer, Tensor], matrices: list[Tensor], needs_grad: list[bool]
    ) -> list[Tensor | None]:
        """Return each matrix's gradient, as one matmul over all steps and rows."""
        gradients: list[Tensor | None] = [
            torch.zeros_like(m) if need else None for m, need in zip(matrices, needs_grad, strict=True)
        ]
        for p in self.program.matmuls:
            gradient = gradients[p.matrix]
            if gradient is not None:
                lhs, d_out = _rows(arrays, p.lhs), _rows(arrays, p.out.gradient)
                if self.precision == "bf16":
                    gradient += (lhs.bfloat16().T @ d_out.bfloat16()).float()
                else:
                    gradient.addmm_(lhs.T, d_out)
        return gradients


def unavailable_reason(dtype: torch.dtype) -> str | None:
    """Return why no program can run as Triton kernels, or None.

    Args:
        dtype: Of its values.
    """
    if dtype != torch.float32:
        return f"the Triton kernels compute in float32, and the values are {str(dtype).removeprefix('torch.')}"
    if importlib.util.find_spec("triton") is None:
        return "triton is not installed"
    return None


def unsupported(program: Program, dtype: torch.dtype) -> str | None:
    """Return why a program cannot run as Triton kernels, or None if it can.

    Args:
        program: The program.
        dtype: Of its values.
    """
    if (reason := unavailable_reason(dtype)) is not None:
        return reason
    if program.by_step:
        return "the Triton kernels have no matrices or vectors that differ from step to step"
    lines = max(kernel.text.count("\n") for kernel in source(program, Slice(NEW, 0, 1), "float32"))
    if lines > _MAX_KERNEL_LINES:
        return f"its kernel would have {lines} lines; Triton takes minutes for more than {_MAX_KERNEL_LINES}"
    return None


def _rows(arrays: dict[Buffer, Tensor], part: Slice) -> Tensor:
    """Return a slice of all steps as (time * batch, features)."""
    return arrays[part.buffer].narrow(-1, part.offset, part.width).flatten(0, 1)


def _on(device: torch.device) -> AbstractContextManager[Any]:
    """Return a context in which kernels run on a device."""
    return torch.cuda.device(device) if device.type == "cuda" else nullcontext()


@cache
def _load(text: str, folder: Path) -> ModuleType:
    """Return a module made of Python text. It lies in a file, because Triton reads its kernels' source."""
    name = f"triton_{hashlib.sha256(text.encode()).hexdigest()[:32]}"
    try:
        path = _written(text, folder / f"{name}.py")
    except OSError:  # no room in the cache
        try:
            path = _written(text, private_folder() / f"{name}.py")
        except OSError as error:
            raise CompilerError(f"a Triton kernel cannot be written to a file: {error}") from error
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None  # it is a Python file
    loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    return loaded


def _written(text: str, path: Path) -> Path:
    """Write text to a file that does not hold it yet."""
    if path.is_symlink() or not path.is_file() or path.read_bytes() != text.encode():
        with tempfile.NamedTemporaryFile("w", dir=path.parent, suffix=".py", delete=False, encoding="utf-8") as file:
            try:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            except OSError:
                os.unlink(file.name)
                raise
        os.replace(file.name, path)
    return path
