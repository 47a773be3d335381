"""The Triton kernels under Triton's interpreter. `test_triton_backend` runs this file in a process of its own.

The interpreter must be asked for (TRITON_INTERPRET=1) before triton is imported, and then holds for the whole process;
so the name of this file keeps it out of the usual run.
"""

import os
from typing import Any

import numpy as np
import pytest
import torch
import triton.language as tl  # pyright: ignore[reportMissingImports]
from triton_agreement import (
    IN,
    Divided,
    Elementary,
    Forgetful,
    Odd,
    Outputs,
    Pointwise,
    Shifted,
    Stages,
    Swapped,
    Where,
    assert_as_exact_as_the_reference,
    build,
    everything,
    kernels,
)

from stablebench.engines.fused.triton import codegen, kernel_text
from stablebench.models import recurrent_model
from stablebench.models import registry as model_registry

assert os.environ.get("TRITON_INTERPRET") == "1", "run this with TRITON_INTERPRET=1"

# NumPy, which the interpreter computes with, warns of what is computed behind a slice's end (0 / 0).
pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")


@pytest.mark.parametrize(
    ("size", "where", "outputs"),
    [((17, 33, 7), "triton", "every"), ((2, 13, 7), "native", "last"), ((2, 13, 1), "native", "every")],
)
@pytest.mark.parametrize("name", model_registry.model_names(family="recurrent"))
def test_values_and_gradients_agree(name: str, size: tuple[int, int, int], where: Where, outputs: Outputs) -> None:
    assert_as_exact_as_the_reference(name, size, outputs, where)


@pytest.mark.slow
@pytest.mark.parametrize("where", ["triton", "native"])
@pytest.mark.parametrize("outputs", ["every", "last"])
@pytest.mark.parametrize("size", [(1, 13, 7), (33, 33, 1), (3, 150, 5)])
@pytest.mark.parametrize("name", model_registry.model_names(family="recurrent"))
def test_more_sizes_agree(name: str, size: tuple[int, int, int], where: Where, outputs: Outputs) -> None:
    assert_as_exact_as_the_reference(name, size, outputs, where)


# Sizes under which a state of 33 units is treated as thousands of units are otherwise.
_SMALL = {
    "wide": kernel_text.TileSizes(widest=16, inner=16, unrolled=0, resident=0),
    "in registers": kernel_text.TileSizes(widest=16, inner=16, unrolled=1 << 20, resident=1 << 20),
}


@pytest.mark.parametrize(("sizes", "carried"), [("wide", 0), ("in registers", 512)])
@pytest.mark.parametrize("name", ["lstm", "cornn", "gru"])
def test_every_way_to_hold_a_state_agrees(name: str, sizes: str, carried: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(kernel_text.SIZES, "float32", _SMALL[sizes])
    monkeypatch.setattr(codegen, "_CARRIED", carried)
    assert_as_exact_as_the_reference(name, (3, 33, 3), "every", "native")


@pytest.mark.parametrize(("sizes", "carried"), [(None, 512), ("wide", 0), ("in registers", 512)])
@pytest.mark.parametrize("kind", [Shifted, Stages, Forgetful, Pointwise, Swapped, Divided, Elementary])
def test_odd_steps_agree(kind: type[Odd], sizes: str | None, carried: int, monkeypatch: pytest.MonkeyPatch) -> None:
    if sizes is not None:
        monkeypatch.setitem(kernel_text.SIZES, "float32", _SMALL[sizes])
    monkeypatch.setattr(codegen, "_CARRIED", carried)
    assert_as_exact_as_the_reference(kind, (3, 19, 3), "every", "native")


@pytest.fixture
def _bf16_products(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the interpreter multiply bf16, which it holds as the bits of uint16 and would multiply as those."""
    from triton.runtime import interpreter  # pyright: ignore[reportMissingImports]

    multiply = interpreter.InterpreterBuilder.create_dot

    def create_dot(self: Any, a: Any, b: Any, *rest: Any) -> Any:
        def wide(x: Any) -> Any:
            if x.data.dtype != np.uint16:
                return x
            return interpreter.TensorHandle((x.data.astype(np.uint32) << 16).view(np.float32), tl.float32)

        return multiply(self, wide(a), wide(b), *rest)

    monkeypatch.setattr(interpreter.InterpreterBuilder, "create_dot", create_dot)


@pytest.mark.usefixtures("_bf16_products")
@pytest.mark.parametrize("name", ["lstm", "gru"])
def test_bf16_rounds_operands_alone(name: str) -> None:
    model = build(name, 13, 5)
    exact = everything(recurrent_model.run_steps, model, (4, 13, 5), "every", torch.float64)
    ours = everything(kernels("triton", "bf16"), model, (4, 13, 5), "every", torch.float32)
    errors = [float((a - truth).abs().max() / (1 + truth.abs().max())) for a, truth in zip(ours, exact, strict=True)]
    assert 1e-5 < max(errors) < 3e-2  # a bf16 number has 8 bits


def test_parameters_that_need_no_gradient_get_none() -> None:
    model = build("lstm", 13, 3).float()
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    x = torch.randn(2, 3, IN, dtype=torch.float32, requires_grad=True)
    outputs, _ = kernels("native")(model, x, model.initial_state(2), "every")
    outputs.sum().backward()
    expected = torch.autograd.grad(recurrent_model.run_steps(model, x)[0].sum(), x)[0]
    torch.testing.assert_close(x.grad, expected)


def test_evaluation_without_gradients_gives_the_same_outputs() -> None:
    model = build("cornn", 13, 3).float()
    x = torch.randn(2, 70, IN, dtype=torch.float32)
    run, state = kernels("triton"), model.initial_state(2)
    outputs, _ = run(model, x, state, "every")
    with torch.no_grad():
        again, _ = run(model, x, state, "every")
        last, _ = run(model, x, state, "last")
    assert torch.equal(outputs, again) and torch.equal(outputs[:, -1], last)
