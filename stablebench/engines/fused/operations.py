"""The operations that are done unit by unit: their C and Triton texts, their torch function, and their derivative.

Derivatives are torch's, also where there is none: 0 at 0 for abs and relu, the slope for leaky_relu, half of the
adjoint each for the equal arguments of maximum and minimum, 0 for what is detached.
"""

import operator
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn import functional

from stablebench.engines.fused.program import Expressions

_aten = torch.ops.aten

Derivative = Callable[[Expressions, int, int, tuple[int, ...], float], tuple[int | None, ...]]
"""(expressions, adjoint, result, args, number) -> the adjoint of each argument, None where it is always zero."""


@dataclass(frozen=True)
class Operation:
    """An operation.

    Args:
        c: C text with the arguments as {0}, {1}, ... and the number as {number}.
        triton: The same in Triton, whose tensors hold all units of some rows.
        torch: The same of tensors; takes the number last where `numbered`.
        derivative: Adjoints of the arguments; None for operations that only backward loops contain.
        numbered: Whether it has a number.
    """

    c: str
    triton: str
    torch: Callable[..., Any]
    derivative: Derivative | None = None
    numbered: bool = False


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


def _maximum_backward(g: Any, x: Any, y: Any) -> Any:
    return torch.where(x == y, g / 2, g).masked_fill(x < y, 0)


def _square_root(e: Expressions, g: int, result: int, _: tuple[int, ...], __: float) -> tuple[int, ...]:
    return (e.apply("div", g, e.apply("mul", e.constant(2), result)),)


def _log_sigmoid(e: Expressions, g: int, _: int, args: tuple[int, ...], __: float) -> tuple[int, ...]:
    return (e.apply("mul", g, e.apply("sigmoid", e.apply("neg", args[0]))),)


OPERATIONS: dict[str, Operation] = {
    "add": Operation("{0} + {1}", "{0} + {1}", operator.add, lambda e, g, r, a, n: (g, g)),
    "sub": Operation("{0} - {1}", "{0} - {1}", operator.sub, lambda e, g, r, a, n: (g, e.apply("neg", g))),
    "mul": Operation("{0} * {1}", "{0} * {1}", operator.mul, _multiply),
    "div": Operation("{0} / {1}", "{0} / {1}", operator.truediv, _divide),
    "neg": Operation("-{0}", "-{0}", operator.neg, lambda e, g, r, a, n: (e.apply("neg", g),)),
    "abs": Operation("absolute({0})", "tl.abs({0})", torch.abs, _absolute),
    "sign": Operation(
        "sign({0})", "tl.where({0} > 0, 1.0, tl.where({0} < 0, -1.0, 0.0))", torch.sign, lambda e, g, r, a, n: (None,)
    ),
    "relu": Operation(
        "relu({0})",
        "tl.where({0} <= 0, 0.0, {0})",
        torch.relu,
        lambda e, g, r, a, n: (e.apply("relu_backward", g, r),),
    ),
    "leaky_relu": Operation(
        "leaky_relu({0}, {number})",
        "tl.where({0} > 0, {0}, {0} * {number})",
        functional.leaky_relu,
        derivative=_leaky,
        numbered=True,
    ),
    "tanh": Operation(
        "hyperbolic_tangent({0})", "tanh({0})", torch.tanh, lambda e, g, r, a, n: (e.apply("tanh_backward", g, r),)
    ),
    "sigmoid": Operation(
        "sigmoid({0})", "sigmoid({0})", torch.sigmoid, lambda e, g, r, a, n: (e.apply("sigmoid_backward", g, r),)
    ),
    "exp": Operation("exponential({0})", "tl.exp({0})", torch.exp, lambda e, g, r, a, n: (e.apply("mul", g, r),)),
    "log": Operation("logarithm({0})", "tl.log({0})", torch.log, lambda e, g, r, a, n: (e.apply("div", g, a[0]),)),
    "sqrt": Operation("square_root({0})", "tl.sqrt_rn({0})", torch.sqrt, _square_root),
    "softplus": Operation(
        "softplus({0})",
        "softplus({0})",
        functional.softplus,
        lambda e, g, r, a, n: (e.apply("softplus_backward", g, a[0]),),
    ),
    "log_sigmoid": Operation("log_sigmoid({0})", "log_sigmoid({0})", functional.logsigmoid, _log_sigmoid),
    "maximum": Operation(
        "({0} > {1} || {0} != {0} ? {0} : {1})",
        "tl.where(({0} > {1}) | ({0} != {0}), {0}, {1})",
        torch.maximum,
        _maximum,
    ),
    "minimum": Operation(
        "({0} < {1} || {0} != {0} ? {0} : {1})",
        "tl.where(({0} < {1}) | ({0} != {0}), {0}, {1})",
        torch.minimum,
        _minimum,
    ),
    "round": Operation("rounded({0})", "rounded({0})", torch.round, lambda e, g, r, a, n: (None,)),
    "detach": Operation("{0}", "{0}", torch.detach, lambda e, g, r, a, n: (None,)),
    "relu_backward": Operation(
        "({1} <= 0 ? 0 : {0})", "tl.where({1} <= 0, 0.0, {0})", lambda g, r: _aten.threshold_backward(g, r, 0)
    ),
    "leaky_relu_backward": Operation(
        "({1} > 0 ? {0} : {0} * {number})",
        "tl.where({1} > 0, {0}, {0} * {number})",
        lambda g, x, n: _aten.leaky_relu_backward(g, x, n, False),
        numbered=True,
    ),
    "tanh_backward": Operation("{0} * (1 - {1} * {1})", "{0} * (1 - {1} * {1})", _aten.tanh_backward),
    "sigmoid_backward": Operation("{0} * (1 - {1}) * {1}", "{0} * (1 - {1}) * {1}", _aten.sigmoid_backward),
    "maximum_backward": Operation(
        "({1} < {2} ? 0 : {1} == {2} ? {0} / 2 : {0})",
        "tl.where({1} < {2}, 0.0, tl.where({1} == {2}, {0} * 0.5, {0}))",
        _maximum_backward,
    ),
    "softplus_backward": Operation(
        "({1} > 20 ? {0} : {0} * sigmoid({1}))",
        "tl.where({1} > 20, {0}, {0} * sigmoid({1}))",
        lambda g, x: _aten.softplus_backward(g, x, 1, 20),
    ),
}
