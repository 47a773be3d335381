r"""Text that others may have written, as a terminal or a browser may be given it: `\x1b` for the character itself.

Names, errors and environments come from records, cards and file names that anybody may have written: control
characters, marks that turn the direction of writing, characters of no width.
"""

import re

_HIDDEN_IN_JSON = re.compile(
    "[\x7f-\x9f\xad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ud800-\udfff\ufeff\ufff9-\ufffb]"
)
"""Control characters above the space, marks of direction, characters of no width, halves of pairs."""


def visible(text: str) -> str:
    r"""Return a text in which what a terminal or a browser would obey or hide is seen: `\x1b`, `\n`, `\u202e`."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def visible_lines(text: str) -> str:
    """Return a text of several lines likewise; its line breaks and tabulators stay."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c in "\n\t" else visible(c) for c in text)


def visible_json(text: str) -> str:
    r"""Return a JSON document in which such characters stand as their codes, `\u202e`: it reads back the same.

    Those below a space are written so in any JSON.
    """
    return _HIDDEN_IN_JSON.sub(lambda match: f"\\u{ord(match[0]):04x}", text)
