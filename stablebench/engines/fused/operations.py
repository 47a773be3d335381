"""The operations that are done unit by unit: their C and Triton texts, and their derivative.

Derivatives are torch's, also where there is none: 0 at 0 for abs and relu, the slope for leaky_relu, half of the
adjoint each for the equal arguments of maximum and minimum, 0 for what is detached.
"""

from collections.abc import Callable
from dataclasses import dataclass

from stablebench.engines.fused.program import Expressions

Derivative = Callable[..., tuple["Value | None", ...]]
"""(adjoint, result, each argument) -> the adjoint of each argument, None where it is always zero."""


@dataclass(frozen=True)
class Value:
    """A value of a loop that derivatives compute with: each operation is one more instruction of the loop.

    Args:
        expressions: The loop's.
        position: Which instruction.
    """

    expressions: Expressions
    position: int

    @property
    def number(self) -> float:
        """The number of its instruction: the slope of a `leaky_relu`."""
        return self.expressions.instructions[self.position].number

    def apply(self, op: str, *others: "Value", number: float = 0.0) -> "Value":
        """Return op(this, others)."""
        positions = (self.position, *(other.position for other in others))
        return Value(self.expressions, self.expressions.apply(op, *positions, number=number))

    def __mul__(self, other: "Value") -> "Value":
        return self.apply("mul", other)

    def __rmul__(self, number: float) -> "Value":
        return Value(self.expressions, self.expressions.constant(number)) * self

    def __truediv__(self, other: "Value") -> "Value":
        return self.apply("div", other)

    def __neg__(self) -> "Value":
        return self.apply("neg")


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


def _leaky(g: Value, result: Value, x: Value) -> tuple[Value]:
    tested = result if result.number > 0 else x  # the result has the argument's sign, and is often at hand
    return (g.apply("leaky_relu_backward", tested, number=result.number),)


def _larger(g: Value, a: Value, b: Value) -> tuple[Value, Value]:
    """Return the adjoint times whether a > b, and whether b > a, half of it each where they are equal."""
    return g.apply("maximum_backward", a, b), g.apply("maximum_backward", b, a)


OPERATIONS: dict[str, Operation] = {
    "add": Operation("{0} + {1}", "{0} + {1}", lambda g, r, x, y: (g, g)),
    "sub": Operation("{0} - {1}", "{0} - {1}", lambda g, r, x, y: (g, -g)),
    "mul": Operation("{0} * {1}", "{0} * {1}", lambda g, r, x, y: (g * y, g * x)),
    "div": Operation("{0} / {1}", "{0} / {1}", lambda g, r, x, y: (g / y, -(g / y * r))),
    "neg": Operation("-{0}", "-{0}", lambda g, r, x: (-g,)),
    "abs": Operation("absolute({0})", "tl.abs({0})", lambda g, r, x: (g * x.apply("sign"),)),
    "sign": Operation("sign({0})", "tl.where({0} > 0, 1.0, tl.where({0} < 0, -1.0, 0.0))", lambda g, r, x: (None,)),
    "relu": Operation("relu({0})", "tl.where({0} <= 0, 0.0, {0})", lambda g, r, x: (g.apply("relu_backward", r),)),
    "leaky_relu": Operation("leaky_relu({0}, {number})", "tl.where({0} > 0, {0}, {0} * {number})", _leaky),
    "tanh": Operation("hyperbolic_tangent({0})", "tanh({0})", lambda g, r, x: (g.apply("tanh_backward", r),)),
    "sigmoid": Operation("sigmoid({0})", "sigmoid({0})", lambda g, r, x: (g.apply("sigmoid_backward", r),)),
    "exp": Operation("exponential({0})", "tl.exp({0})", lambda g, r, x: (g * r,)),
    "log": Operation("logarithm({0})", "tl.log({0})", lambda g, r, x: (g / x,)),
    "sqrt": Operation("square_root({0})", "tl.sqrt_rn({0})", lambda g, r, x: (g / (2 * r),)),
    "softplus": Operation("softplus({0})", "softplus({0})", lambda g, r, x: (g.apply("softplus_backward", x),)),
    "log_sigmoid": Operation("log_sigmoid({0})", "log_sigmoid({0})", lambda g, r, x: (g * (-x).apply("sigmoid"),)),
    "maximum": Operation(
        "({0} > {1} || {0} != {0} ? {0} : {1})",
        "tl.where(({0} > {1}) | ({0} != {0}), {0}, {1})",
        lambda g, r, x, y: _larger(g, x, y),
    ),
    "minimum": Operation(
        "({0} < {1} || {0} != {0} ? {0} : {1})",
        "tl.where(({0} < {1}) | ({0} != {0}), {0}, {1})",
        lambda g, r, x, y: _larger(g, y, x),
    ),
    "round": Operation("rounded({0})", "rounded({0})", lambda g, r, x: (None,)),
    "detach": Operation("{0}", "{0}", lambda g, r, x: (None,)),
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
