"""The CIFAR-10 images (Krizhevsky 2009), parsed by torchvision and stored as bytes in the cache folder.

The publisher's batches are pickles: they are opened only after their published checksums hold. They lie in
`cifar10/cifar-10-batches-py/` of the data folder or, as torchvision has them, in `cifar-10-batches-py/`.
"""

from pathlib import Path
from typing import Literal

from stablebench.data.files.source import DataSource, Download, SourceFile
from stablebench.data.files.vision import Images, load_images

SIDE = 32
COLOURS = 3
CLASSES = 10


def _batch(name: str, n_bytes: int, md5: str) -> SourceFile:
    return SourceFile(f"cifar-10-batches-py/{name}", n_bytes, f"md5:{md5}")


SOURCE = DataSource(
    name="cifar10",
    title="CIFAR-10 colour images of 32 x 32 pixels (Krizhevsky)",
    homepage="https://www.cs.toronto.edu/~kriz/cifar.html",
    terms="none stated; the authors ask to cite the report",
    files=(
        _batch("data_batch_1", 31_035_704, "c99cafc152244af753f735de768cd75f"),
        _batch("data_batch_2", 31_035_320, "d4bba439e000b95fd0a9bffe97cbabec"),
        _batch("data_batch_3", 31_035_999, "54ebc095f3ab1f0389bbae665268c751"),
        _batch("data_batch_4", 31_035_696, "634d18415352ddfa80567beed471001a"),
        _batch("data_batch_5", 31_035_623, "482c414d41f54cd18b22e5b47cb7c3cb"),
        _batch("test_batch", 31_035_526, "40351d587109b95175f43aff81a1287e"),
        _batch("batches.meta", 158, "5ff9c542aee3614f3951f8cda6e48888"),
    ),
    downloads=(
        Download(
            "https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz",
            "cifar-10-python.tar.gz",
            170_498_071,
            "md5:c58f30108f718f92721af3b95e74349a",
            kind="archive",
        ),
    ),
    folders=("",),
)


def images(name: Literal["train", "test"], data_dir: Path | None = None) -> Images:
    """Return 50,000 images of `train` or 10,000 of `test`: pixels (n, 32, 32, 3) uint8, classes (n,) int64.

    Rows come from the top, pixels from the left, colours as red, green, blue.

    Args:
        name: The part.
        data_dir: Folder of the data sets; None for STABLEBENCH_DATA or the cache folder.

    Raises:
        UserError: The data are missing or damaged, or the cache folder cannot be used.
    """
    return load_images(SOURCE, name, data_dir, dataset="CIFAR10", shape=(SIDE, SIDE, COLOURS))
