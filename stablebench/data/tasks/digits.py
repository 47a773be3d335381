"""Handwritten digits of 8 x 8 pixels, read pixel by pixel (Alpaydin & Kaynak 1998, the copy in scikit-learn).

1,797 images, row by row from the top left, 64 steps of one feature in [0, 1] (the files have 0 ... 16). The data come
without a split: ours is drawn once from a fixed seed, 1,297 for training and 500 for testing.
"""

from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

import numpy
import torch

from stablebench.data.batch import Batch, Sizes
from stablebench.errors import UserError

TEST = 500
_SPLIT_SEED = 0
_PERMUTATION_SEED = 1
_STEPS = 64


def sizes() -> Sizes:
    """Return the sizes: one pixel in, ten classes out."""
    return Sizes(inputs=1, outputs=10, steps=_STEPS)


def permutation() -> torch.Tensor:
    """Return the fixed order of pixels of the permuted variant, (64,): step t shows pixel permutation[t]."""
    return torch.randperm(_STEPS, generator=torch.Generator().manual_seed(_PERMUTATION_SEED))


def _file() -> Path:
    """Return the file that `sklearn.datasets.load_digits` reads, whose import takes a second."""
    package = find_spec("sklearn")
    if package is None or package.origin is None:
        raise UserError("the task digits reads data that come with scikit-learn, which is not installed.")
    return Path(package.origin).parent / "datasets" / "data" / "digits.csv.gz"


@lru_cache(maxsize=2)
def _images() -> tuple[torch.Tensor, torch.Tensor]:
    """Return pixels (1797, 64) in [0, 1] and classes (1797,), in the split's order: test examples last."""
    rows = numpy.loadtxt(_file(), delimiter=",")
    pixels, classes = rows[:, :-1], rows[:, -1]
    order = torch.randperm(len(classes), generator=torch.Generator().manual_seed(_SPLIT_SEED))
    return (torch.from_numpy(pixels).to(torch.float32) / 16)[order], torch.from_numpy(classes).long()[order]


def load(name: Literal["train", "test"], *, permuted: bool = False, data_dir: object = None) -> Batch:
    """Return all examples of a part.

    Args:
        name: 1,297 of `train` or 500 of `test`.
        permuted: Whether the pixels come in one fixed random order.
        data_dir: Not needed: the data come with scikit-learn.

    Returns:
        Pixels (n, 64, 1), classes (n,).
    """
    pixels, classes = _images()
    part = slice(-TEST, None) if name == "test" else slice(None, -TEST)
    chosen = pixels[part][:, permutation()] if permuted else pixels[part]
    return Batch(chosen.unsqueeze(2), classes[part])
