"""The reader on a few reviews in the publisher's layout, and on the real ones where STABLEBENCH_DATA has them."""

import dataclasses
import hashlib
from collections import Counter
from pathlib import Path

import pytest
import torch
from local_server import serving
from tiny_source import tar_bytes, write

from stablebench import registry
from stablebench.data.files import glove, imdb
from stablebench.data.files.source import Download, SourceFile
from stablebench.data.task import Task, resolve_params
from stablebench.data.tasks import imdb_sentiment
from stablebench.errors import UserError
from stablebench.process.folders import named_data_dir

TEXTS = {  # in the order of their numbers; by letters 10 would come before 2
    "train/pos/0_9.txt": "It's good.<br /><br />GOOD!",
    "train/pos/1_7.txt": "don't miss it...",
    "train/pos/2_8.txt": "good, 3.5 of 4",
    "train/pos/10_10.txt": "a good well-made film",
    "train/neg/0_1.txt": "bad",
    "train/neg/1_2.txt": "a bad film",
    "train/neg/2_3.txt": "bad bad bad",
    "train/neg/10_4.txt": "it isn't good",
    "test/pos/0_7.txt": "a good unheard film",
    "test/pos/1_8.txt": "good",
    "test/pos/2_9.txt": "it is good",
    "test/pos/3_10.txt": "café",
    "test/neg/0_3.txt": "bad",
    "test/neg/1_2.txt": "a film",
    "test/neg/2_1.txt": "bad film",
    "test/neg/10_4.txt": "it is bad",
}
OTHERS = {"README": b"about", "imdb.vocab": b"the", "train/unsup/0_0.txt": b"good", "train/labeledBow.feat": b"9 0:9"}


def digest_of(texts: dict[str, str]) -> str:
    return hashlib.sha256(b"".join(f"{name}\0{texts[name]}\0".encode() for name in sorted(texts))).hexdigest()


def archive_of(texts: dict[str, str], compression: str = "gz") -> bytes:
    files = OTHERS | {name: text.encode() for name, text in texts.items()}
    return tar_bytes({f"aclImdb/{name}": content for name, content in files.items()}, compression)


def take_for_published(monkeypatch: pytest.MonkeyPatch, archive: bytes, selection: bytes = b"", url: str = "") -> None:
    def file_of(path: str, content: bytes, *instead: SourceFile) -> SourceFile:
        digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
        return SourceFile(path, len(content), digest, instead=instead)

    file = file_of("aclImdb_v1.tar.gz", archive, file_of("aclImdb_labelled.tar.xz", selection))
    download = Download(f"{url}aclImdb_v1.tar.gz", file.path, file.n_bytes, file.checksum)
    monkeypatch.setattr(imdb, "SOURCE", dataclasses.replace(imdb.SOURCE, files=(file,), downloads=(download,)))


@pytest.fixture
def tiny(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty data folder and an empty cache folder; the data set has few reviews."""
    take_for_published(monkeypatch, archive_of(TEXTS))
    sizes = {"PER_FOLDER": 4, "VALIDATION": 2, "VOCABULARY": 6, "REVIEWS_SHA256": digest_of(TEXTS)}
    for name, value in sizes.items():
        monkeypatch.setattr(imdb, name, value)
    monkeypatch.setenv("STABLEBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("STABLEBENCH_DATA", raising=False)
    return tmp_path / "data"


def words(name: imdb.Part, folder: Path | None) -> list[tuple[int, list[str]]]:
    """Return the class and the tokens of each review."""
    tokens, ends, classes = imdb.reviews(name, folder)
    vocabulary, begins = imdb.vocabulary(folder), [0, *ends.tolist()]
    cut = [tokens[a:b].tolist() for a, b in zip(begins, ends.tolist(), strict=False)]
    return [(c, [vocabulary[token] for token in review]) for c, review in zip(classes.tolist(), cut, strict=True)]


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("It's GOOD, isn't it?", ["it", "'s", "good", ",", "is", "n't", "it", "?"]),
        ("I can't, won't, they'll", ["i", "ca", "n't", ",", "wo", "n't", ",", "they", "'ll"]),
        ("well-made rock'n'roll", ["well", "-", "made", "rock", "'", "n", "'", "roll"]),
        ("one<br /><br />two", ["one", "two"]),
        ("3.5/10 in 1,999.", ["3.5", "/", "10", "in", "1,999", "."]),
        ("so.. and so..... (no)", ["so", "...", "and", "so", "...", "(", "no", ")"]),
        ("Café _really_ \x96 ½", ["café", "_", "really", "_", "\x96", "½"]),
        ("'sane 'suspect' o'mara", ["'", "sane", "'", "suspect", "'", "o", "'", "mara"]),
    ],
)
def test_reviews_are_cut_as_is_said(text: str, tokens: list[str]):
    assert imdb.tokenised(text) == tokens


def put(form: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if form == "archive":
        write(folder / "imdb" / "aclImdb_v1.tar.gz", archive_of(TEXTS))
    elif form == "labelled archive":
        content = archive_of(TEXTS, "xz")
        take_for_published(monkeypatch, archive_of(TEXTS), content)
        write(folder / "imdb" / "aclImdb_labelled.tar.xz", content)
    else:
        tree = folder / ("imdb" if form == "folder" else "") / "aclImdb"
        for name, content in (OTHERS | {name: text.encode() for name, text in TEXTS.items()}).items():
            write(tree / name, content)


@pytest.mark.parametrize("form", ["archive", "labelled archive", "folder", "folder beside"])
def test_every_review_comes_once_with_its_class_from_every_form(tiny: Path, form: str, monkeypatch: pytest.MonkeyPatch):
    put(form, tiny, monkeypatch)
    parts: dict[imdb.Part, int] = {"train": 6, "validation": 2, "test": 8}
    found = {name: words(name, tiny) for name in parts}
    assert {name: len(reviews) for name, reviews in found.items()} == parts
    known = set(imdb.vocabulary(tiny))

    def as_seen(part: str) -> list[tuple[int, list[str]]]:
        chosen = [(int("/pos/" in name), imdb.tokenised(text)) for name, text in TEXTS.items() if name.startswith(part)]
        return [(label, [token if token in known else "<unk>" for token in tokens]) for label, tokens in chosen]

    assert sorted(found["train"] + found["validation"]) == sorted(as_seen("train"))
    assert found["test"] == as_seen("test")  # in the order of their numbers, positive ones first


def test_vocabulary_comes_from_the_training_part_alone(tiny: Path, monkeypatch: pytest.MonkeyPatch):
    """The vocabulary has the most frequent tokens of the training part alone."""
    put("archive", tiny, monkeypatch)
    monkeypatch.setattr(imdb, "VOCABULARY", 1000)
    counts = Counter(token for _, review in words("train", tiny) for token in review)
    assert imdb.vocabulary(tiny) == ["<unk>", "<pad>", *sorted(counts, key=lambda token: (-counts[token], token))]
    whole = imdb.vocabulary(tiny)
    monkeypatch.setattr(imdb, "VOCABULARY", 3)
    assert imdb.vocabulary(tiny) == whole[:5]


def test_reviews_are_cut_and_padded_and_know_their_lengths(tiny: Path, monkeypatch: pytest.MonkeyPatch):
    put("archive", tiny, monkeypatch)
    batch = imdb_sentiment.load("test", length=3, data_dir=tiny)
    vocabulary = imdb.vocabulary(tiny)
    assert batch.lengths is not None and batch.lengths.tolist() == [3, 1, 3, 1, 1, 2, 2, 3]
    assert batch.targets.tolist() == [1] * 4 + [0] * 4
    expected = [(review + ["<pad>"] * 3)[:3] for _, review in words("test", tiny)]
    assert [[vocabulary[token] for token in row] for row in batch.inputs.tolist()] == expected
    assert imdb_sentiment.load("test", length=3, read="padding", data_dir=tiny).lengths is None
    shown = imdb_sentiment.transform(batch)
    assert shown.inputs.dtype == torch.int64 and torch.equal(shown.inputs, batch.inputs)


def test_vectors_begin_as_glove_s_and_special_tokens_at_zero(tiny: Path, monkeypatch: pytest.MonkeyPatch):
    put("archive", tiny, monkeypatch)
    vectors = "".join(f"{word} " + " ".join(["1.5"] * 50) + "\n" for word in ("good", "bad")).encode()
    digest = f"sha256:{hashlib.sha256(vectors).hexdigest()}"
    file = SourceFile("glove.6B.50d.txt", len(vectors), digest)
    monkeypatch.setattr(glove, "SOURCE", dataclasses.replace(glove.SOURCE, files=(file,)))
    write(tiny / "glove" / file.path, vectors)
    found = imdb_sentiment.initial_embedding(width=50, data_dir=tiny)
    vocabulary = imdb.vocabulary(tiny)
    assert found.shape == (len(vocabulary), 50)
    assert {word for word, row in zip(vocabulary, found, strict=True) if row.any()} == {"good", "bad"}


@pytest.mark.parametrize("damage", ["truncated", "tampered", "missing"])
def test_damaged_archive_is_named_and_nothing_is_left_in_cache(tiny: Path, tmp_path: Path, damage: str):
    """A damaged archive is named and nothing is left in the cache."""
    content = archive_of(TEXTS)
    path = tiny / "imdb" / "aclImdb_v1.tar.gz"
    if damage != "missing":
        write(path, content[:-20] if damage == "truncated" else content[:-20] + b"\0" * 20)
    wrong = {
        "truncated": "aclImdb_v1.tar.gz must have .* bytes, it has",
        "tampered": "aclImdb_v1.tar.gz is damaged: its sha256 must be",
        "missing": "imdb lacks aclImdb_v1.tar.gz",
    }
    with pytest.raises(UserError, match=f"imdb: .*{wrong[damage]}"):
        imdb.reviews("train", tiny)
    assert [p for p in (tmp_path / "cache").rglob("*") if p.is_file() and p.suffix != ".lock"] == []


@pytest.mark.parametrize("damage", ["a review less", "another word"])
def test_a_damaged_folder_is_named(tiny: Path, monkeypatch: pytest.MonkeyPatch, damage: str):
    put("folder", tiny, monkeypatch)
    review = tiny / "imdb" / "aclImdb" / "train" / "neg" / "1_2.txt"
    if damage == "a review less":
        review.unlink()
        wrong = "aclImdb must hold 4 reviews in train/neg, it has 3"
    else:
        review.write_text("a good film")
        wrong = "aclImdb: its reviews are not the published ones"
    with pytest.raises(UserError, match=f"imdb: .*{wrong}"):
        imdb.reviews("train", tiny)


def test_without_a_named_folder_the_archive_is_fetched(tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("STABLEBENCH_FETCH", "1")
    content = archive_of(TEXTS)
    with serving() as server:
        server.files["aclImdb_v1.tar.gz"] = content
        take_for_published(monkeypatch, content, url=server.url)
        monkeypatch.setenv("STABLEBENCH_FETCH", "1")
        assert len(words("test", None)) == 8
    assert (tmp_path / "cache" / "data" / "imdb" / "aclImdb_v1.tar.gz").read_bytes() == content


def test_without_the_papers_vectors_the_way_out_is_named(tiny: Path, monkeypatch: pytest.MonkeyPatch):
    content = archive_of(TEXTS)
    take_for_published(monkeypatch, content)
    write(tiny / "imdb" / "aclImdb_v1.tar.gz", content)
    with pytest.raises(UserError, match=r"(?s)glove lacks glove\.6B\.100d\.txt.*https://.*imdb/glove50") as raised:
        imdb_sentiment.initial_embedding(width=100, data_dir=tiny)
    assert str(tiny / "glove") in str(raised.value)
    with pytest.raises(UserError) as narrow:
        imdb_sentiment.initial_embedding(width=50, data_dir=tiny)
    assert "imdb/glove50" not in str(narrow.value)


@pytest.mark.slow
def test_real_reviews_are_complete_and_card_s_baselines_hold(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """The real reviews are complete and the card's baselines hold."""
    folder = named_data_dir(None)
    if folder is None or not (folder / "imdb").is_dir() or not (folder / "glove").is_dir():
        pytest.skip("STABLEBENCH_DATA names no folder with imdb/ and glove/")
    monkeypatch.setenv("STABLEBENCH_CACHE", str(tmp_path / "cache"))  # preparing takes half a minute
    card = registry.task_card("imdb")
    task = Task(card, resolve_params(card, variant="glove50"))
    parts: dict[imdb.Part, int] = {"train": 17_500, "validation": 7_500, "test": 25_000}
    counts = {name: len(imdb.reviews(name).ends) for name in parts}
    assert counts == parts
    assert sum(imdb.reviews(name).classes.sum().item() for name in ("train", "validation")) == 12_500
    vocabulary = imdb.vocabulary()
    assert len(set(vocabulary)) == len(vocabulary) == 25_002 == task.sizes.inputs
    assert vocabulary[:4] == ["<unk>", "<pad>", "the", "."]
    lengths = torch.cat([imdb.padded(imdb.reviews(name), 10_000)[1] for name in parts])
    assert lengths.min() == 8 and lengths.max() <= card.variants["uncut"]["length"]
    share = imdb.reviews("test").classes.double().mean().item()
    assert card.baseline("accuracy", {}) == max(share, 1 - share)
    vectors = task.embedding()
    assert vectors is not None and vectors.shape == (25_002, 50) and vectors[:2].abs().max() == 0
    assert vectors.any(1).double().mean() > 0.97  # of the vocabulary is in GloVe
    batch = task.train_batch(0, 0, 64)
    assert batch.inputs.shape == (64, 400) and batch.lengths is not None
    for row, n in zip(batch.inputs, batch.lengths.tolist(), strict=True):
        assert (row[:n] != imdb.PADDING).all() and (row[n:] == imdb.PADDING).all()
