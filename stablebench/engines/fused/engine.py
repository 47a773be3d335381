"""The fused engine: the loop over `step`, with a hand-written reverse, generated from `step` itself.

A step is traced once (`trace`), split at its matrix products into loops over units (`lower`), differentiated
(`adjoint`), and run as compiled C (`native`), on CUDA as Triton kernels (`triton_backend`), or, where neither is to be
had and the caller allows it, as torch calls (`torch_backend`). What depends on the parameters or the inputs alone stays
with torch. The reference engine defines the result; what cannot be traced is left to it.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from typing import Any, Literal, TypeAlias
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from stablebench.engines.fused import guard
from stablebench.engines.fused.autograd_function import Backend, ChainInputs, Layout, run_chain
from stablebench.engines.fused.c.backend import Native
from stablebench.engines.fused.fold import run_folded
from stablebench.engines.fused.lower import lower
from stablebench.engines.fused.program import Program, Slice
from stablebench.engines.fused.read_values import read_values
from stablebench.engines.fused.step_graph import UnsupportedStep, UnsupportedStepError
from stablebench.engines.fused.torch_backend import TorchBackend
from stablebench.engines.fused.trace import Traced, definition_of, trace
from stablebench.engines.fused.triton import backend as triton_backend
from stablebench.engines.fused.triton.backend import TritonBackend
from stablebench.errors import device_failure, first_line, ran_out_of_memory, users_line
from stablebench.models import deep_model, recurrent_model
from stablebench.models.base import DeepModel, DilatedCell, LayerGroup, RecurrentModel, State
from stablebench.models.restore import restored
from stablebench.process import c_library as library
from stablebench.process.c_library import CompilerError

_log = logging.getLogger(__name__)

BackendName: TypeAlias = Literal["native", "triton", "torch"]
TorchCalls: TypeAlias = Literal["never", "if needed", "always"]
"""Whether torch calls take the place of compiled code: never, where a program cannot be compiled, or for all."""


def fastest(device: torch.device) -> BackendName:
    """Return the back end that is made for a device."""
    names: dict[str, BackendName] = {"cpu": "native", "cuda": "triton"}
    return names.get(device.type, "torch")


@dataclass(frozen=True)
class Plan:
    """A step that can be fused.

    Args:
        traced: What it does outside the loop over time.
        program: What it does inside.
        with_drive: Whether it begins with the drive.
        vectors: Widths of the program's vectors.
    """

    traced: Traced
    program: Program
    with_drive: bool
    vectors: tuple[int, ...]


def plan(
    step: Callable[..., State],
    inputs: Any,
    states: State,
    recurrent_weights: Any,
    projected: Callable[..., Any] | None = None,
    *,
    layered: bool = False,
) -> Plan | UnsupportedStep:
    """Plan a step from an example of its arguments, whose values do not matter.

    Args:
        step: The step; the parameters of the module whose method it is may take part.
        inputs: The drive of one step, each (batch, any); with `input_projection` what it takes, (batch, 1, in); where
            `layered` the parameters of all layers, each tensor (layers, ...).
        states: The states, each (batch, size).
        recurrent_weights: What `recurrent_weights()` returned. Vectors in it that need no gradient get none, and so do
            the inputs.
        projected: The drive, if it is to be part of the step. Then the drives of a sequence are never held in memory.
        layered: Whether the inputs are parameters that differ from step to step.
    """
    try:
        leaves = pytree.tree_leaves(inputs)
        _require_one_kind([*leaves, *states, *pytree.tree_leaves(recurrent_weights)])
        of_one_step = pytree.tree_map(lambda leaf: leaf[0], inputs) if layered else inputs
        traced = trace(step, of_one_step, states, recurrent_weights, projected, layered=layered)
        matrices, vectors = traced.evaluate(step, recurrent_weights, inputs if layered else None)
        _require_one_kind([*leaves, *matrices, *vectors])
        drives_wanted = () if layered else tuple(leaf.requires_grad for leaf in leaves)
        if layered and [new.width for new in traced.states] != [old.shape[1] for old in states]:
            raise UnsupportedStepError("a layer changes the width of a state")
        program = lower(traced.states, drives_wanted, tuple(v.requires_grad for v in vectors), traced.by_step_names)
    except Exception as error:
        return unsupported(error)
    return Plan(traced, program, projected is not None, tuple(vector.shape[-1] for vector in vectors))


def unsupported(error: Exception) -> UnsupportedStep:
    """Return why a plan could not be made, of whatever was raised meanwhile; it raises what no engine can help.

    Raises:
        Exception: Memory ran out, or the device failed.
    """
    if ran_out_of_memory(error) or device_failure(error) is not None:
        raise error
    reason = first_line(error)
    if not isinstance(error, UnsupportedStepError):
        reason = f"planning it failed with {type(error).__name__}: {reason}"
    return UnsupportedStep(reason if reason.endswith(")") else reason + users_line(error))


def _require_one_kind(leaves: list[Any]) -> None:
    kinds = {(leaf.dtype, leaf.device) for leaf in leaves if isinstance(leaf, Tensor)}
    if len(kinds) != 1 or not {dtype for dtype, _ in kinds} <= {torch.float32, torch.float64}:
        found = ", ".join(sorted(f"{dtype} on {device}" for dtype, device in kinds))
        raise UnsupportedStepError(
            f"it needs tensors of one type, float32 or float64, on one device; there are {found}"
        )
    if torch.is_autocast_enabled(next(iter(kinds))[1].type):
        raise UnsupportedStepError("autocast is on")


_plans: WeakKeyDictionary[nn.Module, dict[Any, Plan | UnsupportedStep]] = WeakKeyDictionary()


def plan_model(
    model: RecurrentModel, x: Tensor, state: State | None = None, *, backend: BackendName = "native"
) -> Plan | UnsupportedStep:
    """Return the plan of a model's step for inputs and states like these; it is made once.

    Args:
        model: The recurrence.
        x: Inputs (batch, time, in).
        state: The states before the first step; by default the model's own.
        backend: What the plan is for. Torch runs a drive better at once for all steps, compiled code step by step.
    """
    state = model.initial_state(len(x)) if state is None else state
    settings = _settings(model)
    shapes = tuple((s.shape[1:], s.dtype, s.device) for s in state)
    key = (settings, x.shape[2], x.dtype, x.device, shapes, backend)
    plans = _plans.setdefault(model, {})
    # A plan with the gradient of the inputs serves without it too, unless one trains with it.
    possible = [x.requires_grad] if torch.is_grad_enabled() else [x.requires_grad, not x.requires_grad]
    for wanted in possible:
        if (key, wanted) in plans:
            return plans[key, wanted]
    plans[key, x.requires_grad] = found = _without_a_trace(model, lambda: _new_plan(model, x, state, backend))
    return found


def _new_plan(model: RecurrentModel, x: Tensor, state: State, backend: BackendName) -> Plan | UnsupportedStep:
    one_step, recurrent_weights = x[:, :1], model.recurrent_weights()
    if backend == "native":
        planned = plan(model.step, one_step, state, recurrent_weights, model.input_projection)
        if isinstance(planned, Plan):
            return planned
    return plan(
        model.step, recurrent_model.split_by_step(model.input_projection(one_step))[0], state, recurrent_weights
    )


def _without_a_trace(
    model: RecurrentModel | DeepModel, make: Callable[[], Plan | UnsupportedStep]
) -> Plan | UnsupportedStep:
    """Make a plan with gradients, so that it serves training and evaluation, and leave the model as it was.

    A model that is changed by being called is refused: the changes would be made once, not at every step.
    """
    own_graphs = torch.autograd.graph.saved_tensors_hooks(_same, _same)  # checkpointing around it counts what is saved
    before = read_values(model)
    with torch.enable_grad(), own_graphs, restored(model) as changed, guard.assignments_refused(model.modules()):
        try:
            found = make()
        except Exception as error:  # whatever a user's `input_projection` or `recurrent_weights` raises
            found = unsupported(error)
        moved = read_values(model) != before
    if changed and isinstance(found, Plan):
        return UnsupportedStep(f"it changes the attribute `{changed[0]}` of the model{definition_of(model.step)}")
    if moved and isinstance(found, Plan):
        return UnsupportedStep(f"it changes a value that it reads{definition_of(model.step)}")
    return found


def _same(tensor: Tensor) -> Tensor:
    return tensor


def _settings(model: nn.Module) -> tuple[Any, ...]:
    """Return all that a step may read as a plain value, its hooks, and what there is to differentiate for."""
    values = read_values(model), guard.hooks_of(model)
    tensors = tuple((t.shape, t.dtype, t.device, t.requires_grad) for t in (*model.parameters(), *model.buffers()))
    return values, tensors, torch.is_autocast_enabled("cpu"), torch.is_autocast_enabled("cuda")


def run(
    model: RecurrentModel,
    x: Tensor,
    state: State | None = None,
    outputs: Literal["every", "last"] = "every",
    recurrent_weights: Any = None,
    *,
    backend: BackendName | None = None,
    torch_calls: TorchCalls = "never",
) -> tuple[Tensor, State]:
    """Run the chain; see `recurrent_model.run_steps`, which does it where the step cannot be planned.

    Of a dilated model the cell is planned and run, on folded sequences (`stablebench.engines.fused.fold`).

    Args:
        model: The recurrence.
        x: Inputs (batch, time, in), time >= 1.
        state: The states before the first step, each (batch, size); by default the model's own.
        outputs: `every` step's output, or the `last` one's alone.
        recurrent_weights: What `model.recurrent_weights()` returned; by default it is called.
        backend: By default the one for the device.
        torch_calls: Whether torch's operations take its place, program by program.

    Returns:
        The outputs, (batch, time, out) for `every` and (batch, out) for `last`, and the states after the last step.

    Raises:
        CompilerError: The step cannot be compiled, and `torch_calls` is `never`.
    """
    state = model.initial_state(len(x)) if state is None else state
    backend = backend or fastest(x.device)
    dilated = _folded(model)
    if dilated is not None:
        recurrent_weights = model.recurrent_weights() if recurrent_weights is None else recurrent_weights
        return run_folded(
            partial(run, backend=backend, torch_calls=torch_calls), dilated, x, state, outputs, recurrent_weights
        )
    planned = plan_model(model, x, state, backend=backend)
    if isinstance(planned, UnsupportedStep):
        return recurrent_model.run_steps(model, x, state, outputs, recurrent_weights)
    recurrent_weights = model.recurrent_weights() if recurrent_weights is None else recurrent_weights
    matrices, vectors = planned.traced.evaluate(model.step, recurrent_weights)
    projections = (x,) if planned.with_drive else tuple(pytree.tree_leaves(model.input_projection(x)))
    layout = Layout(
        tuple(s.shape[1] for s in state), model.output_state, len(projections), len(matrices), planned.vectors
    )
    runs = _backend(planned, layout, x.dtype, backend, torch_calls)
    return run_chain(runs, layout, ChainInputs(x.shape[1], state, projections, matrices, vectors), outputs)


def _folded(model: RecurrentModel) -> DilatedCell | None:
    """Return the cell that a dilated model repeats; None also where a subclass has replaced what repeats it."""
    classes = [c for c in type(model).__mro__ if "dilated_cell" in vars(c)]
    beyond = type(model).__mro__[: type(model).__mro__.index(classes[0])]
    replaced = {"step", "input_projection", "recurrent_weights"} & set().union(vars(model), *(vars(c) for c in beyond))
    return None if replaced else model.dilated_cell()


def run_layers(
    model: DeepModel,
    group: LayerGroup,
    state: State,
    outputs: Literal["every", "last"] = "last",
    *,
    backend: BackendName | None = None,
    torch_calls: TorchCalls = "never",
) -> tuple[Tensor, State]:
    """Run a stretch of layers; see `deep_model.run_layers`, which does it where the step cannot be planned.

    Args:
        model: The chain.
        group: One of its `layer_groups()`.
        state: What enters the first layer, each (batch, size).
        outputs: `every` layer's output, or the `last` one's alone.
        backend: As in `run`.
        torch_calls: As in `run`.

    Returns:
        The outputs, (batch, layers, out) for `every` and (batch, out) for `last`, and the states behind the last layer.

    Raises:
        CompilerError: As in `run`.
    """
    backend = backend or fastest(state[0].device)
    planned = plan_layers(model, group, state)
    if isinstance(planned, UnsupportedStep):
        return deep_model.run_layers(model, group, state, outputs)
    matrices, vectors = planned.traced.evaluate(model.step, group.shared, group.layers)
    layout = Layout(tuple(s.shape[1] for s in state), model.output_state, 0, len(matrices), planned.vectors)
    runs = _backend(planned, layout, state[0].dtype, backend, torch_calls)
    return run_chain(runs, layout, ChainInputs(len(group), state, (), matrices, vectors), outputs)


def plan_layers(model: DeepModel, group: LayerGroup, state: State) -> Plan | UnsupportedStep:
    """Return the plan of a stretch of layers for states like these; it is made once.

    Args:
        model: The chain.
        group: One of its `layer_groups()`.
        state: What enters the first layer, each (batch, size).
    """
    plans = _plans.setdefault(model, {})
    shared, structure = pytree.tree_flatten(group.shared)
    shapes = tuple((t.shape[1:], t.dtype, t.device) for t in (*group.layers, *state))
    key = (_settings(model), shapes, tuple(getattr(leaf, "shape", leaf) for leaf in shared), structure)
    if key not in plans:
        plans[key] = _without_a_trace(model, lambda: plan(model.step, group.layers, state, group.shared, layered=True))
    return plans[key]


def unsupported_reason(model: RecurrentModel, device: torch.device, *, inputs_need_gradient: bool) -> str | None:
    """Return why a model, or the cell that it repeats, cannot be fused, or None if it can.

    Args:
        model: The recurrence, on `device`.
        device: Where it runs.
        inputs_need_gradient: As for every layer but the first. The plan that is made here is then the one that is used.
    """
    try:
        dilated = _folded(model)
        if dilated is not None:
            return unsupported_reason(dilated.cell, device, inputs_need_gradient=inputs_need_gradient)
        dtype = model.initial_state(1)[0].dtype
        x = torch.zeros(2, 1, model.in_features, dtype=dtype, device=device, requires_grad=inputs_need_gradient)
        planned = plan_model(model, x, backend=fastest(device))
    except Exception as error:  # whatever a user's model raises
        planned = unsupported(error)
    return planned.reason if isinstance(planned, UnsupportedStep) else None


def torch_calls_reason(device: torch.device, dtype: torch.dtype) -> str | None:
    """Return why nothing is compiled on a device, so that torch calls are all there is, or None.

    Whether a model's own steps can be compiled there is asked in `stablebench.engines.trial`.

    Args:
        device: Where it runs.
        dtype: Of all values.
    """
    if device.type == "cuda":
        return triton_backend.why_unavailable(dtype)
    if device.type != "cpu":
        return f"there is nothing faster on {device.type}"
    try:
        library.instructions()
    except CompilerError as error:
        return str(error)
    return None


_backends: WeakKeyDictionary[Program, dict[Any, Backend]] = WeakKeyDictionary()


def _backend(planned: Plan, layout: Layout, dtype: torch.dtype, name: BackendName, torch_calls: TorchCalls) -> Backend:
    backends = _backends.setdefault(planned.program, {})
    key = (layout, dtype, name, torch_calls)
    if key not in backends:
        backends[key] = _new_backend(planned.program, layout, dtype, name, torch_calls)
    return backends[key]


def _new_backend(
    program: Program, layout: Layout, dtype: torch.dtype, name: BackendName, torch_calls: TorchCalls
) -> Backend:
    output = Slice("new", sum(layout.widths[: layout.output]), layout.widths[layout.output])
    if name == "torch" or torch_calls == "always":
        return TorchBackend(program, output)
    try:
        if name == "native":
            return Native(program, output, dtype)
        if (reason := triton_backend.unsupported(program, dtype)) is not None:
            raise CompilerError(reason)
        return TritonBackend(program, output)
    except CompilerError as error:
        if torch_calls == "never":  # what was named as the engine is not replaced unseen
            raise
        _say_once(str(error))
    return TorchBackend(program, output)


@cache
def _say_once(reason: str) -> None:
    """Say what is missing, once."""
    _log.warning("The fused engine runs with torch's operations, which is slower: %s", reason)
