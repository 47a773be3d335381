"""Word vectors read from tiny files in GloVe's format, and from the real ones where STABLEBENCH_DATA has them."""

import dataclasses
import gzip
import hashlib
from pathlib import Path

import pytest
import torch
from local_server import serving
from tiny_source import write, zip_bytes

from stablebench.data.files import glove
from stablebench.data.files.source import Download, SourceFile
from stablebench.errors import UserError
from stablebench.process.folders import named_data_dir

WORDS = ["the", ",", "n't", "naïve", "3.5"]


def number(word: str, column: int, width: int) -> float:
    return round((WORDS.index(word) + 1) * 0.25 - column / width, 5)


def file_of(words: list[str], width: int) -> bytes:
    return "".join(" ".join([w, *(f"{number(w, c, width):.5f}" for c in range(width))]) + "\n" for w in words).encode()


WIDE, NARROW, SELECTION = file_of(WORDS, 100), file_of(WORDS, 50), file_of(WORDS[1:4], 50)


def source_file(path: str, content: bytes, *instead: SourceFile) -> SourceFile:
    return SourceFile(path, len(content), f"sha256:{hashlib.sha256(content).hexdigest()}", instead=instead)


def take_for_published(monkeypatch: pytest.MonkeyPatch, wide: bytes = WIDE, **more: object) -> None:
    selection = source_file("glove.6B.50d.imdb.txt", SELECTION)
    files = (source_file("glove.6B.50d.txt", NARROW, selection), source_file("glove.6B.100d.txt", wide))
    monkeypatch.setattr(glove, "SOURCE", dataclasses.replace(glove.SOURCE, files=files, **more))  # type: ignore[arg-type]


@pytest.fixture
def tiny(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty data folder whose files are to be the tiny ones, and an empty cache folder."""
    take_for_published(monkeypatch)
    monkeypatch.setenv("STABLEBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("STABLEBENCH_DATA", raising=False)
    return tmp_path / "data"


def expected(words: list[str], known: list[str], width: int) -> torch.Tensor:
    return torch.tensor([[number(w, c, width) if w in known else 0.0 for c in range(width)] for w in words])


ASKED = ["<unk>", "naïve", "the", "nowhere", ","]


@pytest.mark.parametrize("width", [50, 100])
def test_words_get_their_vectors_and_others_zeros(tiny: Path, width: glove.Width):
    write(tiny / "glove" / "glove.6B.50d.txt", NARROW)
    write(tiny / "glove" / "glove.6B.100d.txt.gz", gzip.compress(WIDE))
    found = glove.vectors(ASKED, width=width, data_dir=tiny)
    assert found.dtype == torch.float32
    assert torch.equal(found, expected(ASKED, WORDS, width))


def test_selection_serves_instead_of_whole_file(tiny: Path):
    """A selection serves instead of the whole file and is kept apart from it."""
    write(tiny / "glove" / "glove.6B.50d.imdb.txt.gz", gzip.compress(SELECTION))
    assert torch.equal(glove.vectors(ASKED, width=50, data_dir=tiny), expected(ASKED, WORDS[1:4], 50))
    write(tiny / "glove" / "glove.6B.50d.txt", NARROW)
    assert torch.equal(glove.vectors(ASKED, width=50, data_dir=tiny), expected(ASKED, WORDS, 50))


def test_a_selection_is_no_file_of_another_width(tiny: Path):
    write(tiny / "glove" / "glove.6B.50d.imdb.txt", SELECTION)
    with pytest.raises(UserError, match=r"glove lacks glove\.6B\.100d\.txt\.(.|\n)*sha256 (.|\n)*nlp\.stanford\.edu"):
        glove.vectors(ASKED, width=100, data_dir=tiny)


def test_the_published_zip_is_read_and_fetched(tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("STABLEBENCH_FETCH", "1")
    content = zip_bytes({"glove.6B.50d.txt": NARROW, "glove.6B.100d.txt": WIDE, "glove.6B.300d.txt": b"other"})
    write(tiny / "glove" / "glove.6B.zip", content)
    offered = source_file("glove.6B.zip", content)
    with serving() as server:
        server.files["glove.6B.zip"] = content
        download = Download(f"{server.url}glove.6B.zip", offered.path, offered.n_bytes, offered.checksum, "archive")
        take_for_published(monkeypatch, downloads=(download,))
        assert torch.equal(glove.vectors(ASKED, data_dir=tiny), expected(ASKED, WORDS, 100))
        assert server.asked == []
        monkeypatch.setenv("STABLEBENCH_FETCH", "1")
        assert torch.equal(glove.vectors(ASKED[1:]), expected(ASKED[1:], WORDS, 100))  # no folder is named
    fetched = tmp_path / "cache" / "data" / "glove"
    assert sorted(p.name for p in fetched.glob("*.txt")) == ["glove.6B.100d.txt", "glove.6B.50d.txt"]


@pytest.mark.parametrize("damage", ["truncated", "tampered"])
def test_damaged_file_is_named_and_nothing_is_left_in_cache(tiny: Path, tmp_path: Path, damage: str):
    """A damaged file is named and nothing is left in the cache."""
    changed = WIDE[:-9] if damage == "truncated" else WIDE.replace(b"0.25", b"0.26")
    write(tiny / "glove" / "glove.6B.100d.txt", changed)
    wrong = "must have .* bytes, it has" if damage == "truncated" else "is damaged: its sha256 must be"
    with pytest.raises(UserError, match=f"glove: .*glove.6B.100d.txt {wrong}"):
        glove.vectors(ASKED, data_dir=tiny)
    assert [p for p in (tmp_path / "cache").rglob("*") if p.is_file() and p.suffix != ".lock"] == []


@pytest.mark.parametrize("line", ["the 0.5\n", "the " + "x " * 100 + "\n", "the " + "nan " * 100 + "\n", "the\n"])
def test_a_line_that_is_no_vector_is_named(tiny: Path, monkeypatch: pytest.MonkeyPatch, line: str):
    content = file_of([","], 100) + line.encode()
    take_for_published(monkeypatch, wide=content)
    write(tiny / "glove" / "glove.6B.100d.txt", content)
    with pytest.raises(UserError, match=r"glove\.6B\.100d\.txt: line 2 must be a word and 100 numbers"):
        glove.vectors(["the", ","], data_dir=tiny)


def test_the_real_vectors_are_those_of_their_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    folder = named_data_dir(None)
    if folder is None or not (folder / "glove").is_dir():
        pytest.skip("STABLEBENCH_DATA names no folder with glove/")
    monkeypatch.setenv("STABLEBENCH_CACHE", str(tmp_path / "cache"))
    found = glove.vectors(["<pad>", "the", "good", "great", "bicycle"], width=50, data_dir=folder).double()
    assert found[0].abs().max() == 0
    assert found[1, :3].tolist() == pytest.approx([0.418, 0.24968, -0.41242], abs=1e-6)  # the file's first line
    unit = found[1:] / found[1:].norm(dim=1, keepdim=True)
    assert unit[1] @ unit[2] > 0.7 and unit[1] @ unit[3] < 0.4  # good: near great, far from bicycle
