"""Arithmetic in cards: baselines and targets that depend on a task's parameters.

For example `S * log(alphabet) / (length + 2 * S)`.

Only numbers, the parameters' names, + - * / ** and the functions below are read; nothing is executed, and everything is
computed in floating point, so that no expression can take long.
"""

import ast
import math
import operator
from collections.abc import Callable, Mapping
from itertools import pairwise
from typing import Any

MAX_LENGTH = 200
_MAX_TERMS = 100_000
_OPERATORS: dict[type, Callable[..., Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.Pow: operator.pow,
    ast.USub: operator.neg,
}


def kth_highest_mode(alphabet: float, k: float, length: float) -> float:
    """Return the probability of the likeliest k-th highest of `length` uniform draws from 0 ... alphabet - 1.

    P(k-th highest < v) is the probability that fewer than k draws reach v, a binomial sum.
    """
    n, top = int(length), int(k)
    if not 1 <= top <= n or alphabet < 1 or alphabet * top > _MAX_TERMS:
        raise ValueError(f"`kth_highest_mode` needs 1 <= k <= length and alphabet * k <= {_MAX_TERMS:,}.")

    def fewer_than_k(p: float) -> float:
        return sum(
            math.exp(
                math.lgamma(n + 1)  # the binomial coefficient in logarithms: at once, however large n
                - math.lgamma(i + 1)
                - math.lgamma(n - i + 1)
                + i * math.log(p)
                + (n - i) * math.log1p(-p)
            )
            for i in range(top)
        )

    between = [fewer_than_k((alphabet - v) / alphabet) for v in range(1, int(alphabet))]
    cumulative = [0.0, *between, 1.0]  # below 0, ..., below alphabet
    return max(b - a for a, b in pairwise(cumulative))


FUNCTIONS: dict[str, Callable[..., float]] = {
    "log": math.log,
    "exp": math.exp,
    "sqrt": math.sqrt,
    "kth_highest_mode": kth_highest_mode,
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
            return FUNCTIONS[name](*(_value(argument, names) for argument in args))
    raise ValueError(f"`{ast.unparse(node)}` is not read; use numbers, + - * / ** and {', '.join(FUNCTIONS)}.")
