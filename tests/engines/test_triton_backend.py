"""The Triton kernels: their text, their agreement with the loop over `step`, and that a GPU's compiler takes them."""

import importlib.util
import os
import re
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import torch
from packaging.version import Version
from triton_agreement import Odd, Shifted, Stages, assert_as_exact_as_the_reference, build

from stablebench.engines.fused import engine as fused
from stablebench.engines.fused.operations import OPERATIONS
from stablebench.engines.fused.plan import StepPlan
from stablebench.engines.fused.program import NEW, Program, Slice
from stablebench.engines.fused.triton.backend import TritonBackend, unsupported
from stablebench.engines.fused.triton.codegen import source
from stablebench.engines.fused.triton.kernel_text import Precision
from stablebench.models import registry as model_registry

needs_triton = pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="triton is not installed")
needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")


def program_of(name: "str | type[Odd]", hidden: int) -> Program:
    model = build(name, hidden, 7).float()
    planned = fused.plan_model(model, torch.zeros(2, 1, model.in_features, dtype=torch.float32), backend="triton")
    assert isinstance(planned, StepPlan)
    return planned.program


def test_every_operation_has_a_text() -> None:
    assert all(operation.c and operation.triton for operation in OPERATIONS.values())


_PLACE = re.compile(
    r"tl\.(load|store)\((\w+) \+ \2_rows \+ \(c\d+ \+ \(?(?:k \+ )?(\d+)\)+\[.*?(?:\bin(\d+)|< (\d+) - k)"
)
"""A load from a buffer or a store to it: which, the first feature, and how many."""


@pytest.mark.parametrize("name", ["lstm", "gru", "cornn", Shifted, Stages])
@pytest.mark.parametrize("hidden", [13, 150])
def test_barrier_stands_between_writing_and_reading_same_memory(name: "str | type[Odd]", hidden: int) -> None:
    """The interpreter has no threads, so it would not miss one."""
    for kernel in source(program_of(name, hidden), Slice(NEW, 0, hidden), "float32"):
        steps = kernel.text.split("for _ in tl.range", 1)[1].split("\n    tl.store", 1)[0]
        since: list[tuple[bool, str, range]] = []
        places, found = [], []
        for line in steps.splitlines():
            if "debug_barrier" in line:
                since.clear()
            if match := _PLACE.search(line):
                stores, buffer = match.group(1) == "store", match.group(2)
                features = range(int(match.group(3)), int(match.group(3)) + int(match.group(4) or match.group(5)))
                for stored, other, taken in since:
                    overlap = max(features.start, taken.start) < min(features.stop, taken.stop)
                    assert buffer != other or not overlap or not (stores or stored), line
                since.append((stores, buffer, features))
                places.append((stores, buffer))
                found.append(line)
        assert len(found) == len(re.findall(r"tl\.\w+\(\w+ \+ \w+_rows", steps))  # the pattern missed none
        loads, stores_to = ({buffer for stores, buffer in places if stores == kind} for kind in (False, True))
        if loads & stores_to or ("new" in stores_to and "old" in loads) or "d_new" in loads:
            assert steps.rindex("tl.debug_barrier()") > steps.rindex("tl.load(")  # between one step and the next


def test_other_types_than_float32_are_refused() -> None:
    reason = unsupported(program_of("lstm", 6), torch.float64)
    assert reason == "the Triton kernels compute in float32, and the values are float64"


@needs_triton
def test_a_kernel_that_takes_minutes_to_compile_is_refused() -> None:
    assert unsupported(program_of("lstm", 512), torch.float32) is None
    reason = unsupported(program_of("lstm", 4000), torch.float32)
    assert reason is not None and re.match(r"its kernel would have \d+ lines", reason)


def test_a_missing_triton_is_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert unsupported(program_of("lstm", 6), torch.float32) == "triton is not installed"


def interpret(marked: str) -> None:
    """Run `interpreted_triton.py`, in a process that has the interpreter."""
    if Version(version("triton")) < Version("3.7") and Version(version("numpy")) >= Version("2.4"):
        pytest.skip("Triton 3.6's interpreter makes numbers of arrays of one element, which NumPy 2.4 refuses")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-x", "-m", marked, "interpreted_triton.py"],
        cwd=Path(__file__).parent,
        env={**os.environ, "TRITON_INTERPRET": "1", "PYTEST_ADDOPTS": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@needs_triton
def test_kernels_agree_with_reference_under_interpreter() -> None:
    """The kernels agree with the reference under the interpreter."""
    interpret("not slow")


@needs_triton
@pytest.mark.slow
def test_the_kernels_agree_at_more_sizes_under_the_interpreter() -> None:
    interpret("slow")


def compile_for(capability: int, name: str, hidden: int, precision: Precision) -> list[Any]:
    """Compile both kernels to machine code for a GPU; none need be there."""
    import triton  # pyright: ignore[reportMissingImports]
    from triton.backends.compiler import GPUTarget  # pyright: ignore[reportMissingImports]
    from triton.compiler import ASTSource  # pyright: ignore[reportMissingImports]

    backend = TritonBackend(program_of(name, hidden), Slice(NEW, 0, hidden), precision)
    compiled = []
    for kernel, function in zip(backend._sources, ("forward", "backward"), strict=True):
        kernel_function = getattr(backend._module, function)
        types: dict[str, str] = {}
        constants = {}
        for i, argument in enumerate(kernel_function.arg_names):
            if argument in ("saving", "every", "keeping"):
                types[argument], constants[i,] = "constexpr", True
            elif argument in ("batch", "steps") or argument.endswith(("_time", "_row")):
                types[argument] = "i32"
            else:
                types[argument] = "*bf16" if argument.startswith("matrix") and precision == "bf16" else "*fp32"
        made = ASTSource(kernel_function, types, constants)
        target = GPUTarget("cuda", capability, 32)
        compiled.append(triton.compile(made, target=target, options={"num_warps": kernel.warps}))
    return compiled


@needs_triton
@pytest.mark.parametrize("precision", ["float32", "tf32", "bf16"])
def test_a_gpu_compiler_takes_the_kernels(precision: Precision) -> None:
    for compiled in compile_for(80, "lstm", 33, precision):
        assert ("nvidia_mma" in compiled.asm["ttgir"]) == (precision != "float32")  # else tensor cores stay unused
        assert compiled.asm["cubin"]


@needs_triton
@pytest.mark.slow
@pytest.mark.parametrize("precision", ["float32", "tf32", "bf16"])
@pytest.mark.parametrize("hidden", [64, 128, 256])
@pytest.mark.parametrize("name", model_registry.model_names(family="recurrent"))
def test_every_kernel_fits_the_shared_memory(name: str, hidden: int, precision: Precision) -> None:
    for compiled in compile_for(90, name, hidden, precision):
        assert compiled.metadata.shared <= 99 << 10  # what a program may have at compute capability 8.6, the least


@needs_triton
@needs_gpu
@pytest.mark.gpu
@pytest.mark.parametrize("outputs", ["every", "last"])
@pytest.mark.parametrize("size", [(17, 33, 7), (33, 128, 50), (40, 300, 20), (1, 13, 1)])
@pytest.mark.parametrize("name", model_registry.model_names(family="recurrent"))
def test_values_and_gradients_agree_on_a_gpu(name: str, size: tuple[int, int, int], outputs: Any) -> None:
    assert_as_exact_as_the_reference(name, size, outputs, "triton", device="cuda")
