"""Tiny texts in Mikolov's format in place of the Penn Treebank."""

import dataclasses
import hashlib
from pathlib import Path

import pytest

from stablebench.data.files import ptb
from stablebench.data.files.source import SourceFile

SENTENCE = "no it was n't <unk> but N"
TOKENS = [*SENTENCE.split(), "<eos>"]


def install(folder: Path, monkeypatch: pytest.MonkeyPatch, text: dict[str, str]) -> Path:
    """Write a data folder with `text` and an empty cache folder, both of which are used from now on.

    Args:
        folder: Where.
        monkeypatch: Undoes it.
        text: By `train`, `valid` and `test`, one sentence a line, with a space at both ends.

    Returns:
        The data folder.
    """
    files = []
    for part, content in text.items():
        path = folder / "data" / "ptb" / f"ptb.{part}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
        digest = hashlib.md5(content.encode(), usedforsecurity=False).hexdigest()
        files.append(SourceFile(path.name, len(content.encode()), f"md5:{digest}"))
        spelt = ptb.spelt(content).encode()
        digest = hashlib.md5(spelt, usedforsecurity=False).hexdigest()
        files.append(SourceFile(f"ptb.char.{part}.txt", len(spelt), f"md5:{digest}", required=False))
    monkeypatch.setattr(ptb, "SOURCE", dataclasses.replace(ptb.SOURCE, files=tuple(files)))
    words = "".join(text.values()).replace("\n", " <eos> ").split()
    monkeypatch.setitem(ptb.ALPHABET, "word", len(set(words)))
    characters = "".join(ptb.spelt(content) for content in text.values()).split(" ")
    monkeypatch.setitem(ptb.ALPHABET, "char", len(set(characters) - {""}))  # the line feed is the token <eos>
    monkeypatch.setenv("STABLEBENCH_CACHE", str(folder / "cache"))
    monkeypatch.setenv("STABLEBENCH_DATA", str(folder / "data"))
    return folder / "data"


def repeated(train: int, valid: int, test: int) -> dict[str, str]:
    """Return texts of one sentence, again and again."""
    return {part: f" {SENTENCE} \n" * n for part, n in {"train": train, "valid": valid, "test": test}.items()}
