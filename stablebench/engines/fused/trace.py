"""Traces `step`, and `input_projection` with it where that can be done, with torch.fx.

What depends on the parameters alone is done once per forward pass and is left to torch and autograd
(`Traced.evaluate`). What depends on inputs and states becomes `Node`s.
"""

import inspect
import math
import operator
import random
import sys
import traceback
import types
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy
import torch
from torch import Tensor, fx, nn
from torch.nn import functional
from torch.utils import _pytree as pytree

from stablebench.engines.fused import guard
from stablebench.engines.fused.rehearsal import example_like, example_of, hold_against
from stablebench.engines.fused.step_graph import Node, Operand, UnsupportedStepError
from stablebench.errors import first_line

_BINARY = {"add": "add", "sub": "sub", "subtract": "sub", "mul": "mul", "multiply": "mul", "truediv": "div"}
_BINARY |= {"div": "div", "divide": "div", "true_divide": "div", "maximum": "maximum", "minimum": "minimum"}
_UNARY = {name: name for name in ("neg", "abs", "sign", "tanh", "sigmoid", "exp", "log", "sqrt", "round", "detach")}
_UNARY |= {"negative": "neg", "absolute": "abs", "torch._C._nn.log_sigmoid": "log_sigmoid"}
_UNCHANGED = {"clone", "contiguous"}
_LARGEST_POWER = 8
_ONCE = {"getattr", "t", "transpose", "matrix_exp", "diag", "unsqueeze", "squeeze", "expand", "expand_as", "reshape"}
_ONCE |= {"view", "flatten", "stack", "unbind", "cos", "sin", "clamp", "tril", "triu"}
"""Done besides the operations of a step with what depends on the parameters alone. None of them is random."""
_FROM_PARAMETERS, _FROM_INPUTS = 0, 1


@dataclass(frozen=True)
class Traced:
    """A step in pieces.

    Args:
        states: The new states.
        graph: Computes matrices and vectors from the leaves of (inputs, states, transition).
        sources: For each matrix and then each vector the leaf that it is, or None where it is computed.
        by_step: For each of them whether it differs from step to step.
        matrices: How many matrices there are.
        inputs: How many leaves the inputs have.
        leaves: How many leaves there are before those of the transition.
    """

    states: tuple[Node, ...]
    graph: fx.Graph
    sources: tuple[int | None, ...]
    by_step: tuple[bool, ...]
    matrices: int
    inputs: int
    leaves: int

    @property
    def by_step_names(self) -> frozenset[str]:
        """What differs from step to step, as `Program.by_step` names it."""
        matrices = enumerate(self.by_step[: self.matrices])
        vectors = enumerate(self.by_step[self.matrices :])
        return frozenset({f"matrix{k}" for k, b in matrices if b} | {f"vector{k}" for k, b in vectors if b})

    def evaluate(
        self, step: Callable[..., Any], recurrent_weights: Any, layers: Any = None
    ) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
        """Return the matrices, each (inner, columns), and the vectors, each (any,), under autograd.

        Those that differ from step to step have the steps in front.

        Args:
            step: What was traced.
            recurrent_weights: What `recurrent_weights()` returned.
            layers: What differs from step to step, (steps, ...) each, where the inputs do.
        """
        of_each_step: list[Any] = [None] * self.inputs if layers is None else pytree.tree_leaves(layers)
        rest: list[Any] = [None] * (self.leaves - self.inputs) + pytree.tree_leaves(recurrent_weights)
        root = _Root(step)

        def compute(*of_one_step: Any) -> tuple[Tensor, ...]:
            return tuple(fx.Interpreter(root, graph=self.graph).run([*of_one_step, *rest]))

        computed: Iterator[Tensor] = iter(())
        if None in self.sources:
            computed = iter((compute if layers is None else torch.vmap(compute))(*of_each_step))
        leaves = [*of_each_step, *rest]
        found = [next(computed) if source is None else leaves[source] for source in self.sources]
        vectors = zip(found[self.matrices :], self.by_step[self.matrices :], strict=True)
        return tuple(found[: self.matrices]), tuple(v.reshape(*v.shape[:b], -1) for v, b in vectors)


def trace(
    step: Callable[..., Any],
    inputs: Any,
    states: tuple[Tensor, ...],
    recurrent_weights: Any,
    projected: Callable[..., Any] | None = None,
    *,
    layered: bool = False,
) -> Traced:
    """Trace one step.

    Args:
        step: `RecurrentModel.step` of a model, or a function like it.
        inputs: The drive of one step, each (batch, any); with `input_projection` what it takes, (batch, 1, in);
            where `layered` the parameters of one layer, of any shape.
        states: The states, each (batch, size).
        recurrent_weights: What `recurrent_weights()` returned.
        projected: `RecurrentModel.drive`, to be traced together with the step.
        layered: Whether the inputs are parameters that differ from step to step.

    Raises:
        NotPlannable: The step does something that no engine but the reference knows.
    """
    leaves, structure = pytree.tree_flatten((inputs, states, recurrent_weights))
    if not all(leaf is None or isinstance(leaf, Tensor) for leaf in leaves):
        raise UnsupportedStepError("`input_projection` or `recurrent_weights` has parts that are no tensors")
    for leaf in leaves:
        if leaf is not None:
            _require_plain(leaf, "a part of `input_projection`, `recurrent_weights` or the state")
    root = _Root(step, projected, structure, frozenset(i for i, leaf in enumerate(leaves) if leaf is None))
    n_inputs = len(pytree.tree_leaves(inputs))
    try:
        graph = _graph_of(root)
        _record_shapes(root, graph, leaves)
    except Exception as error:  # whatever a user's step raises when it is given proxies
        reason = first_line(error)  # without what torch.fx adds
        if not isinstance(error, UnsupportedStepError):
            reason = f"tracing it failed with {type(error).__name__}: {reason}"
        raise UnsupportedStepError(reason + _place(step, traceback.walk_tb(error.__traceback__))) from error
    _rehearse(root, graph, leaves, range(n_inputs if layered else 0, n_inputs + len(states)))
    return _Sorter(graph, n_inputs, len(states), layered).traced()


def _graph_of(root: "_Root") -> fx.Graph:
    """Trace; refuse random numbers: torch's would be drawn on, those of others drawn once for ever."""
    before, legacy = random.getstate(), numpy.random.get_state()  # noqa: NPY002 - what a step may draw from
    grad = torch.is_grad_enabled()
    try:
        with guard.own_derivatives_refused(), guard.ValuesRefused():
            graph = _Tracer(root.step).trace(root)
        drawn = random.getstate() != before or not _equal(legacy, numpy.random.get_state())  # noqa: NPY002
    finally:
        random.setstate(before)
        numpy.random.set_state(legacy)  # noqa: NPY002
        torch.set_grad_enabled(grad)  # a step that was refused had no time to
    if drawn:
        raise UnsupportedStepError("it draws random numbers that are not torch's")
    for node in graph.nodes:
        if node.op in ("call_function", "call_method") and _name(node) in guard.RANDOM:
            raise UnsupportedStepError(f"it draws random numbers (`{_name(node)}`)")
        if node.op == "call_method" and _name(node) in ("item", "tolist"):
            raise UnsupportedStepError(f"it needs a value while it is traced (`{_name(node)}`)")
    return graph


def _rehearse(root: "_Root", graph: fx.Graph, leaves: list[Tensor | None], rows: range) -> None:
    """Hold the trace against the step (`stablebench.engines.fused.rehearsal`).

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
        hold_against(root, traced, examples, [*root.parameters(), *root.buffers()])
    except Exception as error:  # whatever a user's step raises
        reason = first_line(error)
        if not isinstance(error, UnsupportedStepError):
            reason = f"calling it failed with {type(error).__name__}: {reason}"
        raise UnsupportedStepError(reason + definition_of(root.step)) from error


def _equal(a: Any, b: Any) -> bool:
    """Whether two states of numpy's global generator are equal."""
    return all(numpy.array_equal(x, y) for x, y in zip(a, b, strict=True))


def _one_step(projected: Tensor) -> Tensor:
    """Return the only time step of (batch, 1, features), as an engine does, which forbids to change it in place."""
    return projected.unbind(1)[0]


class _Root(nn.Module):
    """Calls `step` with its arguments as one list, so that a trace sees each leaf once."""

    def __init__(
        self,
        step: Callable[..., Any],
        projected: Callable[..., Any] | None = None,
        structure: Any = None,
        absent: frozenset[int] = frozenset(),
    ) -> None:
        super().__init__()
        owner = getattr(step, "__self__", None)
        self.model = owner if isinstance(owner, nn.Module) else None
        self.step, self.input_projection = step, projected
        self.structure, self.absent = structure, absent

    def forward(self, leaves: Any) -> Any:
        each = [None if i in self.absent else leaves[i] for i in range(self.structure.num_leaves)]
        inputs, states, recurrent_weights = pytree.tree_unflatten(each, self.structure)
        if self.input_projection is not None:
            inputs = pytree.tree_map(self._at_one_step, self.input_projection(inputs))
        return tuple(self.step(inputs, states, recurrent_weights))

    @staticmethod
    def _at_one_step(projected: Any) -> Any:
        if isinstance(projected, Tensor):
            return _one_step(projected)
        if not isinstance(projected, fx.Proxy):
            raise UnsupportedStepError("`input_projection` returns something that does not depend on the inputs")
        return projected.tracer.create_proxy("call_function", _one_step, (projected,), {})


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
            raise UnsupportedStepError("it uses a tensor that is no argument, parameter or buffer (it would be frozen)")
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
    file = getattr(getattr(inspect.unwrap(step), "__code__", None), "co_filename", None)
    there = [line for frame, line in lines if frame.f_code.co_filename == file]
    return f" ({Path(file).name}:{there[-1]})" if file is not None and there else ""


def definition_of(step: Callable[..., Any]) -> str:
    """Return `" (FILE:LINE)"` of where `step` begins, or an empty string."""
    code = getattr(inspect.unwrap(step), "__code__", None)
    return "" if code is None else f" ({Path(code.co_filename).name}:{code.co_firstlineno})"


class _ShapeRecorder(fx.Interpreter):
    def run_node(self, n: fx.Node) -> Any:
        result = super().run_node(n)
        if isinstance(result, Tensor):
            if not result.is_floating_point():
                raise UnsupportedStepError(f"`{_name(n)}` gives {result.dtype}")
            n.meta["shape"] = tuple(result.shape)
        return result

    def get_attr(self, target: Any, args: Any, kwargs: Any) -> Any:
        value = super().get_attr(target, args, kwargs)
        _require_plain(value, f"`{str(target).removeprefix('model.')}`")
        return value.to("meta")


def _require_plain(value: Any, name: str) -> None:
    """Refuse a tensor of a class of its own, which may redefine any operation."""
    if type(value) not in (Tensor, nn.Parameter):
        raise UnsupportedStepError(f"{name} is a {type(value).__name__}, not a plain tensor or parameter")


def _record_shapes(root: nn.Module, graph: fx.Graph, leaves: list[Tensor]) -> None:
    with torch.no_grad():
        _ShapeRecorder(root, graph=graph).run([None if leaf is None else leaf.detach().to("meta") for leaf in leaves])


def _name(node: fx.Node) -> str:
    """Return an operation's name; one from elsewhere than torch has its module in front."""
    if isinstance(node.target, str):
        return node.target
    name = getattr(node.target, "__name__", str(node.target))
    if any(getattr(where, name, None) is node.target for where in (torch, functional, operator)) or name == "getattr":
        return name
    return f"{getattr(node.target, '__module__', '')}.{name}"


def _bind(node: fx.Node, *names: str, **defaults: Any) -> list[Any]:
    """Return an operation's arguments in the order of `names` and `defaults`; refuse all others."""
    bound = dict(zip([*names, *defaults], node.args, strict=False)) | node.kwargs
    unknown = set(bound) - {*names, *defaults}
    if unknown or len(node.args) > len(names) + len(defaults) or set(names) - set(bound):
        raise UnsupportedStepError(f"`{_name(node)}` with {node.args[1:]} {dict(node.kwargs)}")
    return [bound[name] if name in bound else defaults[name] for name in [*names, *defaults]]


def _require(node: fx.Node, holds: bool) -> None:
    if not holds:
        raise UnsupportedStepError(f"`{_name(node)}` with {node.args[1:]} {dict(node.kwargs)}")


def _unknown(node: fx.Node) -> UnsupportedStepError:
    name = _name(node)
    return UnsupportedStepError(
        f"the attribute `{node.args[1]}` of a tensor is not known"
        if name == "getattr"
        else f"the operation `{name}` is not known"
    )


class _Sorter:
    """Turns an fx graph into nodes, and collects what is computed outside the loop over time."""

    def __init__(self, graph: fx.Graph, inputs: int, states: int, layered: bool) -> None:
        self.graph = graph
        self.n_inputs, self.n_states, self.layered = inputs, states, layered
        self.level: dict[fx.Node, int] = {}
        self.nodes: dict[fx.Node, Any] = {}
        self.leaf: dict[fx.Node, int] = {}
        self.matrices: list[fx.Node] = []
        self.vectors: list[fx.Node] = []

    def traced(self) -> Traced:
        new_states: tuple[Any, ...] = ()
        for node in self.graph.nodes:
            if node.op == "output":
                new_states = self._new_states(node.args[0])
            elif node.op != "placeholder":
                try:
                    self._visit(node)
                except UnsupportedStepError as error:
                    raise UnsupportedStepError(f"{error}{node.meta.get('place', '')}") from error
        found = [*self.matrices, *self.vectors]
        once = fx.Graph()
        copies: dict[fx.Node, fx.Node] = {}
        for node in self.graph.nodes:
            if node.op == "placeholder" or self.level.get(node) == _FROM_PARAMETERS:
                copies[node] = once.node_copy(node, lambda n: copies[n])
        once.output([copies[node] for node in found if node not in self.leaf])
        once.eliminate_dead_code()
        sources = tuple(self.leaf.get(node) for node in found)
        by_step = tuple(self.layered and (source is None or source < self.n_inputs) for source in sources)
        leaves = self.n_inputs + self.n_states
        return Traced(new_states, once, sources, by_step, len(self.matrices), self.n_inputs, leaves)

    def _new_states(self, returned: Any) -> tuple[Node, ...]:
        if len(returned) != self.n_states:
            raise UnsupportedStepError(f"it returns {len(returned)} states for {self.n_states}")
        states = tuple(self.nodes.get(node) if isinstance(node, fx.Node) else None for node in returned)
        if not all(isinstance(state, Node) for state in states):
            raise UnsupportedStepError("it returns a state that depends on neither state nor drive")
        return states  # pyright: ignore[reportReturnType]

    def _visit(self, node: fx.Node) -> None:
        name = _name(node)
        if name == "getitem" and isinstance(node.args[0], fx.Node) and node.args[0].op == "placeholder":
            self._leaf(node)
            return
        if node.op == "call_method" and name.endswith("_"):
            raise UnsupportedStepError(f"`{name}` changes a tensor in place")
        self.level[node] = max((self.level[a] for a in node.all_input_nodes), default=_FROM_PARAMETERS)
        handler = getattr(self, f"_on_{name}", None) if node.target is not _one_step else self._on_one_step
        known = name in _BINARY or name in _UNARY or name in _UNCHANGED or handler is not None
        if self.level[node] == _FROM_PARAMETERS:
            if node.op != "get_attr" and not known and name not in _ONCE:
                raise _unknown(node)
            return
        if not known:
            raise _unknown(node)
        if handler is not None:
            self.nodes[node] = handler(node)
        elif name in _UNCHANGED:
            self.nodes[node] = self._operand(_bind(node, "input")[0])
        elif name in _UNARY:
            self.nodes[node] = self._pointwise(node, _UNARY[name], _bind(node, "input"))
        else:
            self.nodes[node] = self._pointwise(node, _BINARY[name], _bind(node, "input", "other"))

    def _leaf(self, node: fx.Node) -> None:
        index: Any = node.args[1]
        self.leaf[node] = index
        if index >= self.n_inputs + self.n_states or (self.layered and index < self.n_inputs):
            self.level[node] = _FROM_PARAMETERS
            return
        self.level[node] = _FROM_INPUTS
        kind, number = ("drive", index) if index < self.n_inputs else ("state", index - self.n_inputs)
        self.nodes[node] = Node(kind, (), self._width(node), index=number)

    def _pointwise(self, node: fx.Node, op: str, args: list[Any], number: float = 0.0) -> Node:
        width = self._width(node)
        values = tuple(self._operand(arg) for arg in args)
        for value in values:
            if isinstance(value, Node) and value.width != width and value.op != "vector":
                raise UnsupportedStepError(f"`{_name(node)}` broadcasts {value.width} features to {width}")
        return Node(op, values, width, number=number)

    def _width(self, node: fx.Node) -> int:
        """Return the features of (batch, features), or of (batch, 1, features) before `_one_step`."""
        shape = node.meta["shape"]
        if len(shape) not in (2, 3):
            raise UnsupportedStepError(f"`{_name(node)}` gives shape {shape}, not (batch, features)")
        return shape[-1]

    def _is_features(self, x: Any, dim: Any) -> bool:
        return dim in (-1, len(x.meta["shape"]) - 1)

    def _operand(self, arg: Any) -> Operand:
        if isinstance(arg, int | float) and math.isfinite(arg):
            return float(arg)
        if not isinstance(arg, fx.Node):
            raise UnsupportedStepError(f"{arg!r} is an operand")
        if self.level[arg] > _FROM_PARAMETERS:
            if not isinstance(self.nodes[arg], Node):
                raise UnsupportedStepError(f"`{_name(arg)}` is used as a whole")
            return self.nodes[arg]
        shape = arg.meta.get("shape")
        if shape is None or math.prod(shape) != (shape[-1] if shape else 1):
            raise UnsupportedStepError(f"a value of shape {shape} stands where one per unit is expected")
        if arg not in self.vectors:
            self.vectors.append(arg)
        return Node("vector", (), shape[-1] if shape else 1, index=self.vectors.index(arg))

    def _product(self, node: fx.Node, left: Any, matrix: Any) -> Node:
        if not isinstance(matrix, fx.Node) or self.level[matrix] > _FROM_PARAMETERS:
            raise UnsupportedStepError(f"`{_name(node)}` has no matrix of parameters on its right")
        if len(matrix.meta["shape"]) != 2:
            raise UnsupportedStepError(f"`{_name(node)}` has a right side of shape {matrix.meta['shape']}")
        if matrix not in self.matrices:
            self.matrices.append(matrix)
        operand = self._features(node, left)
        return Node("product", (operand,), self._width(node), index=self.matrices.index(matrix))

    def _on_one_step(self, node: fx.Node) -> Node:
        return self._features(node, node.args[0])

    def _on_matmul(self, node: fx.Node) -> Node:
        return self._product(node, *_bind(node, "input", "other"))

    _on_mm = _on_matmul

    def _on_linear(self, node: fx.Node) -> Node:
        left, weight, bias = _bind(node, "input", "weight", bias=None)
        _require(node, isinstance(weight, fx.Node))
        with self.graph.inserting_before(node):
            matrix = self.graph.call_method("t", (weight,))
        matrix.meta["shape"] = weight.meta["shape"][::-1]
        self.level[matrix] = self.level[weight]
        product = self._product(node, left, matrix)
        return product if bias is None else Node("add", (product, self._operand(bias)), product.width)

    def _on_addmm(self, node: fx.Node) -> Node:
        added, left, matrix, beta, alpha = _bind(node, "input", "mat1", "mat2", beta=1, alpha=1)
        _require(node, beta == 1 and alpha == 1)
        product = self._product(node, left, matrix)
        return Node("add", (product, self._operand(added)), product.width)

    def _on_relu(self, node: fx.Node) -> Node:
        x, inplace = _bind(node, "input", inplace=False)
        _require(node, not inplace)
        return self._pointwise(node, "relu", [x])

    def _on_leaky_relu(self, node: fx.Node) -> Node:
        x, slope, inplace = _bind(node, "input", negative_slope=0.01, inplace=False)
        _require(node, not inplace and isinstance(slope, int | float))
        return self._pointwise(node, "leaky_relu", [x], number=float(slope))

    def _on_softplus(self, node: fx.Node) -> Node:
        x, beta, threshold = _bind(node, "input", beta=1, threshold=20)
        _require(node, beta == 1 and threshold == 20)
        return self._pointwise(node, "softplus", [x])

    def _on_square(self, node: fx.Node) -> Node:
        (x,) = _bind(node, "input")
        return self._pointwise(node, "mul", [x, x])

    def _on_pow(self, node: fx.Node) -> Node:
        x, exponent = _bind(node, "input", "exponent")
        _require(node, exponent in range(1, _LARGEST_POWER + 1) and isinstance(x, fx.Node))
        base = power = self._operand(x)
        for _ in range(int(exponent) - 1):
            power = Node("mul", (power, base), self._width(node))
        assert isinstance(power, Node)  # x is no plain number
        return power

    def _features(self, node: fx.Node, x: Any) -> Node:
        value = self._operand(x)
        if not isinstance(value, Node):
            raise UnsupportedStepError(f"`{_name(node)}` of a number")
        return value

    def _sliced(self, x: Node, start: int, width: int) -> Node:
        return Node("slice", (x,), width, offset=start)

    def _on_chunk(self, node: fx.Node) -> tuple[Node, ...]:
        x, chunks, dim = _bind(node, "input", "chunks", dim=0)
        whole = self._features(node, x)
        _require(node, self._is_features(x, dim))
        return self._split(whole, -(-whole.width // chunks))

    def _on_split(self, node: fx.Node) -> tuple[Node, ...]:
        x, size, dim = _bind(node, "tensor" if "tensor" in node.kwargs else "input", "split_size", dim=0)
        _require(node, self._is_features(x, dim))
        return self._split(self._features(node, x), size)

    def _split(self, whole: Node, size: Any) -> tuple[Node, ...]:
        sizes = list(size) if isinstance(size, list | tuple) else []
        while sum(sizes) < whole.width:
            sizes.append(min(size, whole.width - sum(sizes)))
        return tuple(self._sliced(whole, sum(sizes[:i]), width) for i, width in enumerate(sizes))

    def _on_narrow(self, node: fx.Node) -> Node:
        x, dim, start, length = _bind(node, "input", "dim", "start", "length")
        _require(node, self._is_features(x, dim) and start >= 0)
        return self._sliced(self._features(node, x), start, length)

    def _on_getitem(self, node: fx.Node) -> Any:
        x, index = _bind(node, "a", "b")
        if isinstance(self.nodes[x], tuple):
            return self.nodes[x][index]
        _require(node, isinstance(index, tuple) and isinstance(index[-1], slice) and index[-1].step in (None, 1))
        all_else = [slice(None)] * (len(x.meta["shape"]) - 1)
        _require(node, list(index[:-1]) in ([Ellipsis], all_else))
        whole = self._features(node, x)
        start, stop, _ = index[-1].indices(whole.width)
        return self._sliced(whole, start, stop - start)

    def _on_cat(self, node: fx.Node) -> Node:
        parts, dim = _bind(node, "tensors", dim=0)
        _require(node, isinstance(parts, list | tuple) and self._is_features(parts[0], dim))
        values = tuple(self._operand(part) for part in parts)
        _require(node, all(isinstance(v, Node) and v.op != "vector" for v in values))
        return Node("concatenate", values, self._width(node))

    _on_concat = _on_concatenate = _on_cat
