"""Noise-padded CIFAR-10 (Chang et al. 2019): an image's 32 rows, then noise until step 1,000.

A row is one step of 96 features in [0, 1]: its 32 red values, then 32 green, then 32 blue. All that can be known has
been seen after 32 steps and must be kept over 968 steps of noise. Papers say and do different things about the noise:

    uniform       independent uniform numbers, new for every image and every time it is shown: coRNN's text; here bytes
                  divided by 255, as pixels are
    fixed_normal  one tensor of N(0, 1) numbers, the same after every image of every split: what coRNN's code does
"""

from functools import cache
from pathlib import Path
from typing import Literal

import numpy as np
import torch

from stablebench.data.batch import Batch, Sizes
from stablebench.data.files import cifar10
from stablebench.errors import UserError
from stablebench.schema.strict import Count

Noise = Literal["uniform", "fixed_normal"]
FEATURES = cifar10.SIDE * cifar10.COLOURS
_NOISE_SEED = 0


def sizes(*, length: Count = 1000) -> Sizes:
    """Return the sizes: one row's three colours in, ten classes out."""
    if length < cifar10.SIDE:
        raise UserError(f"`length` must be >= {cifar10.SIDE} (the rows of an image), got {length}.")
    return Sizes(inputs=FEATURES, outputs=cifar10.CLASSES, steps=length)


def load(
    name: Literal["train", "test"], *, length: Count = 1000, noise: Noise = "uniform", data_dir: Path | None = None
) -> Batch:
    """Return all examples of a part; the noise comes when they are shown.

    Args:
        name: 50,000 of `train` or 10,000 of `test`.
        length: Steps in all, >= 32.
        noise: What follows the image.
        data_dir: Folder of the data sets; None for STABLEBENCH_DATA or the cache folder.

    Returns:
        Images (n, 32, 32, 3) as bytes, classes (n,).

    Raises:
        UserError: The data are missing or damaged.
    """
    return Batch(*cifar10.images(name, data_dir))


def transform(batch: Batch, *, rng: torch.Generator, length: Count = 1000, noise: Noise = "uniform") -> Batch:
    """Return stored examples as the network sees them: rows and noise (n, length, 96)."""
    count = len(batch.inputs)
    inputs = torch.empty(count, length, FEATURES)
    inputs[:, : cifar10.SIDE] = batch.inputs.transpose(2, 3).reshape(count, cifar10.SIDE, FEATURES)
    rest = inputs[:, cifar10.SIDE :]
    if noise == "uniform":
        rest.copy_(_random_bytes(rest.numel(), rng).view(rest.shape))
        inputs.div_(255)
    else:
        inputs[:, : cifar10.SIDE].div_(255)
        rest.copy_(fixed_noise(length))
    return batch._replace(inputs=inputs)


def _random_bytes(count: int, rng: torch.Generator) -> torch.Tensor:
    """Return independent uniform bytes (count,).

    They come eight at a time from a bit generator of numpy, seeded by `rng`: torch takes ten times as long for the nine
    million floats of a batch of 100.
    """
    seed = int(torch.randint(2**62, (), generator=rng))
    words = np.random.PCG64DXSM(seed).random_raw(-(-count // 8))
    return torch.from_numpy(words.astype("<u8", copy=False).view(np.uint8))[:count]


@cache
def fixed_noise(length: int = 1000) -> torch.Tensor:
    """Return the noise of `fixed_normal`, (length - 32, 96)."""
    return torch.randn(length - cifar10.SIDE, FEATURES, generator=torch.Generator().manual_seed(_NOISE_SEED))
