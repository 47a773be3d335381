"""Penn Treebank: Wall Street Journal text as T. Mikolov prepared it, read word by word or character by character.

The text is in lower case, numbers are `N`, and of the words the 9,999 most frequent stand while others are `<unk>`. A
sentence is a line, and its end is the token `<eos>`: tokens of a part are those of its lines, one after another.

    word  what stands between spaces: 10,000 tokens with `<eos>`
    char  the characters, the space between words written as `_`: 50 tokens with `<eos>`. `<unk>` is five characters

At character level this is the `pennchar` of AWD-LSTM and nnRNN: files in which every character stands between spaces.
They are read where they are; otherwise they are made from the word files, which gives the same bytes. Those codes take
the space after the last line for one more sentence, so that each part has one `<eos>` more there.

Tokens are numbered in the order in which they first come, training text first.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

from stablebench.data.files import access, ensure
from stablebench.data.files.source import DataSource, Download, SourceFile
from stablebench.data.files.store import prepared

if TYPE_CHECKING:
    from torch import Tensor

Level = Literal["char", "word"]
Part = Literal["train", "validation", "test"]
END = "<eos>"
ALPHABET: dict[Level, int] = {"char": 50, "word": 10_000}
"""Tokens with `<eos>`."""
_STEMS: dict[Part, str] = {"train": "train", "validation": "valid", "test": "test"}

SOURCE = DataSource(
    name="ptb",
    title="Penn Treebank, as prepared by T. Mikolov for language modelling",
    homepage="http://www.fit.vutbr.cz/~imikolov/rnnlm/",
    terms="the text is under the Linguistic Data Consortium's licence for the Penn Treebank; for research use only",
    files=(
        SourceFile("ptb.train.txt", 5_101_618, "md5:f26c4b92c5fdc7b3f8c7cdcb991d8420"),
        SourceFile("ptb.valid.txt", 399_782, "md5:aa0affc06ff7c36e977d7cd49e3839bf"),
        SourceFile("ptb.test.txt", 449_945, "md5:8b80168b89c18661a38ef683c0dc3721"),
        SourceFile("ptb.char.train.txt", 10_034_964, "md5:874909f99060142f6b88cc74c34baaa2", required=False),
        SourceFile("ptb.char.valid.txt", 786_084, "md5:9e0fe5bec2a8bf43fd686dc23d5ab8bb", required=False),
        SourceFile("ptb.char.test.txt", 884_846, "md5:1f9a2d1afe00f76e8bfbe09a65439681", required=False),
    ),
    downloads=(
        Download(
            "http://www.fit.vutbr.cz/~imikolov/rnnlm/simple-examples.tgz",
            "simple-examples.tgz",
            34_869_662,
            "md5:30177ea32e27c525793142b6bf2c8e2d",
            kind="archive",
        ),
    ),
    folders=("simple-examples/data",),
)


class Tokens(NamedTuple):
    """A part's tokens in their order, (n,) int16 mapped into memory, and what they stand for, by number."""

    numbers: "Tensor"
    vocabulary: list[str]


def load_tokens(name: Part, *, level: Level = "char", data_dir: Path | None = None) -> Tokens:
    """Return the tokens of a part and the vocabulary, which all parts share.

    Args:
        name: The part.
        level: Characters or words.
        data_dir: Folder of the data sets; None for STABLEBENCH_DATA or the cache folder.

    Raises:
        UserError: The data are missing or damaged, or the cache folder cannot be used.
    """
    files = [_file(part, level) for part in _STEMS]
    key = {"version": 1, "level": level, "files": [file.checksum for file in files]}
    tensors = prepared("ptb", key, lambda: _numbered(level, data_dir))
    return Tokens(tensors[name], bytes(tensors["vocabulary"].numpy()).decode().split("\n"))


def _file(name: Part, level: Level) -> SourceFile:
    return SOURCE.file(f"ptb.char.{_STEMS[name]}.txt" if level == "char" else f"ptb.{_STEMS[name]}.txt")


def _numbered(level: Level, data_dir: Path | None) -> "dict[str, Tensor]":
    import torch

    numbers: dict[str, int] = {}
    made: dict[str, Tensor] = {}
    for name in _STEMS:
        text = _text(name, level, data_dir).decode()
        made[name] = torch.tensor(
            [numbers.setdefault(token, len(numbers)) for token in _split(text)], dtype=torch.int16
        )
    vocabulary = "\n".join(numbers).encode()
    return made | {"vocabulary": torch.frombuffer(bytearray(vocabulary), dtype=torch.uint8)}


def _text(name: Part, level: Level, data_dir: Path | None) -> bytes:
    """Return the verified text of a part, with its tokens between white space."""
    file, words = _file(name, level), _file(name, "word")
    place = access.find(SOURCE, file, data_dir)
    if level == "word" or (place is not None and place.archive is None):
        return ensure.read(SOURCE, file, data_dir)
    content = spelt(ensure.read(SOURCE, words, data_dir).decode()).encode()
    access.check(SOURCE, Path(file.path), file, content)
    return content


def spelt(text: str) -> str:
    """Return a text of words as the character files have it: `_` between words, a space after every character.

    Args:
        text: One sentence a line, with a space at both ends, as the word files have it.
    """
    characters = text.replace("\n ", "\n").removeprefix(" ").replace(" \n", "\n").replace(" ", "_")
    return "".join(f"{character} " for character in characters)


def _split(text: str) -> Iterable[str]:
    for line in text.split("\n"):
        tokens = line.split()
        if tokens:  # the character files have a space after the last line feed
            yield from tokens
            yield END
