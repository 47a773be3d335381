"""Sequential MNIST (Le, Jaitly & Hinton 2015): handwritten digits of 28 x 28 pixels, read pixel by pixel.

Rows from the top left, 784 steps of one feature in [0, 1]; the official 60,000 and 10,000 images.
"""

from pathlib import Path
from typing import Literal

import torch

from stablebench.data.batch import Batch, Sizes
from stablebench.data.files import mnist


def sizes() -> Sizes:
    """Return the sizes: one pixel in, ten classes out."""
    return Sizes(inputs=1, outputs=10, steps=mnist.PIXELS)


def load(name: Literal["train", "test"], *, data_dir: Path | None = None) -> Batch:
    """Return all examples of a part.

    Args:
        name: 60,000 of `train` or 10,000 of `test`.
        data_dir: Folder of the data sets; None for STABLEBENCH_DATA or the cache folder.

    Returns:
        Pixels (n, 784) as bytes, classes (n,).

    Raises:
        UserError: The data are missing or damaged.
    """
    return Batch(*mnist.images(name, data_dir))


def transform(batch: Batch) -> Batch:
    """Return stored examples as the network sees them: pixels (n, 784, 1) in [0, 1]."""
    return batch._replace(inputs=batch.inputs.unsqueeze(2).to(torch.float32).div_(255))
