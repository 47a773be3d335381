"""Names and sentences use the field's terms: twelve words that nobody would search for stay out."""

import io
import re
import tokenize
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
CODE = sorted((ROOT / "stablebench").rglob("*.py"))
TEXTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
NAMES = {"found": "the noun of what it holds", "told": "callbacks", "heard": "received", "sitting": "session"}
"""As names in code, and what to write."""
PHRASES = {
    r"sittings?": "session",
    r"(take|takes|taken|took) up": "resume",
    r"(give|gives|gave|given) way": "fall back",
    r"heeds?": "check, follow",
    r"without a word": "without a message",
    r"anew": "again",
    r"amid": "during",
    r"beside": "next to, with",
    r"on the spot": "ad hoc",
}
"""In names, messages, help, docstrings and documents, and what to write."""
ACTIVITIES = {"data/files/hapt.py", "data/tasks/har.py"}
"""Where people sit: an activity of the data set."""
PATTERN = re.compile(rf"\b(?:{'|'.join(PHRASES)})\b", re.IGNORECASE)


def words_of(text: str) -> list[str]:
    """Return the twelve words where they stand, with their line."""
    return [f"{text.count(chr(10), 0, m.start()) + 1}: {' '.join(m[0].split())}" for m in PATTERN.finditer(text)]


@pytest.mark.parametrize("path", CODE, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_code(path: Path) -> None:
    text = path.read_text(encoding="utf-8").replace('"gave_way"', "")  # a key of checkpoints of version 0.1.0
    tokens = tokenize.generate_tokens(io.StringIO(text).readline)
    names = [f"{t.start[0]}: {t.string}" for t in tokens if t.type == tokenize.NAME and t.string in NAMES]
    words = words_of(text.replace("_", " "))
    if path.relative_to(ROOT / "stablebench").as_posix() in ACTIVITIES:
        words = [word for word in words if not word.endswith("sitting")]
    assert not names + words


@pytest.mark.parametrize("path", TEXTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_documents(path: Path) -> None:
    assert not words_of(path.read_text(encoding="utf-8"))


def test_the_words_are_seen() -> None:
    assert words_of("Nothing is\ntaken up anew.") == ["2: taken up", "2: anew"]
    assert len(NAMES | PHRASES) == 13  # `sitting` is in both
