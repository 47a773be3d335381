"""The readers on tiny texts in Mikolov's format, and on the real ones where STABLEBENCH_DATA has them."""

import dataclasses
import gzip
import hashlib
import math
from pathlib import Path

import pytest
import torch
from tiny_source import tar_bytes, write

from stablebench import registry
from stablebench.data.files import ptb
from stablebench.data.files.source import SourceFile
from stablebench.data.task import Task, resolve_params
from stablebench.data.tasks import ptb_stream
from stablebench.errors import UserError
from stablebench.process.folders import named_data_dir

WORDS = {
    "train": " no it was n't <unk> \n but it 's N <unk> \n",
    "valid": " it was N \n",
    "test": " but it was no <unk> \n no \n",
}
CHARACTERS = {
    "train": "n o _ i t _ w a s _ n ' t _ < u n k > \n b u t _ i t _ ' s _ N _ < u n k > \n ",
    "valid": "i t _ w a s _ N \n ",
    "test": "b u t _ i t _ w a s _ n o _ < u n k > \n n o \n ",
}


def source_file(path: str, content: str, required: bool = True) -> SourceFile:
    digest = hashlib.md5(content.encode(), usedforsecurity=False).hexdigest()
    return SourceFile(path, len(content.encode()), f"md5:{digest}", required=required)


@pytest.fixture
def tiny(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty data folder whose files are to be the tiny texts, and an empty cache folder."""
    words = [source_file(f"ptb.{part}.txt", text) for part, text in WORDS.items()]
    characters = [source_file(f"ptb.char.{part}.txt", text, required=False) for part, text in CHARACTERS.items()]
    monkeypatch.setattr(ptb, "SOURCE", dataclasses.replace(ptb.SOURCE, files=(*words, *characters)))
    monkeypatch.setenv("STABLEBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("STABLEBENCH_DATA", raising=False)
    return tmp_path / "data"


def put_words(folder: Path) -> None:
    for part, text in WORDS.items():
        write(folder / f"ptb.{part}.txt", text.encode())


def put_characters(folder: Path) -> None:
    for part, text in CHARACTERS.items():
        write(folder / f"ptb.char.{part}.txt.gz", gzip.compress(text.encode()))


def read(name: ptb.Part, level: ptb.Level, folder: Path) -> list[str]:
    tokens = ptb.load_tokens(name, level=level, data_dir=folder)
    return [tokens.vocabulary[number] for number in tokens.numbers.tolist()]


def test_words_are_what_stands_between_spaces(tiny: Path):
    """Words are what stands between spaces and lines end in eos."""
    put_words(tiny / "ptb")
    assert read("train", "word", tiny) == "no it was n't <unk> <eos> but it 's N <unk> <eos>".split()
    assert read("validation", "word", tiny) == "it was N <eos>".split()
    assert read("test", "word", tiny) == "but it was no <unk> <eos> no <eos>".split()


@pytest.mark.parametrize("form", ["characters", "words", "archive"])
def test_characters_are_same_from_files_and_from_words(tiny: Path, form: str, monkeypatch: pytest.MonkeyPatch):
    """Characters are the same from their own files and from the words."""
    if form == "characters":
        put_characters(tiny / "ptb")
    elif form == "words":
        put_words(tiny / "ptb")
    else:
        inside = {f"./simple-examples/data/ptb.{part}.txt": text.encode() for part, text in WORDS.items()}
        write(tiny / "ptb" / "simple-examples.tgz", tar_bytes(inside, "gz"))
        offered = dataclasses.replace(ptb.SOURCE.downloads[0], n_bytes=None, checksum=None)
        monkeypatch.setattr(ptb, "SOURCE", dataclasses.replace(ptb.SOURCE, downloads=(offered,)))
    assert read("validation", "char", tiny) == [*"it_was_N", "<eos>"]
    assert read("test", "char", tiny) == [*"but_it_was_no_<unk>", "<eos>", *"no", "<eos>"]
    assert read("train", "char", tiny)[:23] == [*"no_it_was_n't_<unk>", "<eos>", *"but"]


def test_the_unpacked_archive_is_read_where_it_lies(tiny: Path):
    put_words(tiny / "simple-examples" / "data")
    assert read("validation", "word", tiny) == "it was N <eos>".split()


def test_tokens_are_numbered_as_they_come(tiny: Path):
    """Tokens are numbered as they come and parts share their numbers."""
    put_words(tiny / "ptb")
    train, test = (ptb.load_tokens(name, level="word", data_dir=tiny) for name in ("train", "test"))
    assert train.vocabulary == test.vocabulary == "no it was n't <unk> <eos> but 's N".split()
    assert train.numbers.tolist() == [0, 1, 2, 3, 4, 5, 6, 1, 7, 8, 4, 5]
    assert torch.equal(ptb_stream.stream("test", level="word", data_dir=tiny), test.numbers)


@pytest.mark.parametrize("text", [WORDS, CHARACTERS])
@pytest.mark.parametrize("damage", ["truncated", "tampered", "missing"])
def test_damaged_file_is_named_and_nothing_is_left_in_cache(
    tiny: Path, tmp_path: Path, text: dict[str, str], damage: str
):
    """A damaged file is named and nothing is left in the cache."""
    level: ptb.Level = "word" if text is WORDS else "char"
    (put_words if level == "word" else put_characters)(tiny / "ptb")
    name = "ptb.valid.txt" if level == "word" else "ptb.char.valid.txt.gz"
    content = text["valid"].encode()
    changed = content[:-3] if damage == "truncated" else content[:-3] + b"M \n"
    if damage == "missing":
        (tiny / "ptb" / name).unlink()
    else:
        (tiny / "ptb" / name).write_bytes(changed if level == "word" else gzip.compress(changed))
    wrong = {
        "truncated": f"{name} must have {len(content)} bytes, it has {len(content) - 3}",
        "tampered": f"{name} is damaged: its md5 must be",
        "missing": "ptb lacks ptb.valid.txt",
    }
    with pytest.raises(UserError, match=f"ptb: .*{wrong[damage]}"):
        ptb.load_tokens("train", level=level, data_dir=tiny)
    assert [p for p in (tmp_path / "cache").rglob("*") if p.is_file() and p.suffix != ".lock"] == []


def test_a_prepared_text_needs_its_files_no_more(tiny: Path):
    put_words(tiny / "ptb")
    before = read("train", "word", tiny)
    (tiny / "ptb" / "ptb.train.txt").unlink()
    assert read("train", "word", tiny) == before


def real_folder() -> Path:
    folder = named_data_dir(None)
    if folder is None or not (folder / "ptb").is_dir():
        pytest.skip("STABLEBENCH_DATA names no folder with ptb/")
    return folder


@pytest.fixture
def real(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("STABLEBENCH_CACHE", str(tmp_path / "cache"))
    return real_folder()


@pytest.mark.parametrize(
    ("level", "counts", "alphabet"),
    [("word", (929_589, 73_760, 82_430), 10_000), ("char", (5_017_482, 393_042, 442_423), 50)],
)
def test_the_real_text_has_the_published_counts(
    real: Path, level: ptb.Level, counts: tuple[int, int, int], alphabet: int
):
    parts = {name: ptb.load_tokens(name, level=level, data_dir=real) for name in ("train", "validation", "test")}
    assert tuple(len(part.numbers) for part in parts.values()) == counts
    vocabulary = parts["train"].vocabulary
    assert len(set(vocabulary)) == len(vocabulary) == ptb.ALPHABET[level] == alphabet
    assert len(parts["train"].numbers.unique()) == alphabet  # nothing comes in the other parts alone
    end = vocabulary.index("<eos>")
    assert [(part.numbers == end).sum().item() for part in parts.values()] == [42_068, 3_370, 3_761]
    if level == "char":
        assert set(vocabulary) == {*"_#$&'*-./\\<>N0123456789abcdefghijklmnopqrstuvwxyz", "<eos>"}


@pytest.mark.parametrize(("level", "metric"), [("char", "bpc"), ("word", "perplexity")])
def test_baselines_are_those_of_counting_the_training_text(real: Path, level: ptb.Level, metric: str):
    card = registry.task_card(f"ptb_{level}")
    train, test = (ptb_stream.stream(name, level=level, data_dir=real).long() for name in ("train", "test"))
    counts = torch.bincount(train, minlength=ptb.ALPHABET[level]).double()
    nats = -(counts[test] / counts.sum()).log().mean().item()
    expected = nats / math.log(2) if metric == "bpc" else math.exp(nats)
    # the card's are rounded to four digits, accuracy to three
    assert card.baseline(metric, {}) == pytest.approx(expected, rel=5e-4)
    accuracy = (test == counts.argmax()).double().mean().item()
    assert card.baseline("accuracy", {}) == pytest.approx(accuracy, rel=1e-3)
    protocol = card.protocol
    assert (protocol.train, protocol.test) == (len(train), len(test))
    assert protocol.validation == len(ptb_stream.stream("validation", level=level, data_dir=real))


def test_a_task_reads_the_text_in_parallel_streams(real: Path):
    card = registry.task_card("ptb_char")
    task = Task(card, resolve_params(card, variant="t300"), real)
    text = ptb_stream.stream("train", level="char", data_dir=real)
    length = len(text) // 128
    for index in (0, 1):
        batch = task.train_batch(0, index, 128)
        assert batch.inputs.shape == (128, 300) and batch.inputs.dtype == torch.int64
        start = 5 * length + 300 * index
        assert batch.inputs[5].tolist() == text[start : start + 300].tolist()
        assert batch.targets[5].tolist() == text[start + 1 : start + 301].tolist()
    assert task.split("test").inputs.shape == (10, 44_241)  # 442,423 // 10 - 1
    assert task.sizes.inputs == 50 and task.sizes.embedding is not None and task.sizes.embedding.width == 200


def test_the_real_character_files_follow_from_the_words(real: Path):
    for part in ("valid", "test"):
        words = (real / "ptb" / f"ptb.{part}.txt").read_text()
        assert ptb.spelt(words) == gzip.decompress((real / "ptb" / f"ptb.char.{part}.txt.gz").read_bytes()).decode()
