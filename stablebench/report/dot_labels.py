"""Where the names of a scatter plot's dots stand, so that none lies on another or on a dot."""

from collections.abc import Iterator, Sequence

Place = tuple[int, int, str]
"""x, y of the baseline and anchor (`start` or `end`) of a text, in coordinates of the drawing."""
_Box = tuple[float, float, float, float]
FONT = 22
"""Size of the names."""
_CHARACTER, _LINE, _GAP = 0.6 * FONT, FONT + 4, 16
"""Width that a character may take, height of a line, and from a dot's centre to its name."""
_LINES = 11
"""Lines above and below a dot at which its name may stand."""


def placed(dots: Sequence[tuple[int, int, str]], frame: tuple[int, int, int, int]) -> list[Place | None]:
    """Return where each name stands: next to its dot, or else on the nearest free line above or below.

    Args:
        dots: x, y and name.
        frame: Left, top, right and bottom end of where they may stand.

    Returns:
        None for a name for which there is no room.
    """
    taken: list[_Box] = [(x - 11, y - 11, x + 11, y + 11) for x, y, _ in dots]
    places: list[Place | None] = []
    for x, y, name in dots:
        free = None
        for place in _candidates(x, y, left=x > (frame[0] + frame[2]) / 2):
            box = _box(place, name)
            if _inside(box, frame) and not any(_overlap(box, other) for other in taken):
                free = place
                taken.append(box)
                break
        places.append(free)
    return places


def is_apart(y: int, place: Place) -> bool:
    """Return whether a name stands so far from its dot at height `y` that a line must lead to it."""
    return abs(place[1] - y - FONT // 3) > _LINE


def _candidates(x: int, y: int, left: bool) -> Iterator[Place]:
    for line in range(_LINES + 1):
        for below in (line, -line) if line else (0,):
            for end in (left, not left):
                yield (x - _GAP if end else x + _GAP), y + FONT // 3 + below * _LINE, "end" if end else "start"


def _box(place: Place, name: str) -> _Box:
    x, y, anchor = place
    width = _CHARACTER * len(name)
    left = x - width if anchor == "end" else x
    return left, y - FONT, left + width, y + 4


def _inside(box: _Box, frame: tuple[int, int, int, int]) -> bool:
    return box[0] >= frame[0] and box[1] >= frame[1] and box[2] <= frame[2] and box[3] <= frame[3]


def _overlap(a: _Box, b: _Box) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]
