"""The fused engine: the loop over `step`, with a backward pass of its own, generated from `step` itself.

A step is traced once (`trace`), split at its matrix products into loops over units (`lower`), differentiated
(`adjoint`), and run as compiled C (`c`), on CUDA as Triton kernels (`triton`). What depends only on parameters, or only
on inputs, stays with torch. The reference engine defines the result; what cannot be traced is run by it.
"""

from functools import partial
from typing import Any, Literal
from weakref import WeakKeyDictionary

import torch
from jaxtyping import Float
from torch import Tensor
from torch.utils import _pytree as pytree

from stablebench.engines.fused.autograd_function import Backend, ChainInputs, Layout, run_chain
from stablebench.engines.fused.c import tuning as tunings
from stablebench.engines.fused.c.backend import Native
from stablebench.engines.fused.c.tuning import Tuning
from stablebench.engines.fused.fold import run_folded
from stablebench.engines.fused.plan import BackendName, StepPlan, as_unsupported, plan_layers, plan_model
from stablebench.engines.fused.program import NEW, Program, Slice
from stablebench.engines.fused.step_graph import UnsupportedStep
from stablebench.engines.fused.triton import backend as triton_backend
from stablebench.engines.fused.triton.backend import TritonBackend
from stablebench.models import deep_model, recurrent_model
from stablebench.models.base import DeepModel, DilatedCell, LayerGroup, RecurrentModel, State, real_like
from stablebench.process import c_library as library
from stablebench.process.c_library import CompilerError


def fastest(device: torch.device) -> BackendName:
    """Return the back end that is made for a device."""
    return "triton" if device.type == "cuda" else "native"


def run(
    model: RecurrentModel,
    x: Float[Tensor, "batch time in"],
    state: State | None = None,
    outputs: Literal["every", "last"] = "every",
    recurrent_weights: Any = None,
    *,
    backend: BackendName | None = None,
    tuning: Tuning | None = None,
) -> tuple[Float[Tensor, "batch ..."], State]:
    """Run the chain; see `recurrent_model.run_steps`, which does it where the step cannot be planned.

    Of a dilated model the cell is planned and run, on folded sequences (`stablebench.engines.fused.fold`).

    Args:
        model: The recurrence.
        x: Inputs (batch, time, in), time >= 1.
        state: The states before the first step, each (batch, size); by default the model's own.
        outputs: `every` step's output, or only the `last` one's.
        recurrent_weights: What `model.recurrent_weights()` returned; by default it is called.
        backend: By default the one for the device.
        tuning: Of compiled C; by default `tuning.chosen()`.

    Returns:
        The outputs, (batch, time, out) for `every` and (batch, out) for `last`, and the states after the last step.

    Raises:
        CompilerError: The step cannot be compiled.
    """
    state = model.initial_state(len(x)) if state is None else state
    backend = backend or fastest(x.device)
    dilated = _folded(model)
    if dilated is not None:
        recurrent_weights = model.recurrent_weights() if recurrent_weights is None else recurrent_weights
        return run_folded(partial(run, backend=backend, tuning=tuning), dilated, x, state, outputs, recurrent_weights)
    planned = plan_model(model, x, state, backend=backend)
    if isinstance(planned, UnsupportedStep):
        return recurrent_model.run_steps(model, x, state, outputs, recurrent_weights)
    recurrent_weights = model.recurrent_weights() if recurrent_weights is None else recurrent_weights
    matrices, vectors = planned.traced.evaluate(model.step, recurrent_weights)
    projections = (x,) if planned.with_projection else tuple(pytree.tree_leaves(model.input_projection(x)))
    layout = Layout(
        tuple(s.shape[1] for s in state), model.output_state, len(projections), len(matrices), planned.vectors
    )
    runs = _backend(planned, layout, x.dtype, backend, tuning)
    return run_chain(runs, layout, ChainInputs(x.shape[1], state, projections, matrices, vectors), outputs)


def _folded(model: RecurrentModel) -> DilatedCell | None:
    """Return the cell that a dilated model repeats; None also where a subclass has replaced what repeats it."""
    dilated = model.dilated_cell()
    if dilated is None:
        return None
    classes = [c for c in type(model).__mro__ if "dilated_cell" in vars(c)]
    beyond = type(model).__mro__[: type(model).__mro__.index(classes[0])]
    replaced = {"step", "input_projection", "recurrent_weights"} & set().union(vars(model), *(vars(c) for c in beyond))
    return None if replaced else dilated


def run_layers(
    model: DeepModel,
    group: LayerGroup,
    state: State,
    outputs: Literal["every", "last"] = "last",
    *,
    backend: BackendName | None = None,
    tuning: Tuning | None = None,
) -> tuple[Float[Tensor, "batch ..."], State]:
    """Run a group of layers; see `deep_model.run_layers`, which does it where the step cannot be planned.

    Args:
        model: The chain.
        group: One of its `layer_groups()`.
        state: What enters the first layer, each (batch, size).
        outputs: `every` layer's output, or only the `last` one's.
        backend: As in `run`.
        tuning: As in `run`.

    Returns:
        The outputs, (batch, layers, out) for `every` and (batch, out) for `last`, and the states after the last layer.

    Raises:
        CompilerError: As in `run`.
    """
    backend = backend or fastest(state[0].device)
    planned = plan_layers(model, group, state)
    if isinstance(planned, UnsupportedStep):
        return deep_model.run_layers(model, group, state, outputs)
    matrices, vectors = planned.traced.evaluate(model.step, group.shared, group.layers)
    layout = Layout(tuple(s.shape[1] for s in state), model.output_state, 0, len(matrices), planned.vectors)
    runs = _backend(planned, layout, state[0].dtype, backend, tuning)
    return run_chain(runs, layout, ChainInputs(len(group), state, (), matrices, vectors), outputs)


def unsupported_reason(model: RecurrentModel, device: torch.device, *, inputs_need_gradient: bool) -> str | None:
    """Return why a model, or the cell that it repeats, cannot be fused, or None if it can.

    Args:
        model: The recurrence, on `device`.
        device: Where it runs.
        inputs_need_gradient: As for every layer but the first. The plan made here is then the one that is used.
    """
    try:
        dilated = _folded(model)
        if dilated is not None:
            return unsupported_reason(dilated.cell, device, inputs_need_gradient=inputs_need_gradient)
        dtype = model.initial_state(1)[0].dtype
        x = torch.zeros(2, 1, model.in_features, dtype=dtype, device=device, requires_grad=inputs_need_gradient)
        planned = plan_model(model, x, backend=fastest(device))
    except Exception as error:  # whatever a user's model raises
        planned = as_unsupported(error)
    return planned.reason if isinstance(planned, UnsupportedStep) else None


@torch.no_grad()
def layers_unsupported_reason(model: DeepModel, device: torch.device) -> str | None:
    """Return why a model's layers cannot be fused, or None if they can. Single layers that change a width never are.

    Args:
        model: The model, on `device`.
        device: Where it runs.
    """
    state = model.embed_input(torch.zeros(2, model.in_features, dtype=real_like(model).dtype, device=device))
    for group in model.layer_groups():
        if len(group) == 1:
            _, state = deep_model.run_layers(model, group, state)
            continue
        planned = plan_layers(model, group, state)
        if isinstance(planned, UnsupportedStep):
            return planned.reason
    return None


def unavailable_reason(device: torch.device, dtype: torch.dtype) -> str | None:
    """Return why nothing can be compiled for a device, or None.

    `stablebench.engines.trial` tests whether a model's own steps can be compiled there.

    Args:
        device: Where it runs.
        dtype: Of all values.
    """
    if device.type == "cuda":
        return triton_backend.unavailable_reason(dtype)
    try:
        library.instructions()
    except CompilerError as error:
        return str(error)
    return None


_backends: WeakKeyDictionary[Program, dict[Any, Backend]] = WeakKeyDictionary()


def _backend(
    planned: StepPlan, layout: Layout, dtype: torch.dtype, name: BackendName, tuning: Tuning | None
) -> Backend:
    backends = _backends.setdefault(planned.program, {})
    if name == "native" and tuning is None:
        tuning = tunings.chosen()
    key = (layout, dtype, name, tuning)
    if key not in backends:
        backends[key] = _new_backend(planned.program, layout, dtype, tuning if name == "native" else None)
    return backends[key]


def _new_backend(program: Program, layout: Layout, dtype: torch.dtype, tuning: Tuning | None) -> Backend:
    output = Slice(NEW, sum(layout.widths[: layout.output]), layout.widths[layout.output])
    if tuning is not None:
        return Native(program, output, dtype, tuning)
    if (reason := triton_backend.unsupported(program, dtype)) is not None:
        raise CompilerError(reason)
    return TritonBackend(program, output)
