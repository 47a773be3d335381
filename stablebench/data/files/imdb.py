r"""The IMDB reviews (Maas et al. 2011): 25,000 to train and 25,000 to test, half of them positive, as tokens.

They are read from the publisher's archive, from one that holds only the labelled reviews, or from the unpacked folder
`aclImdb`; whatever they lie in, all labelled reviews together must have one digest.

A review becomes tokens in three steps, which are ours: line breaks `<br />` become spaces, letters lower case, and the
text is cut, from the left to the right, into

    n't, 's, 'm, 'd, 're, 've, 'll         parts of a word of their own, as in  do n't  and  it 's
    letters                                 a word; hyphens and other apostrophes cut it
    digits                                  a number, also with points or commas inside: 3.5
    two or more points                      always written ...
    any other sign                          by itself

coRNN's code takes spaCy's tokens, which differ in detail (abbreviations, URLs, emoticons), and leaves letters as they
are, so that to GloVe, which is in lower case, a capitalised word is unknown.

17,500 of the training reviews train and 7,500 validate, drawn once at random. The vocabulary has the 25,000 most
frequent tokens of the 17,500, of equally frequent ones the alphabetically first, behind `<unk>` and `<pad>`.
"""

import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

from stablebench.data.files import access, archives, ensure
from stablebench.data.files.source import DataSource, Download, SourceFile, data_root, how_to_get
from stablebench.data.files.store import prepared

if TYPE_CHECKING:
    from torch import Tensor

Part = Literal["train", "validation", "test"]
UNKNOWN, PADDING = 0, 1
SPECIAL = ("<unk>", "<pad>")
VOCABULARY = 25_000
"""Tokens without the special ones."""
PER_FOLDER = 12_500
"""Reviews in each of `train/pos`, `train/neg`, `test/pos` and `test/neg`."""
VALIDATION = 7_500
REVIEWS_SHA256 = "5d8a20cd9a11cce7096d650c495235c3ad53e7faa814dfc01dd69aeaa5ac2331"
"""Of all labelled reviews: for each in the order of their names its name, a zero byte, its bytes and a zero byte."""
_SPLIT_SEED = 0
_NAME = re.compile(r"(?:^|/)((train|test)/(pos|neg)/(\d+)_\d+\.txt)$")
_TOKEN = re.compile(
    r"n't\b|'(?:s|m|d|re|ve|ll)\b|[^\W\d_]+?(?=n't\b)|[^\W\d_]+|\d+(?:[.,]\d+)*|\.{2,}|[^\w\s]|_",
)

SOURCE = DataSource(
    name="imdb",
    title="IMDB Large Movie Review Dataset (Maas et al.)",
    homepage="https://ai.stanford.edu/~amaas/data/sentiment/",
    terms="none stated; the authors ask to cite the paper; the reviews are their writers'",
    files=(
        SourceFile(
            "aclImdb_v1.tar.gz",
            84_125_825,
            "md5:7c2ac02c03563afcf9b574c7e56c153a",
            instead=(
                SourceFile(
                    "aclImdb_labelled.tar.xz",
                    19_028_980,
                    "sha256:493f40d610de63314d88c7d0fc7825e66eee46e6f84f8af3d2c9f33feaddf68f",
                ),
            ),
        ),
    ),
    downloads=(
        Download(
            "https://ai.stanford.edu/~amaas/data/sentiment/aclImdb_v1.tar.gz",
            "aclImdb_v1.tar.gz",
            84_125_825,
            "md5:7c2ac02c03563afcf9b574c7e56c153a",
        ),
    ),
)


class Reviews(NamedTuple):
    """Reviews one after another.

    Args:
        tokens: Of all reviews, (all tokens,) int16.
        ends: Where the reviews end in them, (n,) int64.
        classes: 1 for a positive review, 0 for a negative one, (n,) int64.
    """

    tokens: "Tensor"
    ends: "Tensor"
    classes: "Tensor"


def reviews(name: Part, data_dir: Path | None = None) -> Reviews:
    """Return 17,500 reviews of `train`, 7,500 of `validation` or 25,000 of `test`.

    Args:
        name: The part.
        data_dir: Folder of the data sets; None for STABLEBENCH_DATA or the cache folder.

    Raises:
        UserError: The data are missing or damaged, or the cache folder cannot be used.
    """
    parts = _prepared(data_dir)
    return Reviews(parts[f"{name}_tokens"], parts[f"{name}_ends"], parts[f"{name}_classes"])


def vocabulary(data_dir: Path | None = None) -> list[str]:
    """Return what the tokens stand for, by number, the special ones first.

    Raises:
        UserError: As for `reviews`.
    """
    return bytes(_prepared(data_dir)["vocabulary"].numpy()).decode().split("\n")


def tokenised(text: str) -> list[str]:
    """Return the tokens of a review."""
    tokens = _TOKEN.findall(text.replace("<br />", " ").lower())
    return ["..." if token.startswith("..") else token for token in tokens]


def padded(reviews: Reviews, length: int) -> "tuple[Tensor, Tensor]":
    """Return the first `length` tokens of each review with padding behind, (n, length) int16, and how many are real."""
    import torch

    n = len(reviews.ends)
    begins = [0, *reviews.ends[:-1].tolist()]
    lengths = torch.diff(reviews.ends, prepend=torch.zeros(1, dtype=torch.long)).clamp(max=length)
    numbers = torch.full((n, length), PADDING, dtype=torch.int16)
    for row, begin, count in zip(numbers, begins, lengths.tolist(), strict=True):
        row[:count] = reviews.tokens[begin : begin + count]
    return numbers, lengths


def _prepared(data_dir: Path | None) -> "dict[str, Tensor]":
    key = {"version": 1, "reviews": REVIEWS_SHA256, "vocabulary": VOCABULARY, "validation": VALIDATION}
    return prepared("imdb", key, lambda: _tokens(_texts(data_dir)))


def _texts(data_dir: Path | None) -> dict[str, str]:
    """Return all labelled reviews by their names, `train/pos/0_9.txt` and so on, in the order of their names."""
    where, entries = _entries(data_dir)
    contents = {match[1]: content for name, content in entries if (match := _NAME.search(name))}
    counts = Counter(name.rpartition("/")[0] for name in contents)
    for folder in ("train/pos", "train/neg", "test/pos", "test/neg"):
        if counts[folder] != PER_FOLDER:
            problem = f"{where} must hold {PER_FOLDER:,} reviews in {folder}, it has {counts[folder]:,}"
            raise how_to_get(SOURCE, problem, where.parent)
    digest = hashlib.sha256()
    for name in sorted(contents):
        digest.update(name.encode() + b"\0" + contents[name] + b"\0")
    if digest.hexdigest() != REVIEWS_SHA256:
        problem = f"{where}: its reviews are not the published ones, their sha256 is {digest.hexdigest()}"
        raise how_to_get(SOURCE, problem, where.parent)
    return {name: contents[name].decode("utf-8", errors="replace") for name in sorted(contents)}


def _entries(data_dir: Path | None) -> tuple[Path, Iterator[tuple[str, bytes]]]:
    """Return what holds the reviews, and its files."""
    root = data_root(data_dir)
    archive = SOURCE.files[0]
    place = access.find(SOURCE, archive, data_dir)
    trees = (folder / "aclImdb" for folder in (root / SOURCE.name, root))
    tree = next((tree for tree in trees if (tree / "train").is_dir()), None)
    if place is None and tree is not None:
        return tree, _of_tree(tree)
    _, entries = ensure.open_archive(SOURCE, archive, data_dir)
    return (root / SOURCE.name / archive.path) if place is None else place.path, entries


def _of_tree(tree: Path) -> Iterator[tuple[str, bytes]]:
    try:
        yield from archives.members(tree, lambda name: _NAME.search(name) is not None)
    except (OSError, archives.ArchiveError) as error:
        raise how_to_get(SOURCE, f"{tree} cannot be read ({error})", tree.parent) from None


def _tokens(texts: dict[str, str]) -> "dict[str, Tensor]":
    import torch

    names: dict[Part, list[str]] = {"train": [], "validation": [], "test": []}
    training = sorted((name for name in texts if name.startswith("train/")), key=_place)
    order = torch.randperm(len(training), generator=torch.Generator().manual_seed(_SPLIT_SEED)).tolist()
    names["validation"] = [training[i] for i in order[:VALIDATION]]
    names["train"] = [training[i] for i in order[VALIDATION:]]
    names["test"] = sorted((name for name in texts if name.startswith("test/")), key=_place)

    cut = {name: tokenised(text) for name, text in texts.items()}
    known = _most_frequent(cut[name] for name in names["train"])
    numbers = {token: i for i, token in enumerate([*SPECIAL, *known])}
    made = {"vocabulary": torch.frombuffer(bytearray("\n".join(numbers).encode()), dtype=torch.uint8)}
    for part, chosen in names.items():
        flat = [numbers.get(token, UNKNOWN) for name in chosen for token in cut[name]]
        made[f"{part}_tokens"] = torch.tensor(flat, dtype=torch.int16)
        made[f"{part}_ends"] = torch.tensor([len(cut[name]) for name in chosen]).cumsum(0)
        made[f"{part}_classes"] = torch.tensor([int("/pos/" in name) for name in chosen])
    return made


def _place(name: str) -> tuple[bool, int]:
    match = _NAME.search(name)
    assert match is not None
    return match[3] == "neg", int(match[4])


def _most_frequent(reviews: Iterable[list[str]]) -> list[str]:
    counts: Counter[str] = Counter()
    for tokens in reviews:
        counts.update(tokens)
    return sorted(counts, key=lambda token: (-counts[token], token))[:VOCABULARY]
