"""Arithmetic in cards: baselines and targets that depend on a task's parameters.

For example `S * log(alphabet) / (length + 2 * S)`.

Only numbers, the parameters' names, + - * / ** and the functions below are read; nothing is executed, and everything is
computed in floating point, so that no expression can take long.
"""

import ast
import math
import operator
from collections.abc import Callable, Mapping
from typing import Any

from stablebench.schema import chances

MAX_LENGTH = 200
_OPERATORS: dict[type, Callable[..., Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.Pow: operator.pow,
    ast.USub: operator.neg,
}


FUNCTIONS: dict[str, Callable[..., float]] = {
    "log": math.log,
    "exp": math.exp,
    "sqrt": math.sqrt,
    **{
        function.__name__: function
        for function in (
            chances.arithmetic_mode,
            chances.cycle_mode,
            chances.dyck_mode,
            chances.group_order,
            chances.kth_highest_mode,
            chances.nested_mode,
            chances.walk_returns,
        )
    },
}


def evaluate(expression: float | str, names: Mapping[str, Any]) -> float:
    """Return the value of an expression.

    Args:
        expression: A number, or arithmetic over `names`.
        names: Values of the names; those that are no numbers cannot be used.

    Raises:
        ValueError: The expression has a name, function or syntax that is not read here, or has no finite value.
    """
    if not isinstance(expression, str):
        return float(expression)
    if len(expression) > MAX_LENGTH:
        raise ValueError(f"an expression must have at most {MAX_LENGTH} characters, got {len(expression)}.")
    try:
        value = float(_value(ast.parse(expression, mode="eval").body, names))
    except SyntaxError:
        raise ValueError(f"`{expression}` is not arithmetic.") from None
    except (ArithmeticError, TypeError, RecursionError) as error:  # 1 / 0, log(1, 2), (-1) ** 0.5
        raise ValueError(f"`{expression}` cannot be computed: {error}.") from None
    if not math.isfinite(value):
        raise ValueError(f"`{expression}` must be finite, got {value}.")
    return value


def _value(node: ast.expr, names: Mapping[str, Any]) -> float:
    match node:
        case ast.Constant(value=bool()):
            pass
        case ast.Constant(value=int() | float() as value):
            return float(value)
        case ast.Name(id=name) if isinstance(names.get(name), (int, float)):
            return float(names[name])
        case ast.Name(id=name):
            raise ValueError(f"`{name}` is no numeric parameter of the task; there are {', '.join(names) or 'none'}.")
        case ast.UnaryOp(op=op, operand=operand) if type(op) in _OPERATORS:
            return _OPERATORS[type(op)](_value(operand, names))
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _OPERATORS:
            return _OPERATORS[type(op)](_value(left, names), _value(right, names))
        case ast.Call(func=ast.Name(id=name), args=args, keywords=[]) if name in FUNCTIONS:
            return FUNCTIONS[name](*(_argument(argument, names) for argument in args))
    raise ValueError(f"`{ast.unparse(node)}` is not read; use numbers, + - * / ** and {', '.join(FUNCTIONS)}.")


def _argument(node: ast.expr, names: Mapping[str, Any]) -> float | str:
    """Return the value of an argument: a number, or a parameter that is text."""
    if isinstance(node, ast.Name) and isinstance(names.get(node.id), str):
        return names[node.id]
    return _value(node, names)
