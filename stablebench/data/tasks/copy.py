"""The copying problem (Hochreiter & Schmidhuber 1997; this form: Arjovsky, Shah & Bengio 2016).

Tokens: symbols 1 ... alphabet, blank 0, marker alphabet + 1. A sequence shows S symbols, then blanks, then a marker,
and the S symbols are to be given back; everywhere else the target is blank. The layouts that public codes use:

    at_marker        S symbols, length blanks,     marker, S - 1 blanks   recall starts at the marker
    after_marker     S symbols, length - 1 blanks, marker, S blanks       recall starts a step after it
    repeated_marker  S symbols, length blanks,     S markers              recall on the markers

All of them have length + 2 S steps. With a lag of 0 the symbols are to be given while they are shown, and blanks
everywhere else: the twin that needs no memory, with the same inputs, the same classes and as many scored steps.
"""

from typing import Annotated, Literal

import torch
from pydantic import Field

from stablebench.data.batch import Batch, Sizes

Layout = Literal["at_marker", "after_marker", "repeated_marker"]


def sizes(*, length: int, S: int, alphabet: int) -> Sizes:
    """Return the sizes: one-hot symbols, blank and marker in; symbols and blank out."""
    return Sizes(inputs=alphabet + 2, outputs=alphabet + 1, steps=length + 2 * S)


def generate(
    n: int,
    *,
    length: Annotated[int, Field(ge=1)] = 100,
    S: Annotated[int, Field(ge=1)] = 10,
    alphabet: Annotated[int, Field(ge=2)] = 8,
    layout: Layout = "at_marker",
    lag: Literal[0] | None = None,
    rng: torch.Generator,
) -> Batch:
    """Draw sequences.

    Args:
        n: Number of sequences.
        length: The time lag: blanks between the symbols and the recall.
        S: Symbols to remember.
        alphabet: Number of different symbols.
        layout: Where the marker stands and when the recall starts.
        lag: 0 for the twin without memory; None for the recall.
        rng: Source of randomness.

    Returns:
        Tokens (n, length + 2 S), targets of the same shape; accuracy counts the steps with a symbol only.
    """
    steps, marker = length + 2 * S, alphabet + 1
    symbols = torch.randint(1, alphabet + 1, (n, S), generator=rng)
    inputs = torch.zeros(n, steps, dtype=torch.long)
    inputs[:, :S] = symbols
    if layout == "at_marker":
        inputs[:, S + length] = marker
    elif layout == "after_marker":
        inputs[:, S + length - 1] = marker
    else:
        inputs[:, S + length :] = marker
    targets = torch.zeros(n, steps, dtype=torch.long)
    answered = slice(-S, None) if lag is None else slice(S)
    targets[:, answered] = symbols
    scored = torch.zeros(n, steps, dtype=torch.bool)
    scored[:, answered] = True
    return Batch(inputs, targets, scored=scored)
