"""Turns the torch.fx graph of a step into a step graph: what depends on inputs and states becomes nodes."""

import math
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from torch import fx

from stablebench.engines.fused.fx_calls import name_of, unknown_operation
from stablebench.engines.fused.step_graph import Node, Operand, UnsupportedStep
from stablebench.engines.fused.traced_step import TracedStep

_PARAMETER_ONLY_OPS = frozenset(
    {"getattr", "t", "transpose", "matrix_exp", "diag", "unsqueeze", "squeeze", "expand", "expand_as", "reshape"}
    | {"view", "flatten", "stack", "unbind", "cos", "sin", "clamp", "tril", "triu"}
)
"""Allowed besides the operations of a step where the operands depend only on the parameters. None of them is random."""
_FROM_PARAMETERS, _FROM_INPUTS = 0, 1

Handler: TypeAlias = "Callable[[GraphBuilder, fx.Node], Any]"
"""Returns what an operation becomes: a node, or a tuple of nodes."""


class GraphBuilder:
    """Turns an fx graph into nodes, and collects what is computed outside the loop over time.

    Args:
        graph: The graph.
        inputs: How many leaves the inputs have.
        states: How many states there are.
        handlers: For each operation, by its name, what it becomes.
        layered: Whether the inputs are parameters that differ from step to step.
    """

    def __init__(
        self, graph: fx.Graph, inputs: int, states: int, handlers: Mapping[str, Handler], *, layered: bool
    ) -> None:
        self.graph = graph
        self.n_inputs, self.n_states, self.layered = inputs, states, layered
        self.handlers = handlers
        self.level: dict[fx.Node, int] = {}
        self.nodes: dict[fx.Node, Any] = {}
        self.leaf: dict[fx.Node, int] = {}
        self.matrices: list[fx.Node] = []
        self.vectors: list[fx.Node] = []

    def traced(self) -> TracedStep:
        """Return the step in pieces.

        Raises:
            UnsupportedStep: An operation, or its arguments, are not known.
        """
        new_states: tuple[Any, ...] = ()
        for node in self.graph.nodes:
            if node.op == "output":
                new_states = self._new_states(node.args[0])
            elif node.op != "placeholder":
                try:
                    self._visit(node)
                except UnsupportedStep as error:
                    raise UnsupportedStep(f"{error}{node.meta.get('place', '')}") from error
        operands = [*self.matrices, *self.vectors]
        once = fx.Graph()
        copies: dict[fx.Node, fx.Node] = {}
        for node in self.graph.nodes:
            if node.op == "placeholder" or self.level.get(node) == _FROM_PARAMETERS:
                copies[node] = once.node_copy(node, lambda n: copies[n])
        once.output([copies[node] for node in operands if node not in self.leaf])
        once.eliminate_dead_code()
        sources = tuple(self.leaf.get(node) for node in operands)
        by_step = tuple(self.layered and (source is None or source < self.n_inputs) for source in sources)
        leaves = self.n_inputs + self.n_states
        return TracedStep(new_states, once, sources, by_step, len(self.matrices), self.n_inputs, leaves)

    def _new_states(self, returned: Any) -> tuple[Node, ...]:
        if len(returned) != self.n_states:
            raise UnsupportedStep(f"it returns {len(returned)} states for {self.n_states}")
        states = tuple(self.nodes.get(node) if isinstance(node, fx.Node) else None for node in returned)
        if not all(isinstance(state, Node) for state in states):
            raise UnsupportedStep("it returns a state that depends on neither state nor drive")
        return states  # pyright: ignore[reportReturnType]

    def _visit(self, node: fx.Node) -> None:
        name = name_of(node)
        if name == "getitem" and isinstance(node.args[0], fx.Node) and node.args[0].op == "placeholder":
            self._visit_leaf(node)
            return
        if node.op == "call_method" and name.endswith("_"):
            raise UnsupportedStep(f"`{name}` changes a tensor in place")
        self.level[node] = max((self.level[a] for a in node.all_input_nodes), default=_FROM_PARAMETERS)
        handler = self.handlers.get(name)
        if self.level[node] == _FROM_PARAMETERS:
            if node.op != "get_attr" and handler is None and name not in _PARAMETER_ONLY_OPS:
                raise unknown_operation(node)
            return
        if handler is None:
            raise unknown_operation(node)
        self.nodes[node] = handler(self, node)

    def _visit_leaf(self, node: fx.Node) -> None:
        index: Any = node.args[1]
        self.leaf[node] = index
        if index >= self.n_inputs + self.n_states or (self.layered and index < self.n_inputs):
            self.level[node] = _FROM_PARAMETERS
            return
        self.level[node] = _FROM_INPUTS
        op, number = ("projection", index) if index < self.n_inputs else ("state", index - self.n_inputs)
        self.nodes[node] = Node(op, (), self.width(node), index=number)

    def pointwise(self, node: fx.Node, op: str, args: list[Any], number: float = 0.0) -> Node:
        """Return the node of an operation that is done unit by unit."""
        width = self.width(node)
        values = tuple(self.operand(arg) for arg in args)
        for value in values:
            if isinstance(value, Node) and value.width != width and value.op != "vector":
                raise UnsupportedStep(f"`{name_of(node)}` broadcasts {value.width} features to {width}")
        return Node(op, values, width, number=number)

    def width(self, node: fx.Node) -> int:
        """Return the features of (batch, features), or of (batch, 1, features) before `one_step`."""
        shape = node.meta["shape"]
        if len(shape) not in (2, 3):
            raise UnsupportedStep(f"`{name_of(node)}` gives shape {shape}, not (batch, features)")
        return shape[-1]

    def operand(self, arg: Any) -> Operand:
        """Return what an argument of an operation is: a number, a node, or a vector of parameters."""
        if isinstance(arg, int | float) and math.isfinite(arg):
            return float(arg)
        if not isinstance(arg, fx.Node):
            raise UnsupportedStep(f"{arg!r} is an operand")
        if self.level[arg] > _FROM_PARAMETERS:
            if not isinstance(self.nodes[arg], Node):
                raise UnsupportedStep(f"`{name_of(arg)}` is used as a whole")
            return self.nodes[arg]
        shape = arg.meta.get("shape")
        if shape is None or math.prod(shape) != (shape[-1] if shape else 1):
            raise UnsupportedStep(f"a value of shape {shape} stands where one per unit is expected")
        if arg not in self.vectors:
            self.vectors.append(arg)
        return Node("vector", (), shape[-1] if shape else 1, index=self.vectors.index(arg))

    def features(self, node: fx.Node, x: Any) -> Node:
        """Return an argument of an operation that is no plain number."""
        value = self.operand(x)
        if not isinstance(value, Node):
            raise UnsupportedStep(f"`{name_of(node)}` of a number")
        return value

    def matmul(self, node: fx.Node, lhs: Any, matrix: Any) -> Node:
        """Return the node of lhs @ matrix, where the matrix depends only on the parameters."""
        if not isinstance(matrix, fx.Node) or self.level[matrix] > _FROM_PARAMETERS:
            raise UnsupportedStep(f"`{name_of(node)}` has no matrix of parameters on its right")
        if len(matrix.meta["shape"]) != 2:
            raise UnsupportedStep(f"`{name_of(node)}` has a right side of shape {matrix.meta['shape']}")
        if matrix not in self.matrices:
            self.matrices.append(matrix)
        operand = self.features(node, lhs)
        return Node("matmul", (operand,), self.width(node), index=self.matrices.index(matrix))

    def transposed(self, node: fx.Node, weight: fx.Node) -> fx.Node:
        """Return a matrix of parameters transposed, computed before `node`."""
        with self.graph.inserting_before(node):
            matrix = self.graph.call_method("t", (weight,))
        matrix.meta["shape"] = weight.meta["shape"][::-1]
        self.level[matrix] = self.level[weight]
        return matrix
