"""Sequential CIFAR-10: colour images of 32 x 32 pixels, read pixel by pixel.

Rows from the top left, 1,024 steps of red, green and blue in [0, 1]; the official 50,000 and 10,000 images.
"""

from pathlib import Path
from typing import Literal

import torch

from stablebench.data.batch import Batch, Sizes
from stablebench.data.files import cifar10


def sizes() -> Sizes:
    """Return the sizes: one pixel's three colours in, ten classes out."""
    return Sizes(inputs=cifar10.COLOURS, outputs=cifar10.CLASSES, steps=cifar10.SIDE**2)


def load(name: Literal["train", "test"], *, data_dir: Path | None = None) -> Batch:
    """Return all examples of a part.

    Args:
        name: 50,000 of `train` or 10,000 of `test`.
        data_dir: Folder of the data sets; None for STABLEBENCH_DATA or the cache folder.

    Returns:
        Images (n, 32, 32, 3) as bytes, classes (n,).

    Raises:
        UserError: The data are missing or damaged.
    """
    return Batch(*cifar10.images(name, data_dir))


def transform(batch: Batch) -> Batch:
    """Return stored examples as the network sees them: pixels (n, 1024, 3) in [0, 1]."""
    return batch._replace(inputs=batch.inputs.flatten(1, 2).to(torch.float32).div_(255))
