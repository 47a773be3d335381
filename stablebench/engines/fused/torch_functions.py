"""What torch's functions become in a step graph, by their names in the trace."""

from functools import partial
from typing import Any

from torch import fx

from stablebench.engines.fused.fx_calls import bind, require
from stablebench.engines.fused.graph_builder import GraphBuilder, Handler
from stablebench.engines.fused.step_graph import Node
from stablebench.engines.fused.traced_step import one_step

_UNARY = {name: name for name in ("neg", "abs", "sign", "tanh", "sigmoid", "exp", "log", "sqrt", "round", "detach")}
_UNARY |= {"negative": "neg", "absolute": "abs", "torch._C._nn.log_sigmoid": "log_sigmoid"}
_BINARY = {"add": "add", "sub": "sub", "subtract": "sub", "mul": "mul", "multiply": "mul", "truediv": "div"}
_BINARY |= {"div": "div", "divide": "div", "true_divide": "div", "maximum": "maximum", "minimum": "minimum"}
_LARGEST_POWER = 8


def _pointwise(op: str, names: tuple[str, ...], only: dict[str, Any], builder: GraphBuilder, node: fx.Node) -> Node:
    """Return the node of `op`, of the arguments `names`; others it may have with their defaults `only`."""
    arguments = bind(node, *names, **only)
    require(node, arguments[len(names) :] == list(only.values()))
    return builder.pointwise(node, op, arguments[: len(names)])


def _unchanged(builder: GraphBuilder, node: fx.Node) -> Any:
    return builder.operand(bind(node, "input")[0])


def _one_step(builder: GraphBuilder, node: fx.Node) -> Node:
    return builder.features(node, node.args[0])


def _matmul(builder: GraphBuilder, node: fx.Node) -> Node:
    return builder.matmul(node, *bind(node, "input", "other"))


def _linear(builder: GraphBuilder, node: fx.Node) -> Node:
    lhs, weight, bias = bind(node, "input", "weight", bias=None)
    require(node, isinstance(weight, fx.Node))
    product = builder.matmul(node, lhs, builder.transposed(node, weight))
    return product if bias is None else Node("add", (product, builder.operand(bias)), product.width)


def _addmm(builder: GraphBuilder, node: fx.Node) -> Node:
    added, lhs, matrix, beta, alpha = bind(node, "input", "mat1", "mat2", beta=1, alpha=1)
    require(node, beta == 1 and alpha == 1)
    product = builder.matmul(node, lhs, matrix)
    return Node("add", (product, builder.operand(added)), product.width)


def _leaky_relu(builder: GraphBuilder, node: fx.Node) -> Node:
    x, slope, inplace = bind(node, "input", negative_slope=0.01, inplace=False)
    require(node, not inplace and isinstance(slope, int | float))
    return builder.pointwise(node, "leaky_relu", [x], number=float(slope))


def _square(builder: GraphBuilder, node: fx.Node) -> Node:
    (x,) = bind(node, "input")
    return builder.pointwise(node, "mul", [x, x])


def _pow(builder: GraphBuilder, node: fx.Node) -> Node:
    x, exponent = bind(node, "input", "exponent")
    require(node, exponent in range(1, _LARGEST_POWER + 1) and isinstance(x, fx.Node))
    base = power = builder.operand(x)
    for _ in range(int(exponent) - 1):
        power = Node("mul", (power, base), builder.width(node))
    assert isinstance(power, Node)  # x is no plain number
    return power


def _is_features(x: Any, dim: Any) -> bool:
    return dim in (-1, len(x.meta["shape"]) - 1)


def _slice(whole: Node, start: int, width: int) -> Node:
    return Node("slice", (whole,), width, offset=start)


def _parts(whole: Node, size: Any) -> tuple[Node, ...]:
    sizes = list(size) if isinstance(size, list | tuple) else []
    while sum(sizes) < whole.width:
        sizes.append(min(size, whole.width - sum(sizes)))
    return tuple(_slice(whole, sum(sizes[:i]), width) for i, width in enumerate(sizes))


def _chunk(builder: GraphBuilder, node: fx.Node) -> tuple[Node, ...]:
    x, chunks, dim = bind(node, "input", "chunks", dim=0)
    whole = builder.features(node, x)
    require(node, _is_features(x, dim))
    return _parts(whole, -(-whole.width // chunks))


def _split(builder: GraphBuilder, node: fx.Node) -> tuple[Node, ...]:
    x, size, dim = bind(node, "tensor" if "tensor" in node.kwargs else "input", "split_size", dim=0)
    require(node, _is_features(x, dim))
    return _parts(builder.features(node, x), size)


def _narrow(builder: GraphBuilder, node: fx.Node) -> Node:
    x, dim, start, length = bind(node, "input", "dim", "start", "length")
    require(node, _is_features(x, dim) and start >= 0)
    return _slice(builder.features(node, x), start, length)


def _getitem(builder: GraphBuilder, node: fx.Node) -> Any:
    x, index = bind(node, "a", "b")
    if isinstance(builder.nodes[x], tuple):
        return builder.nodes[x][index]
    require(node, isinstance(index, tuple) and isinstance(index[-1], slice) and index[-1].step in (None, 1))
    all_else = [slice(None)] * (len(x.meta["shape"]) - 1)
    require(node, list(index[:-1]) in ([Ellipsis], all_else))
    whole = builder.features(node, x)
    start, stop, _ = index[-1].indices(whole.width)
    return _slice(whole, start, stop - start)


def _cat(builder: GraphBuilder, node: fx.Node) -> Node:
    parts, dim = bind(node, "tensors", dim=0)
    require(node, isinstance(parts, list | tuple) and _is_features(parts[0], dim))
    values = tuple(builder.operand(part) for part in parts)
    require(node, all(isinstance(v, Node) and v.op != "vector" for v in values))
    return Node("concatenate", values, builder.width(node))


HANDLERS: dict[str, Handler] = {
    **{name: partial(_pointwise, op, ("input",), {}) for name, op in _UNARY.items()},
    **{name: partial(_pointwise, op, ("input", "other"), {}) for name, op in _BINARY.items()},
    "relu": partial(_pointwise, "relu", ("input",), {"inplace": False}),
    "softplus": partial(_pointwise, "softplus", ("input",), {"beta": 1, "threshold": 20}),
    **dict.fromkeys(("clone", "contiguous"), _unchanged),
    **dict.fromkeys(("matmul", "mm"), _matmul),
    **dict.fromkeys(("cat", "concat", "concatenate"), _cat),
    f"{one_step.__module__}.{one_step.__name__}": _one_step,
    "linear": _linear,
    "addmm": _addmm,
    "leaky_relu": _leaky_relu,
    "square": _square,
    "pow": _pow,
    "chunk": _chunk,
    "split": _split,
    "narrow": _narrow,
    "getitem": _getitem,
}
"""The operations that a step may have, by their names (`fx_calls.name_of`)."""
