"""The one palette: which colour and dashes the lines of a model have, on the page and in every figure alike.

A look is a number: colours change fastest, so that the first nine differ in colour, and neighbours in dashes as well.
A registered model has the look of its place in `_FIRST` or, behind these, in the alphabet. Any other name - a model of
your own, one of several settings of a model - has one that no other line of the figure has, of an unused colour where
there is one.

The colours were searched for the largest smallest distance in Oklab, as seen with full colour vision and, by the
simulation of Machado, Oliveira and Fernandes (2009), without one of the three kinds of cones. Each has a contrast of
at least 3 to 1 to its ground; those for a dark ground have about the hues of those for a light one.
"""

import re
from collections.abc import Iterable
from zlib import crc32

from stablebench.models.registry import model_names

LIGHT = ("#0000c3", "#c37800", "#000000", "#1e96d2", "#a50f78", "#ff1e96", "#695a00", "#7d1128", "#783cff")
"""Colours on a white ground, in print and in figures."""
DARK = ("#5a69e1", "#f0c396", "#ffffff", "#1ed2ff", "#f078a5", "#a55a96", "#a5b41e", "#e12d3c", "#7896ff")
"""The same colours on a dark ground."""
DASHES = (
    *((), (4.5, 2.0), (1.3, 1.7), (6.0, 1.8, 1.3, 1.8), (9.0, 2.5), (4.5, 1.6, 1.3, 1.6, 1.3, 1.6)),
    *((2.6, 1.4), (9.0, 1.8, 3.0, 1.8), (1.3, 1.4, 1.3, 4.0)),
)
"""Lengths of dashes and gaps in widths of the line; none for a solid one."""
COUNT = len(LIGHT) * len(DASHES)
"""Different looks."""
_FIRST = (
    *("roarnn", "lstm", "rnn", "exprnn", "eyernn", "dizzy", "nnrnn", "cornn", "urnn"),
    *("roafnn", "mlp", "highway", "unicornn", "gru", "lem", "antisymmetric", "eunn", "rnn_orth"),
)
"""Models that are often drawn together: a row a colour each, in the second row next to others than in the first."""


def colour_and_dashes(look: int) -> tuple[int, int]:
    """Return the places of a look in `LIGHT` or `DARK`, and in `DASHES`; different for the first `COUNT`."""
    row, colour = divmod(look, len(LIGHT))
    return colour, (colour + row) % len(DASHES)


def looks(names: Iterable[str]) -> dict[str, int]:
    """Return the look of each name.

    Args:
        names: All that stand in one figure or on one page; repeated ones count once.
    """
    ordered = sorted(set(names))
    known = {name: i for i, name in enumerate(dict.fromkeys([*_FIRST, *model_names()]))}
    chosen = {name: known[name] for name in ordered if name in known}
    for name in ordered:
        if name not in chosen:
            chosen[name] = _free(name, known, set(chosen.values()))
    return {name: chosen[name] for name in ordered}


def _free(name: str, known: dict[str, int], taken: set[int]) -> int:
    """Return a look that is not taken: the model's own, one of an unused colour, or any; then one that is taken."""
    model = re.split(r" \(| on |, ", name)[0]
    start = crc32(model.encode()) % len(LIGHT)
    turned = [(start + i) % len(LIGHT) for i in range(len(LIGHT))]
    used = {look % len(LIGHT) for look in taken}
    wanted = [known[model]] if model in known else []
    wanted += [look for look in turned if look not in used]
    wanted += [look + row for row in range(0, COUNT, len(LIGHT)) for look in turned]
    return next((look for look in wanted if look not in taken), start)
