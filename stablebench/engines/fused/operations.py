"""The operations that are done unit by unit: their C and Triton texts, and their derivative.

Derivatives are torch's, also where there is none: 0 at 0 for abs and relu, the slope for leaky_relu, half of the
adjoint each for the equal arguments of maximum and minimum, 0 for what is detached.
"""

from collections.abc import Callable
from dataclasses import dataclass

from stablebench.engines.fused.program import Expressions

Derivative = Callable[[Expressions, int, int, tuple[int, ...], float], tuple[int | None, ...]]
"""(expressions, adjoint, result, args, number) -> the adjoint of each argument, None where it is always zero."""


@dataclass(frozen=True)
class Operation:
    """An operation.

    Args:
        c: C text with the arguments as {0}, {1}, ... and the number as {number}.
        triton: The same in Triton, whose tensors hold all units of some rows.
        derivative: Adjoints of the arguments; None for operations that only backward loops contain.
    """

    c: str
    triton: str
    derivative: Derivative | None = None


def _none(e: Expressions, g: int, _: int, args: tuple[int, ...], __: float) -> tuple[None]:
    return (None,)


def _by_result(op: str) -> Derivative:
    """Return the derivative op(adjoint, result)."""
    return lambda e, g, result, args, number: (e.apply(op, g, result),)


def _by_argument(op: str) -> Derivative:
    """Return the derivative op(adjoint, argument)."""
    return lambda e, g, result, args, number: (e.apply(op, g, args[0]),)


def _multiply(e: Expressions, g: int, _: int, args: tuple[int, ...], __: float) -> tuple[int, ...]:
    return e.apply("mul", g, args[1]), e.apply("mul", g, args[0])


def _divide(e: Expressions, g: int, result: int, args: tuple[int, ...], _: float) -> tuple[int, ...]:
    by_numerator = e.apply("div", g, args[1])
    return by_numerator, e.apply("neg", e.apply("mul", by_numerator, result))


def _absolute(e: Expressions, g: int, _: int, args: tuple[int, ...], __: float) -> tuple[int, ...]:
    return (e.apply("mul", g, e.apply("sign", args[0])),)


def _leaky(e: Expressions, g: int, result: int, args: tuple[int, ...], slope: float) -> tuple[int, ...]:
    tested = result if slope > 0 else args[0]  # of the argument's sign, and often at hand
    return (e.apply("leaky_relu_backward", g, tested, number=slope),)


def _maximum(e: Expressions, g: int, _: int, args: tuple[int, ...], __: float) -> tuple[int, ...]:
    x, y = args
    return e.apply("maximum_backward", g, x, y), e.apply("maximum_backward", g, y, x)


def _minimum(e: Expressions, g: int, _: int, args: tuple[int, ...], __: float) -> tuple[int, ...]:
    x, y = args
    return e.apply("maximum_backward", g, y, x), e.apply("maximum_backward", g, x, y)


def _square_root(e: Expressions, g: int, result: int, _: tuple[int, ...], __: float) -> tuple[int, ...]:
    return (e.apply("div", g, e.apply("mul", e.constant(2), result)),)


def _log_sigmoid(e: Expressions, g: int, _: int, args: tuple[int, ...], __: float) -> tuple[int, ...]:
    return (e.apply("mul", g, e.apply("sigmoid", e.apply("neg", args[0]))),)


OPERATIONS: dict[str, Operation] = {
    "add": Operation("{0} + {1}", "{0} + {1}", lambda e, g, r, a, n: (g, g)),
    "sub": Operation("{0} - {1}", "{0} - {1}", lambda e, g, r, a, n: (g, e.apply("neg", g))),
    "mul": Operation("{0} * {1}", "{0} * {1}", _multiply),
    "div": Operation("{0} / {1}", "{0} / {1}", _divide),
    "neg": Operation("-{0}", "-{0}", lambda e, g, r, a, n: (e.apply("neg", g),)),
    "abs": Operation("absolute({0})", "tl.abs({0})", _absolute),
    "sign": Operation("sign({0})", "tl.where({0} > 0, 1.0, tl.where({0} < 0, -1.0, 0.0))", _none),
    "relu": Operation("relu({0})", "tl.where({0} <= 0, 0.0, {0})", _by_result("relu_backward")),
    "leaky_relu": Operation("leaky_relu({0}, {number})", "tl.where({0} > 0, {0}, {0} * {number})", _leaky),
    "tanh": Operation("hyperbolic_tangent({0})", "tanh({0})", _by_result("tanh_backward")),
    "sigmoid": Operation("sigmoid({0})", "sigmoid({0})", _by_result("sigmoid_backward")),
    "exp": Operation("exponential({0})", "tl.exp({0})", _by_result("mul")),
    "log": Operation("logarithm({0})", "tl.log({0})", _by_argument("div")),
    "sqrt": Operation("square_root({0})", "tl.sqrt_rn({0})", _square_root),
    "softplus": Operation("softplus({0})", "softplus({0})", _by_argument("softplus_backward")),
    "log_sigmoid": Operation("log_sigmoid({0})", "log_sigmoid({0})", _log_sigmoid),
    "maximum": Operation(
        "({0} > {1} || {0} != {0} ? {0} : {1})", "tl.where(({0} > {1}) | ({0} != {0}), {0}, {1})", _maximum
    ),
    "minimum": Operation(
        "({0} < {1} || {0} != {0} ? {0} : {1})", "tl.where(({0} < {1}) | ({0} != {0}), {0}, {1})", _minimum
    ),
    "round": Operation("rounded({0})", "rounded({0})", _none),
    "detach": Operation("{0}", "{0}", _none),
    "relu_backward": Operation("({1} <= 0 ? 0 : {0})", "tl.where({1} <= 0, 0.0, {0})"),
    "leaky_relu_backward": Operation("({1} > 0 ? {0} : {0} * {number})", "tl.where({1} > 0, {0}, {0} * {number})"),
    "tanh_backward": Operation("{0} * (1 - {1} * {1})", "{0} * (1 - {1} * {1})"),
    "sigmoid_backward": Operation("{0} * (1 - {1}) * {1}", "{0} * (1 - {1}) * {1}"),
    "maximum_backward": Operation(
        "({1} < {2} ? 0 : {1} == {2} ? {0} / 2 : {0})",
        "tl.where({1} < {2}, 0.0, tl.where({1} == {2}, {0} * 0.5, {0}))",
    ),
    "softplus_backward": Operation(
        "({1} > 20 ? {0} : {0} * sigmoid({1}))", "tl.where({1} > 20, {0}, {0} * sigmoid({1}))"
    ),
}
