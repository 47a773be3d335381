"""Permuted sequential MNIST: sequential MNIST with its pixels in one fixed random order.

"The" permutation of this task does not exist: papers drew their own, and numbers on different ones are not strictly
comparable. Step t shows pixel permutation[t] of the image read row by row.

    lmu           numpy RandomState(0): LMU (Voelker et al. 2019), and roaRNN, which takes it from LMU's NengoDL example
    exprnn        numpy RandomState(92916): uRNN, full-capacity uRNN, scoRNN, expRNN, dtriv
    nnrnn         numpy RandomState(1234): nnRNN
    cornn         torch seed 12008: coRNN, LipschitzRNN
    unicornn      torch seed 5544: UnICORNN, LEM
    bit_reversal  pixel numbers with their ten bits reversed, those below 784: HiPPO, S4, S5
"""

from functools import cache
from pathlib import Path
from typing import Literal

import numpy as np
import torch

from stablebench.data.batch import Batch
from stablebench.data.files import mnist
from stablebench.data.tasks import smnist
from stablebench.data.tasks.smnist import sizes as sizes  # the same network sees both

Permutation = Literal["lmu", "exprnn", "nnrnn", "cornn", "unicornn", "bit_reversal"]
_NUMPY_SEEDS = {"lmu": 0, "exprnn": 92916, "nnrnn": 1234}
_TORCH_SEEDS = {"cornn": 12008, "unicornn": 5544}


@cache
def permutation_of(name: Permutation) -> torch.Tensor:
    """Return a paper's order of pixels, (784,) int64."""
    if name in _NUMPY_SEEDS:
        legacy = np.random.RandomState(_NUMPY_SEEDS[name])
        return torch.from_numpy(legacy.permutation(mnist.PIXELS)).long()
    if name in _TORCH_SEEDS:
        return torch.randperm(mnist.PIXELS, generator=torch.Generator().manual_seed(_TORCH_SEEDS[name]))
    bits = (mnist.PIXELS - 1).bit_length()
    reversed_bits = [int(f"{i:0{bits}b}"[::-1], 2) for i in range(2**bits)]
    return torch.tensor([i for i in reversed_bits if i < mnist.PIXELS])


def load(name: Literal["train", "test"], *, permutation: Permutation = "lmu", data_dir: Path | None = None) -> Batch:
    """Return all examples of a part.

    Args:
        name: 60,000 of `train` or 10,000 of `test`.
        permutation: Whose order of pixels; it is applied when examples are shown.
        data_dir: Folder of the data sets; None for STABLEBENCH_DATA or the cache folder.

    Returns:
        Pixels (n, 784) as bytes, row by row, classes (n,).

    Raises:
        UserError: The data are missing or damaged.
    """
    return Batch(*mnist.images(name, data_dir))


def transform(batch: Batch, *, permutation: Permutation = "lmu") -> Batch:
    """Return stored examples as the network sees them: pixels (n, 784, 1) in [0, 1], permuted."""
    return smnist.transform(batch._replace(inputs=batch.inputs[:, permutation_of(permutation)]))
