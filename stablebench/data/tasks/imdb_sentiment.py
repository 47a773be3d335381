"""Sentiment of film reviews (Maas et al. 2011): is a review positive? Read token by token, answered at its end.

Tokens, split and vocabulary are those of `imdb`; their vectors begin as GloVe's, zero for tokens without one, for
unknown ones and for padding. Reviews are cut to their first tokens and padded to one length. Where the answer is read:

    end      at the review's last token; what stands behind it does not matter
    padding  at the last step, after the padding, as coRNN's code does (which pads to the longest review of a batch)
"""

from pathlib import Path
from typing import Literal, get_args

from torch import Tensor

from stablebench.data.batch import Batch, Embedding, Sizes
from stablebench.data.files import glove, imdb
from stablebench.errors import UserError
from stablebench.schema.strict import Count

Read = Literal["end", "padding"]


def sizes(*, length: Count = 400, width: glove.Width = 100, trained: bool = True) -> Sizes:
    """Return the sizes: 25,002 tokens in, embedded; one logit out."""
    alphabet = imdb.VOCABULARY + len(imdb.SPECIAL)
    return Sizes(inputs=alphabet, outputs=1, steps=length, embedding=Embedding(width, trained))


def load(
    name: imdb.Part,
    *,
    length: Count = 400,
    read: Read = "end",
    width: glove.Width = 100,
    trained: bool = True,
    data_dir: Path | None = None,
) -> Batch:
    """Return all examples of a part.

    Args:
        name: 17,500 of `train`, 7,500 of `validation` or 25,000 of `test`.
        length: Tokens of a review that are read at most.
        read: Where the answer is read.
        width: Numbers of a token's vector; for `sizes` and `initial_embedding`.
        trained: Whether the vectors are trained; for `sizes`.
        data_dir: Folder of the data sets; None for STABLEBENCH_DATA or the cache folder.

    Returns:
        Tokens (n, length) as int16, classes (n,), 1 for positive, and where the answer is read at the end, lengths.

    Raises:
        UserError: The data are missing or damaged, or the cache folder cannot be used.
    """
    reviews = imdb.reviews(name, data_dir)
    inputs, lengths = imdb.padded(reviews, length)
    return Batch(inputs, reviews.classes, lengths=lengths if read == "end" else None)


def transform(batch: Batch) -> Batch:
    """Return stored examples as the network sees them: tokens (n, length) int64."""
    return batch._replace(inputs=batch.inputs.long())


def initial_embedding(
    *,
    length: Count = 400,
    read: Read = "end",
    width: glove.Width = 100,
    trained: bool = True,
    data_dir: Path | None = None,
) -> Tensor:
    """Return the vectors that tokens begin with, (25002, width).

    Args:
        length: As for `load`.
        read: As for `load`.
        width: Numbers of a token's vector.
        trained: As for `load`.
        data_dir: Folder of the data sets; None for STABLEBENCH_DATA or the cache folder.

    Raises:
        UserError: Reviews or vectors are missing or damaged.
    """
    words = imdb.vocabulary(data_dir)
    try:
        return glove.vectors(words, width=width, data_dir=data_dir)
    except UserError as error:
        if width == min(get_args(glove.Width)):
            raise
        other = "Or take vectors of 50 numbers, a smaller file: the task imdb/glove50; papers have 100."
        raise UserError(f"{error}\n{other}") from None
