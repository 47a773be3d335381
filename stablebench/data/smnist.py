"""Sequential MNIST (Le, Jaitly & Hinton 2015): handwritten digits of 28 x 28 pixels, read pixel by pixel.

Rows from the top left, 784 steps of one feature in [0, 1]; the official 60,000 and 10,000 images.
"""

from functools import lru_cache
from pathlib import Path
from typing import Literal

import torch

from stablebench.data import mnist
from stablebench.data.batch import Batch, Sizes


def sizes() -> Sizes:
    """Return the sizes: one pixel in, ten classes out."""
    return Sizes(inputs=1, outputs=10, steps=mnist.PIXELS)


def load(name: Literal["train", "test"], *, data_dir: Path | None = None) -> Batch:
    """Return all examples of a part.

    Args:
        name: 60,000 of `train` or 10,000 of `test`.
        data_dir: Folder of the data sets; None for STABLEBENCH_DATA or the cache folder.

    Returns:
        Pixels (n, 784, 1), classes (n,).

    Raises:
        UserError: The data are missing or damaged.
    """
    return _values(mnist.prepare(data_dir), name)


@lru_cache(maxsize=2)
def _values(root: Path, name: Literal["train", "test"]) -> Batch:
    images = mnist.images(root, name)
    return Batch(images.pixels.unsqueeze(2).to(torch.float32).div_(255), images.classes)
