"""The MNIST images (LeCun, Cortes & Burges), parsed by torchvision and stored as bytes in the cache folder.

The four files lie in `mnist/` of the data folder or, as torchvision has them, in `MNIST/raw/`.
"""

from pathlib import Path
from typing import Literal

from stablebench.data.files.source import DataSource, Download, SourceFile
from stablebench.data.files.vision import Images, load_images

PIXELS = 784
_MIRROR = "https://ossci-datasets.s3.amazonaws.com/mnist/"
_OTHER_MIRROR = "https://storage.googleapis.com/cvdf-datasets/mnist/"


def _offered(name: str, n_bytes: int, md5: str) -> Download:
    return Download(f"{_MIRROR}{name}", name, n_bytes, f"md5:{md5}", mirrors=(f"{_OTHER_MIRROR}{name}",))


SOURCE = DataSource(
    name="mnist",
    title="MNIST handwritten digits (LeCun, Cortes & Burges)",
    homepage="http://yann.lecun.com/exdb/mnist/",
    terms="commonly given as CC BY-SA 3.0",
    files=(
        SourceFile("train-images-idx3-ubyte", 47_040_016, "md5:6bbc9ace898e44ae57da46a324031adb"),
        SourceFile("train-labels-idx1-ubyte", 60_008, "md5:a25bea736e30d166cdddb491f175f624"),
        SourceFile("t10k-images-idx3-ubyte", 7_840_016, "md5:2646ac647ad5339dbf082846283269ea"),
        SourceFile("t10k-labels-idx1-ubyte", 10_008, "md5:27ae3e4e09519cfbb04c329615203637"),
    ),
    downloads=(
        _offered("train-images-idx3-ubyte.gz", 9_912_422, "f68b3c2dcbeaaa9fbdd348bbdeb94873"),
        _offered("train-labels-idx1-ubyte.gz", 28_881, "d53e105ee54ea40749a09fcbcd1e9432"),
        _offered("t10k-images-idx3-ubyte.gz", 1_648_877, "9fb629c4189551a2d022fa330f9573f3"),
        _offered("t10k-labels-idx1-ubyte.gz", 4_542, "ec29112dd5afa0611ce80d1b7f02629c"),
    ),
    folders=("MNIST/raw",),
)


def images(name: Literal["train", "test"], data_dir: Path | None = None) -> Images:
    """Return 60,000 images of `train` or 10,000 of `test`, row by row: pixels (n, 784) uint8, classes (n,) int64.

    Args:
        name: The part.
        data_dir: Folder of the data sets; None for STABLEBENCH_DATA or the cache folder.

    Raises:
        UserError: The data are missing or damaged, or the cache folder cannot be used.
    """
    return load_images(SOURCE, name, data_dir, dataset="MNIST", folder="MNIST/raw", shape=(PIXELS,))
