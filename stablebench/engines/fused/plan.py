"""Plans a step: traces it, and lowers it to a program. A plan is made once for each kind of inputs and states."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from stablebench.engines.fused import guard
from stablebench.engines.fused.lower import lower
from stablebench.engines.fused.program import Program
from stablebench.engines.fused.read_values import read_values
from stablebench.engines.fused.step_graph import UnsupportedStep, failure
from stablebench.engines.fused.trace import definition_of, trace
from stablebench.engines.fused.traced_step import TracedStep
from stablebench.errors import device_failure, ran_out_of_memory, users_line
from stablebench.models import recurrent_model
from stablebench.models.base import DeepModel, LayerGroup, RecurrentModel, State
from stablebench.models.restore import restored

BackendName: TypeAlias = Literal["native", "triton"]


@dataclass(frozen=True)
class StepPlan:
    """A step that can be fused.

    Args:
        traced: What it does outside the loop over time.
        program: What it does inside.
        with_projection: Whether it begins with `input_projection`.
        vectors: Widths of the program's vectors.
    """

    traced: TracedStep
    program: Program
    with_projection: bool
    vectors: tuple[int, ...]


def plan(
    step: Callable[..., State],
    inputs: Any,
    states: State,
    recurrent_weights: Any,
    projected: Callable[..., Any] | None = None,
    *,
    layered: bool = False,
) -> StepPlan | UnsupportedStep:
    """StepPlan a step from an example of its arguments, whose values do not matter.

    Args:
        step: The step; the parameters of the module whose method it is may take part.
        inputs: The projected input of one step, each (batch, any); with `projected` what that takes, (batch, 1, in);
            where `layered` the parameters of all layers, each tensor (layers, ...).
        states: The states, each (batch, size).
        recurrent_weights: What `recurrent_weights()` returned. Vectors in it that need no gradient get none, and so do
            the inputs.
        projected: `input_projection`, to make it part of the step; a sequence's projections are then never all in
            memory.
        layered: Whether the inputs are parameters that differ from step to step.
    """
    try:
        leaves = pytree.tree_leaves(inputs)
        _require_one_kind([*leaves, *states, *pytree.tree_leaves(recurrent_weights)])
        of_one_step = pytree.tree_map(lambda leaf: leaf[0], inputs) if layered else inputs
        traced = trace(step, of_one_step, states, recurrent_weights, projected, layered=layered)
        matrices, vectors = traced.evaluate(step, recurrent_weights, inputs if layered else None)
        _require_one_kind([*leaves, *matrices, *vectors])
        projections_need_grad = () if layered else tuple(leaf.requires_grad for leaf in leaves)
        if layered and [new.width for new in traced.states] != [old.shape[1] for old in states]:
            raise UnsupportedStep("a layer changes the width of a state")
        program = lower(
            traced.states, projections_need_grad, tuple(v.requires_grad for v in vectors), traced.by_step_buffers
        )
    except Exception as error:
        return as_unsupported(error)
    return StepPlan(traced, program, projected is not None, tuple(vector.shape[-1] for vector in vectors))


def as_unsupported(error: Exception) -> UnsupportedStep:
    """Return why a plan could not be made, of whatever was raised meanwhile; it raises what no engine can help.

    Raises:
        Exception: Memory ran out, or the device failed.
    """
    if ran_out_of_memory(error) or device_failure(error) is not None:
        raise error
    reason = failure(error, "planning it")
    return UnsupportedStep(reason if reason.endswith(")") else reason + users_line(error))


def _require_one_kind(leaves: list[Any]) -> None:
    kinds = {(leaf.dtype, leaf.device) for leaf in leaves if isinstance(leaf, Tensor)}
    if len(kinds) != 1 or not {dtype for dtype, _ in kinds} <= {torch.float32, torch.float64}:
        described = ", ".join(sorted(f"{dtype} on {device}" for dtype, device in kinds))
        raise UnsupportedStep(f"it needs tensors of one type, float32 or float64, on one device; there are {described}")
    if torch.is_autocast_enabled(next(iter(kinds))[1].type):
        raise UnsupportedStep("autocast is on")


_plans: WeakKeyDictionary[nn.Module, dict[Any, StepPlan | UnsupportedStep]] = WeakKeyDictionary()


def plan_model(
    model: RecurrentModel, x: Tensor, state: State | None = None, *, backend: BackendName = "native"
) -> StepPlan | UnsupportedStep:
    """Return the plan of a model's step for inputs and states like these; it is made once.

    Args:
        model: The recurrence.
        x: Inputs (batch, time, in).
        state: The states before the first step; by default the model's own.
        backend: What the plan is for. On CUDA torch projects all inputs at once, compiled C step by step.
    """
    state = model.initial_state(len(x)) if state is None else state
    settings = _settings(model)
    shapes = tuple((s.shape[1:], s.dtype, s.device) for s in state)
    key = (settings, x.shape[2], x.dtype, x.device, shapes, backend)
    plans = _plans.setdefault(model, {})
    # A plan with the gradient of the inputs serves without it too, unless one trains with it.
    possible = [x.requires_grad] if torch.is_grad_enabled() else [x.requires_grad, not x.requires_grad]
    for inputs_need_grad in possible:
        if (key, inputs_need_grad) in plans:
            return plans[key, inputs_need_grad]
    plans[key, x.requires_grad] = planned = _leaving_unchanged(model, lambda: _new_plan(model, x, state, backend))
    return planned


def _new_plan(model: RecurrentModel, x: Tensor, state: State, backend: BackendName) -> StepPlan | UnsupportedStep:
    one_step, recurrent_weights = x[:, :1], model.recurrent_weights()
    if backend == "native":
        planned = plan(model.step, one_step, state, recurrent_weights, model.input_projection)
        if isinstance(planned, StepPlan):
            return planned
    return plan(
        model.step, recurrent_model.split_by_step(model.input_projection(one_step))[0], state, recurrent_weights
    )


def _leaving_unchanged(
    model: RecurrentModel | DeepModel, make: Callable[[], StepPlan | UnsupportedStep]
) -> StepPlan | UnsupportedStep:
    """Make a plan with gradients, so that it serves training and evaluation, and leave the model as it was.

    A model that is changed by being called is refused: the changes would be made once, not at every step.
    """
    own_graphs = torch.autograd.graph.saved_tensors_hooks(_same, _same)  # checkpointing around it counts what is saved
    before = read_values(model)
    with torch.enable_grad(), own_graphs, restored(model) as changed, guard.assignments_refused(model.modules()):
        try:
            planned = make()
        except Exception as error:  # whatever a user's `input_projection` or `recurrent_weights` raises
            planned = as_unsupported(error)
        moved = read_values(model) != before
    if changed and isinstance(planned, StepPlan):
        return UnsupportedStep(f"it changes the attribute `{changed[0]}` of the model{definition_of(model.step)}")
    if moved and isinstance(planned, StepPlan):
        return UnsupportedStep(f"it changes a value that it reads{definition_of(model.step)}")
    return planned


def _same(tensor: Tensor) -> Tensor:
    return tensor


def _settings(model: nn.Module) -> tuple[Any, ...]:
    """Return all that a step may read as a plain value, its hooks, and what there is to differentiate for."""
    values = read_values(model), guard.hooks_of(model)
    tensors = tuple(
        (tensor.shape, tensor.dtype, tensor.device, tensor.requires_grad)
        for module in model.modules()
        for tensor in (*module._parameters.values(), *module._buffers.values())  # shared ones twice, which is as well
        if tensor is not None
    )
    return values, tensors, torch.is_autocast_enabled("cpu"), torch.is_autocast_enabled("cuda")


def plan_layers(model: DeepModel, group: LayerGroup, state: State) -> StepPlan | UnsupportedStep:
    """Return the plan of a group of layers for states like these; it is made once.

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
        plans[key] = _leaving_unchanged(
            model, lambda: plan(model.step, group.layers, state, group.shared, layered=True)
        )
    return plans[key]
