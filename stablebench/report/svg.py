"""Figures of the page as SVG paths: axes, lines with bands, steps and dots, each on a linear and a logarithmic axis.

Coordinates are whole numbers of a view box of `WIDTH` x `HEIGHT`, half a pixel or less on a screen, and paths are
written relative, so that a page of a thousand curves stays small.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise

from stablebench.report.dot_labels import Place, is_apart, placed
from stablebench.report.figures.curves import Line
from stablebench.report.scale import Scale, scale_of

WIDTH, HEIGHT = 960, 640
_LEFT, _RIGHT, _TOP, _BOTTOM = 120, 24, 24, 92
_DOT = 9


@dataclass(frozen=True)
class Drawn:
    """A series as paths, in view-box coordinates.

    Args:
        name: The model.
        line: Its line, or its dots.
        band: Its band; empty for none.
        label_at: Where its name stands, where it is one dot and there is room.
        leader: A line from the dot to its name, where that is not next to it.
    """

    name: str
    line: str
    band: str
    label_at: Place | None = None
    leader: str = ""


@dataclass(frozen=True)
class Panel:
    """A figure on one kind of axis: ticks as (coordinate, label), series as paths, perhaps a part that is shaded."""

    kind: str
    x_ticks: list[tuple[int, str]]
    y_ticks: list[tuple[int, str]]
    series: list[Drawn]
    shade: str = ""


@dataclass(frozen=True)
class Figure:
    """A figure of the page.

    Args:
        key: Unique on the page; made of letters, digits and hyphens.
        title: What it shows.
        description: The same in a sentence or two, for those who do not see it.
        x_label: Of the axis.
        y_label: Of the axis.
        panels: The first is shown; a second is the other kind of axis.
        dots: Whether its points are single dots.
        table_columns: Headings of the numbers below it.
        table_rows: The numbers, texts.
    """

    key: str
    title: str
    description: str
    x_label: str
    y_label: str
    panels: list[Panel]
    dots: bool = False
    table_columns: list[str] = field(default_factory=list)
    table_rows: list[list[str]] = field(default_factory=list)


def panels_of(
    series: Sequence[Line],
    *,
    log_y: bool | None = False,
    log_x: bool = False,
    x_ends: tuple[float | None, float | None] = (None, None),
    y_ends: tuple[float | None, float | None] = (None, None),
    shaded: tuple[float, float] | None = None,
) -> list[Panel]:
    """Return the panels of a figure.

    Args:
        series: What to draw, at least one point in all.
        log_y: Which axis comes first; None for only a linear one. A logarithmic one needs a value > 0.
        log_x: Whether the horizontal axis is logarithmic, where all x are > 0.
        x_ends: Ends of the horizontal axis where they are known.
        y_ends: Ends of the linear vertical axis where they are known.
        shaded: Ends of a part of the horizontal axis with a grey ground.
    """
    xs = [x for s in series for x in s.x]
    ys = [y for s in series for y in (*s.y, *s.low, *s.high)]
    across = scale_of(xs, log_x and all(x > 0 for x in xs), x_ends)
    kinds = [False] if log_y is None or not any(y > 0 for y in ys) else [log_y, not log_y]
    panels = [_panel(series, across, scale_of(ys, log, (None, None) if log else y_ends)) for log in kinds]
    return panels if shaded is None else [replace(panel, shade=_shade(across, shaded)) for panel in panels]


def _shade(across: Scale, ends: tuple[float, float]) -> str:
    """Return the ground of a part of the horizontal axis, cut off at the ends of the figure."""
    left, right = (min(max(_column(across, end), _LEFT), WIDTH - _RIGHT) for end in ends)
    return f"M{left} {_TOP}H{right}V{HEIGHT - _BOTTOM}H{left}z" if right > left else ""


def _panel(series: Sequence[Line], across: Scale, up: Scale) -> Panel:
    return Panel(
        "log" if up.log else "linear",
        [(_column(across, value), label) for value, label in across.ticks()],
        [(_row(up, value), label) for value, label in up.ticks()],
        _labelled([_drawn(s, across, up) for s in series], series, across, up),
    )


def _labelled(drawn: list[Drawn], series: Sequence[Line], across: Scale, up: Scale) -> list[Drawn]:
    """Return the series with their names, where they are single dots."""
    if not all(s.dots and len(s.x) == 1 for s in series):
        return drawn
    dots = [(_column(across, s.x[0]), _row(up, s.y[0]), s.name) for s in series]
    places = placed(dots, (_LEFT + 4, 0, WIDTH, HEIGHT - _BOTTOM))
    return [
        replace(
            one, label_at=place, leader=f"M{x} {y}L{place[0]} {place[1] - 7}" if place and is_apart(y, place) else ""
        )
        for one, place, (x, y, _) in zip(drawn, places, dots, strict=True)
    ]


def _column(scale: Scale, value: float) -> int:
    return round(_LEFT + scale.position(value) * (WIDTH - _LEFT - _RIGHT))


def _row(scale: Scale, value: float) -> int:
    return round(HEIGHT - _BOTTOM - scale.position(value) * (HEIGHT - _TOP - _BOTTOM))


def _drawn(series: Line, across: Scale, up: Scale) -> Drawn:
    columns = [_column(across, x) for x in series.x]
    points = list(zip(columns, (_row(up, y) for y in series.y), strict=True))
    if series.dots:
        return Drawn(series.name, "".join(_dot(x, y) for x, y in points), "")
    if series.steps:
        points = [p for a, b in pairwise(points) for p in (a, (b[0], a[1]))] + points[-1:]
    line = _path(points) if len(points) > 1 else "".join(_dot(x, y) for x, y in points)
    band = ""
    if series.low and len(columns) > 1 and any(a != b for a, b in zip(series.low, series.high, strict=True)):
        upper = list(zip(columns, (_row(up, y) for y in series.high), strict=True))
        lower = list(zip(columns, (_row(up, y) for y in series.low), strict=True))
        band = _path([*upper, *reversed(lower)]) + "z"
    return Drawn(series.name, line, band)


def _path(points: Sequence[tuple[int, int]]) -> str:
    """Return a path, each point relative to the one before."""
    start, *_ = points
    text = ""
    for (a, b), (x, y) in pairwise(points):
        dx, dy = x - a, y - b  # a minus sign ends the number before it, so that no space is needed
        if not dx and not dy:
            continue
        text += ("" if dx < 0 or not text else " ") + str(dx) + ("" if dy < 0 else " ") + str(dy)
    return f"M{start[0]} {start[1]}l{text or '0 0'}"


def _dot(x: int, y: int) -> str:
    """Return a filled circle as a path."""
    return f"M{x - _DOT} {y}a{_DOT} {_DOT} 0 1 0 {2 * _DOT} 0a{_DOT} {_DOT} 0 1 0-{2 * _DOT} 0z"
