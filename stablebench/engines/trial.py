"""Whether a model's steps can be compiled and run here, tried out: on zeros, two sequences of one step."""

from collections.abc import Callable

import torch
from torch import Tensor

from stablebench.engines.fused import engine as fused
from stablebench.engines.fused.plan import plan_model
from stablebench.engines.fused.step_graph import UnsupportedStep
from stablebench.engines.fused.triton import backend as triton_backend
from stablebench.models import deep_model
from stablebench.models.base import DeepModel, RecurrentModel, real_like
from stablebench.process.c_compiler import CompilerError


def not_compiled_reason(model: RecurrentModel, device: torch.device, *, inputs_need_gradient: bool) -> str | None:
    """Return why the fused engine cannot compile a model's step, or run what was compiled; None where it could.

    On a CPU the step has then been compiled, loaded and run, forward and backward, in the model's precision; on CUDA
    its kernel has been written, and is compiled for the sizes of the first batch.

    Args:
        model: The recurrence, on `device`; its step can be planned.
        device: Where it runs.
        inputs_need_gradient: As in `fused.unsupported_reason`.
    """
    dilated = model.dilated_cell()
    if device.type == "cuda":
        return _no_kernel_reason(model if dilated is None else dilated.cell, device, inputs_need_gradient)
    x = _zeros(model, device, inputs_need_gradient)
    return _compiler_error(lambda: fused.run(model, x)[0], [*model.parameters(), x])


def layers_not_compiled_reason(model: DeepModel, device: torch.device) -> str | None:
    """Return why the fused engine cannot compile a deep model's layers, or run what was compiled; None where it could.

    Args:
        model: The model, on `device`; its layers can be planned.
        device: Where it runs.
    """

    def output() -> Tensor:
        state = model.embed_input(torch.zeros(2, model.in_features, dtype=real_like(model).dtype, device=device))
        for group in model.layer_groups():
            run = deep_model.run_layers if len(group) == 1 else fused.run_layers
            _, state = run(model, group, state)
        return state[model.output_state]

    return _compiler_error(output, list(model.parameters()))


def _compiler_error(output: Callable[[], Tensor], leaves: list[Tensor]) -> str | None:
    """Return what a compiler failed with forward or backward, or None; no random number of the run is drawn."""
    differentiable = [leaf for leaf in leaves if leaf.requires_grad]
    try:
        with torch.enable_grad(), torch.random.fork_rng(devices=[]):
            outputs = output()
            if differentiable and outputs.requires_grad:
                torch.autograd.grad(outputs.sum(), differentiable, allow_unused=True)
    except CompilerError as error:
        return str(error)
    return None


def _no_kernel_reason(model: RecurrentModel, device: torch.device, inputs_need_gradient: bool) -> str | None:
    x = _zeros(model, device, inputs_need_gradient)
    planned = plan_model(model, x, backend="triton")
    return None if isinstance(planned, UnsupportedStep) else triton_backend.unsupported(planned.program, x.dtype)


def _zeros(model: RecurrentModel, device: torch.device, inputs_need_gradient: bool) -> Tensor:
    dtype = model.initial_state(1)[0].dtype
    return torch.zeros(2, 1, model.in_features, dtype=dtype, device=device, requires_grad=inputs_need_gradient)
