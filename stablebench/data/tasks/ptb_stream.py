"""Penn Treebank as one long sequence of characters or words, of which the next is to be predicted (see `ptb`)."""

from pathlib import Path

from torch import Tensor

from stablebench.data.batch import Embedding, Sizes
from stablebench.data.files import ptb
from stablebench.data.tasks.ptb_text import Text
from stablebench.schema.strict import Count


def sizes(*, level: ptb.Level = "char", bptt: Count = 150, embedding: Count = 200) -> Sizes:
    """Return the sizes: tokens in, embedded in trained vectors, and tokens out."""
    alphabet = ptb.ALPHABET[level]
    return Sizes(inputs=alphabet, outputs=alphabet, steps=bptt, embedding=Embedding(embedding))


def stream(
    name: ptb.Part,
    *,
    level: ptb.Level = "char",
    bptt: Count = 150,
    embedding: Count = 200,
    data_dir: Path | None = None,
) -> Tensor:
    """Return the tokens of a part in their order, (n,).

    Args:
        name: The part.
        level: Characters or words.
        bptt: Steps of truncated backpropagation; for `sizes`.
        embedding: Width of a token's vector; for `sizes`.
        data_dir: Folder of the data sets; None for STABLEBENCH_DATA or the cache folder.

    Raises:
        UserError: The data are missing or damaged, or the cache folder cannot be used.
    """
    return ptb.load_tokens(name, level=level, data_dir=data_dir).numbers


def text(*, level: ptb.Level = "char", data_dir: Path | None = None) -> Text:
    """Return how the tokens are written.

    Args:
        level: Characters or words.
        data_dir: Folder of the data sets; None for STABLEBENCH_DATA or the cache folder.

    Raises:
        UserError: The data are missing or damaged, or the cache folder cannot be used.
    """
    return Text(level, ptb.load_tokens("train", level=level, data_dir=data_dir).vocabulary)
