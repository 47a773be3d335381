"""Axes of the page's figures: where a value lies, and the ticks."""

import math
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Scale:
    """A linear or logarithmic axis.

    Args:
        low: Its lower end; on a logarithmic axis > 0.
        high: Its upper end, > low.
        log: Whether it is logarithmic.
    """

    low: float
    high: float
    log: bool = False

    def position(self, value: float) -> float:
        """Return where a value lies, 0 at the lower end and 1 at the upper, cut off at both."""
        low, high = self._inner(self.low), self._inner(self.high)
        here = low if self.log and value <= 0 else self._inner(value)
        return min(1.0, max(0.0, (here - low) / (high - low)))

    def ticks(self) -> list[tuple[float, str]]:
        """Return between two and about seven values on the axis, with their labels."""
        if not self.log:
            return [(t, _label(t)) for t in _round_values(self.low, self.high)]
        first, last = math.ceil(math.log10(self.low) - 1e-9), math.floor(math.log10(self.high) + 1e-9)
        if last - first < 1:
            inside = [m * 10.0**e for e in range(first - 1, last + 1) for m in (1, 2, 5)]
            ticks = [t for t in inside if self.low * (1 - 1e-9) <= t <= self.high * (1 + 1e-9)]
            return [(t, _label(t)) for t in (ticks if len(ticks) > 1 else _round_values(self.low, self.high))]
        every = -(-(last - first + 1) // 7)
        return [(10.0**e, _label(10.0**e)) for e in range(first, last + 1, every)]

    def _inner(self, value: float) -> float:
        return math.log10(value) if self.log else value


def scale_of(
    values: Iterable[float], log: bool = False, ends: tuple[float | None, float | None] = (None, None)
) -> Scale:
    """Return an axis that holds all values, with a little room where its ends are not given.

    Args:
        values: Finite numbers; those <= 0 are left out of a logarithmic axis.
        log: Whether it is logarithmic.
        ends: The ends where they are known.
    """
    held = [v for v in values if v > 0] if log else list(values)
    low = ends[0] if ends[0] is not None else min(held, default=0.1 if log else 0.0)
    high = ends[1] if ends[1] is not None else max(held, default=1.0)
    if log:
        factor = max((high / low) ** 0.04, 1.05)
        return Scale(low if ends[0] is not None else low / factor, high if ends[1] is not None else high * factor, True)
    room = 0.04 * (high - low) or 0.1 * (abs(high) or 1.0)
    return Scale(low if ends[0] is not None else low - room, high if ends[1] is not None else high + room)


def _round_values(low: float, high: float) -> list[float]:
    """Return multiples of 1, 2 or 5 times a power of ten between two numbers, three to seven of them."""
    raw = (high - low) / 6
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(m * power for m in (1, 2, 5, 10) if m * power >= raw * (1 - 1e-9))
    return [k * step for k in range(math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9) + 1)]


def _label(value: float) -> str:
    if value and not 1e-3 <= abs(value) < 1e6:
        return f"{value:.0e}".replace("e-0", "e-").replace("e+0", "e").replace("e+", "e")
    return f"{value:,.10g}" if abs(value) >= 10_000 else f"{value:.6g}"
