"""Scores of guessing that have no short formula, as functions that expressions in cards may call.

Each is a probability that the task's generator decides; a test draws examples and compares.
"""

import math
from collections.abc import Mapping
from functools import cache
from itertools import pairwise, product

_MAX_TERMS = 100_000
_MAX_NESTED = 2000
"""Tokens of a nested expression whose values are counted, at most."""
_SETTLED = 1e-15


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


def cycle_mode(length: float, places: float) -> float:
    """Return the probability of the likeliest end of a walk of uniform moves 0, 1, -1 on a cycle.

    The transition matrix is circulant: its eigenvalues are (1 + 2 cos(2 pi j / places)) / 3.
    """
    n, size = int(length), _whole("cycle_mode", places)
    angles = [2 * math.pi * j / size for j in range(size)]
    powers = [((1 + 2 * math.cos(a)) / 3) ** n for a in angles]
    return max(
        sum(p * math.cos(a * place) for a, p in zip(angles, powers, strict=True)) / size for place in range(size)
    )


@cache
def arithmetic_mode(length: float, modulus: float) -> float:
    """Return the probability of the likeliest value of an expression of ceil(length / 2) numbers, products first.

    The values of the finished terms and of the last term are a Markov chain over the numbers.
    """
    m, signs = _whole("arithmetic_mode", modulus), (int(length) + 1) // 2 - 1
    states: dict[tuple[int, ...], float] = {(0, term): 1 / m for term in range(m)}
    values = _values(states, m)
    for _ in range(signs):
        after = dict.fromkeys(product(range(m), repeat=2), 0.0)
        for (total, term), p in states.items():
            for number in range(m):
                share = p / (3 * m)
                after[(total + term) % m, number] += share  # +
                after[(total + term) % m, -number % m] += share  # -
                after[total, term * number % m] += share  # *
        states, before, values = after, values, _values(after, m)
        if max(abs(a - b) for a, b in zip(before, values, strict=True)) < _SETTLED:
            break
    return max(values)


def _values(states: Mapping[tuple[int, ...], float], m: int) -> list[float]:
    return [sum(p for (total, term), p in states.items() if (total + term) % m == value) for value in range(m)]


def nested_mode(length: float, modulus: float, signs: float) -> float:
    """Return the probability of the likeliest value of a nested expression with its =, of the first of + - *."""
    n, m, count = int(length) - 1, _whole("nested_mode", modulus), int(signs)
    if not 1 <= n <= _MAX_NESTED or not 1 <= count <= 3:
        raise ValueError(f"`nested_mode` needs 2 <= length <= {_MAX_NESTED + 1} and 1 to 3 signs.")
    return max(_nested_values(n, m, count)[-1])


@cache
def _nested_values(n: int, m: int, signs: int) -> list[list[float]]:
    """Return the distribution of values of expressions of 1 ... n tokens."""
    of: list[list[float]] = [[1 / m] * m for _ in range(min(n, 4))]
    for tokens in range(5, n + 1):
        pairs = [(of[left - 1], of[tokens - 4 - left]) for left in range(1, tokens - 3)]
        values = [0.0] * m
        for a, b in product(range(m), repeat=2):
            share = sum(left[a] * right[b] for left, right in pairs) / (len(pairs) * signs)
            for value in (a + b, a - b, a * b)[:signs]:
                values[value % m] += share
        of.append(values)
    return of


def walk_returns(length: float) -> float:
    """Return the expected number of visits to 0 of a walk of steps +1 and -1, from step 0 to step `length`.

    The sum of C(s, s / 2) / 2^s over even s up to 2 m is (2 m + 1) C(2 m, m) / 4^m.
    """
    if length < 0:
        return 0.0
    m = int(length) // 2
    return (2 * m + 1) * math.exp(math.lgamma(2 * m + 1) - 2 * math.lgamma(m + 1) - 2 * m * math.log(2))


def dyck_mode(length: float, kinds: float) -> float:
    """Return the share of the likeliest answer after closing brackets: none is open, or one of the kinds.

    The depth is a walk reflected at 0, which is at 0 as often as a walk that is not reflected. From every other depth
    half of the steps close, and each arrival at 0 is one that closed.
    """
    n, count = int(length), _whole("dyck_mode", kinds)
    closing = (n - walk_returns(n - 1)) / 2
    if closing <= 0:
        raise ValueError("`dyck_mode` needs length >= 2: a first bracket closes nothing.")
    none = (walk_returns(n) - 1) / closing
    return max(none, (1 - none) / count)


def group_order(group: object) -> float:
    """Return the number of elements of a group named as Z60, S3, A5 or A4xZ5."""
    return float(math.prod(_factor_order(factor) for factor in str(group).split("x")))


def _factor_order(name: str) -> int:
    n = int(name[1:])
    return n if name[0] == "Z" else math.factorial(n) if name[0] == "S" else max(math.factorial(n) // 2, 1)


def _whole(function: str, value: float) -> int:
    if value != int(value) or not 1 <= value <= _MAX_TERMS:
        raise ValueError(f"`{function}` needs a whole number from 1 to {_MAX_TERMS:,}, got {value}.")
    return int(value)
