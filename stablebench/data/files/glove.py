"""GloVe word vectors (Pennington, Socher & Manning 2014), 6B: Wikipedia 2014 and Gigaword 5, 400,000 lower-case words.

A line of a file is a word and its numbers. Instead of the whole file with 50 numbers a word there may be
`glove.6B.50d.imdb.txt`: the unchanged lines of the 45,204 words that stand in at least two IMDB training reviews.
"""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from stablebench.data.files import access, ensure
from stablebench.data.files.source import DataSource, Download, SourceFile, how_to_get
from stablebench.data.files.store import prepared

if TYPE_CHECKING:
    from torch import Tensor

Width = Literal[50, 100]
_SELECTION = SourceFile(
    "glove.6B.50d.imdb.txt", 19_400_892, "sha256:c34206405eca765a7062005667ecb34aa072feca5b717760f2b9be5e0f4b03be"
)
_ADDRESS = "https://nlp.stanford.edu/data/glove.6B.zip"

SOURCE = DataSource(
    name="glove",
    title="GloVe 6B word vectors (Pennington, Socher & Manning)",
    homepage="https://nlp.stanford.edu/projects/glove/",
    terms="Public Domain Dedication and License 1.0, as its page states",
    files=(
        SourceFile(
            "glove.6B.50d.txt",
            171_350_079,
            "sha256:d8f717f8dd4b545cb7f418ef9f3d0c3e6e68a6f48b97d32f8b7aae40cb31f96f",
            instead=(_SELECTION,),
        ),
        SourceFile(
            "glove.6B.100d.txt",
            347_116_733,
            "sha256:95dde4dfd627ab26608d33e76d1195ec059734bd29089ea52cadb08d07c64544",
        ),
    ),
    downloads=(
        Download(
            _ADDRESS,
            "glove.6B.zip",
            862_182_613,
            "sha256:617afb2fe6cbd085c235baf7a465b96f4112bd7f7ccb2b2cbd649fed9cbcf2fb",
            kind="archive",
            mirrors=("https://downloads.cs.stanford.edu/nlp/data/glove.6B.zip",),
        ),
    ),
    folders=("glove.6B",),
)


def vectors(words: Sequence[str], *, width: Width = 100, data_dir: Path | None = None) -> "Tensor":
    """Return the words' vectors, (words, width); zeros for words without one.

    Args:
        words: Words as GloVe writes them, in lower case.
        width: Numbers of a vector.
        data_dir: Folder of the data sets; None for STABLEBENCH_DATA or the cache folder.

    Raises:
        UserError: The data are missing or damaged, or the cache folder cannot be used.
    """
    file = SOURCE.file(f"glove.6B.{width}d.txt")
    place = access.find(SOURCE, file, data_dir)
    read = file if place is None else place.file  # a selection may lack words that the whole file has
    digest = hashlib.sha256("\n".join(words).encode()).hexdigest()
    key = {"version": 1, "file": read.checksum, "width": width, "words": digest}
    return prepared("glove", key, lambda: {"vectors": _read(words, file, width, data_dir)})["vectors"]


def _read(words: Sequence[str], file: SourceFile, width: int, data_dir: Path | None) -> "Tensor":
    import numpy as np
    import torch

    table = np.zeros((len(words), width), dtype=np.float32)
    rows = {word.encode(): row for row, word in enumerate(words)}
    for i, line in enumerate(ensure.read(SOURCE, file, data_dir).splitlines(), start=1):
        word, _, numbers = line.partition(b" ")
        row = rows.get(word)
        if row is None:
            continue
        try:
            values = np.array([float(number) for number in numbers.split()])
        except ValueError:
            values = np.empty(0)
        if values.shape != (width,) or not np.isfinite(values).all():
            raise how_to_get(SOURCE, f"{file.path}: line {i} must be a word and {width} numbers")
        table[row] = values
    return torch.from_numpy(table)
