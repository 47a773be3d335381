"""Handwritten digits of 8 x 8 pixels as 64 features at once: the images of `digits`, for networks without time."""

from typing import Literal

from stablebench.data.batch import Batch, Sizes
from stablebench.data.tasks import digits


def sizes() -> Sizes:
    """Return the sizes: 64 pixels in, ten classes out."""
    return Sizes(inputs=64, outputs=10, steps=1)


def load(name: Literal["train", "test"], *, data_dir: object = None) -> Batch:
    """Return all examples of a part.

    Args:
        name: 1,297 of `train` or 500 of `test`, the split of `digits`.
        data_dir: Not needed: the data come with scikit-learn.

    Returns:
        Pixels in [0, 1] (n, 64), classes (n,).
    """
    images = digits.load(name)
    return images._replace(inputs=images.inputs.squeeze(2))
