"""Traces `step`, and `input_projection` with it where that can be done, with torch.fx.

What depends only on the parameters is done once per forward pass, by torch and autograd
(`TracedStep.evaluate`). What depends on inputs and states becomes `Node`s.
"""

import inspect
import sys
import traceback
import types
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.utils import _pytree as pytree

from stablebench.engines.fused import guard
from stablebench.engines.fused.fx_calls import name_of
from stablebench.engines.fused.graph_builder import GraphBuilder
from stablebench.engines.fused.rehearsal import check_against, example_like, example_of
from stablebench.engines.fused.step_graph import UnsupportedStep, failure
from stablebench.engines.fused.torch_functions import HANDLERS
from stablebench.engines.fused.traced_step import StepModule, TracedStep
from stablebench.process import python_random


def trace(
    step: Callable[..., Any],
    inputs: Any,
    states: tuple[Tensor, ...],
    recurrent_weights: Any,
    projected: Callable[..., Any] | None = None,
    *,
    layered: bool = False,
) -> TracedStep:
    """Trace one step.

    Args:
        step: `RecurrentModel.step` of a model, or a function like it.
        inputs: The projected input of one step, each (batch, any); with `projected` what that takes, (batch, 1, in);
            where `layered` the parameters of one layer, of any shape.
        states: The states, each (batch, size).
        recurrent_weights: What `recurrent_weights()` returned.
        projected: `RecurrentModel.input_projection`, to be traced together with the step.
        layered: Whether the inputs are parameters that differ from step to step.

    Raises:
        UnsupportedStep: The step does something that no engine but the reference knows.
    """
    leaves, structure = pytree.tree_flatten((inputs, states, recurrent_weights))
    if not all(leaf is None or isinstance(leaf, Tensor) for leaf in leaves):
        raise UnsupportedStep("`input_projection` or `recurrent_weights` has parts that are no tensors")
    for leaf in leaves:
        if leaf is not None:
            _require_plain(leaf, "a part of `input_projection`, `recurrent_weights` or the state")
    root = StepModule(step, projected, structure, frozenset(i for i, leaf in enumerate(leaves) if leaf is None))
    n_inputs = len(pytree.tree_leaves(inputs))
    try:
        graph = _graph_of(root)
        _record_shapes(root, graph, leaves)
    except Exception as error:  # whatever a user's step raises when it is given proxies
        reason = failure(error, "tracing it")  # the first line, without what torch.fx adds
        raise UnsupportedStep(reason + _place(step, traceback.walk_tb(error.__traceback__))) from error
    _rehearse(root, graph, leaves, range(n_inputs if layered else 0, n_inputs + len(states)))
    return GraphBuilder(graph, n_inputs, len(states), HANDLERS, layered=layered).traced()


def _graph_of(root: StepModule) -> fx.Graph:
    """Trace; refuse random numbers: torch's would be drawn on, those of others drawn once for ever."""
    before, grad = python_random.states(), torch.is_grad_enabled()
    try:
        with guard.own_derivatives_refused(), guard.ValuesRefused():
            graph = _Tracer(root.step).trace(root)
        drawn = any(not torch.equal(state, before[name]) for name, state in python_random.states().items())
    finally:
        python_random.set_states(before)
        torch.set_grad_enabled(grad)  # a step that was refused had no time to
    if drawn:
        raise UnsupportedStep("it draws random numbers that are not torch's")
    for node in graph.nodes:
        if node.op in ("call_function", "call_method") and name_of(node) in guard.RANDOM:
            raise UnsupportedStep(f"it draws random numbers (`{name_of(node)}`)")
        if node.op == "call_method" and name_of(node) in ("item", "tolist"):
            raise UnsupportedStep(f"it needs a value while it is traced (`{name_of(node)}`)")
    return graph


def _rehearse(root: StepModule, graph: fx.Graph, leaves: list[Tensor | None], rows: range) -> None:
    """Check the trace against the step (`stablebench.engines.fused.rehearsal`).

    Args:
        root: Calls the step.
        graph: Its trace.
        leaves: Examples of the leaves.
        rows: Which of them have a row for each example: the states, and the inputs unless they are parameters.
    """
    generator = torch.Generator().manual_seed(0)
    examples = [example_like(x, generator) if i in rows else example_of(x) for i, x in enumerate(leaves)]

    def traced(of: Any) -> Any:
        return fx.Interpreter(root, graph=graph).run(of)

    try:
        check_against(root, traced, examples, [*root.parameters(), *root.buffers()])
    except Exception as error:  # whatever a user's step raises
        raise UnsupportedStep(failure(error, "calling it") + definition_of(root.step)) from error


class _Tracer(fx.Tracer):
    """Looks into submodules, and refuses tensors that are neither arguments nor parameters or buffers."""

    proxy_buffer_attributes = True

    def __init__(self, step: Callable[..., Any]) -> None:
        super().__init__()
        self.step = step
        self.surroundings = guard.surroundings()

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return False

    def create_arg(self, a: Any) -> Any:
        if isinstance(a, Tensor) and not any(a is t for t in [*self.root.parameters(), *self.root.buffers()]):
            raise UnsupportedStep("it uses a tensor that is no argument, parameter or buffer (it would be frozen)")
        return super().create_arg(a)

    def call_module(self, m: nn.Module, forward: Any, args: Any, kwargs: Any) -> Any:
        guard.refuse_hooks(m, self.path_of_module(m).removeprefix("model."))
        return super().call_module(m, forward, args, kwargs)

    def create_node(self, *args: Any, **kwargs: Any) -> fx.Node:
        guard.refuse_changed(self.surroundings)
        node = super().create_node(*args, **kwargs)
        outwards = list(traceback.walk_stack(sys._getframe()))
        node.meta["place"] = _place(self.step, reversed(outwards))
        return node


def _place(step: Callable[..., Any], lines: Iterable[tuple[types.FrameType, int]]) -> str:
    """Return `" (FILE:LINE)"` for the last of these lines in the file of `step`, or an empty string."""
    file = getattr(_code_of(step), "co_filename", None)
    there = [line for frame, line in lines if frame.f_code.co_filename == file]
    return f" ({Path(file).name}:{there[-1]})" if file is not None and there else ""


def definition_of(step: Callable[..., Any]) -> str:
    """Return `" (FILE:LINE)"` of where `step` begins, or an empty string."""
    code = _code_of(step)
    return "" if code is None else f" ({Path(code.co_filename).name}:{code.co_firstlineno})"


def _code_of(step: Callable[..., Any]) -> types.CodeType | None:
    """Return the code of `step`, or of what its model says that it calls in its place (`written_in`)."""
    written = getattr(getattr(step, "__self__", None), "written_in", step)
    return getattr(inspect.unwrap(written), "__code__", None)


class _ShapeRecorder(fx.Interpreter):
    def run_node(self, n: fx.Node) -> Any:
        result = super().run_node(n)
        if isinstance(result, Tensor):
            if not result.is_floating_point():
                raise UnsupportedStep(f"`{name_of(n)}` gives {result.dtype}")
            n.meta["shape"] = tuple(result.shape)
        return result

    def get_attr(self, target: Any, args: Any, kwargs: Any) -> Any:
        value = super().get_attr(target, args, kwargs)
        _require_plain(value, f"`{str(target).removeprefix('model.')}`")
        return _copy(value)


def _require_plain(value: Any, name: str) -> None:
    """Refuse a tensor of a class of its own, which may redefine any operation."""
    if type(value) not in (Tensor, nn.Parameter):
        raise UnsupportedStep(f"{name} is a {type(value).__name__}, not a plain tensor or parameter")


def _record_shapes(root: nn.Module, graph: fx.Graph, leaves: list[Tensor]) -> None:
    """Run one step: on device `meta` it would cost nothing, but import torch's compiler, which takes a second."""
    with torch.no_grad():
        _ShapeRecorder(root, graph=graph).run([None if leaf is None else _copy(leaf) for leaf in leaves])


def _copy(value: Tensor) -> Tensor:
    return value.detach().clone()
