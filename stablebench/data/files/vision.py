"""Images that torchvision parses, stored as bytes in the cache folder; the one place that imports torchvision.

PyPI's torchvision next to a CPU-only torch cannot load its compiled operators, and its import then fails because it
describes operators that do not exist. The data sets need none of them: declaring the missing ones is enough.
"""

import importlib
import sys
import tempfile
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from stablebench.data.files import ensure
from stablebench.data.files.source import DataSource
from stablebench.data.files.store import prepared

if TYPE_CHECKING:
    from torch import Tensor

_OPERATORS = ("nms", "qnms")
_declared: list[Any] = []  # a torch.library.Library takes its declarations with it when it is collected


class Images(NamedTuple):
    """Images (n, ...) uint8, and their classes (n,) int64."""

    pixels: "Tensor"
    classes: "Tensor"


def load_images(
    source: DataSource,
    part: Literal["train", "test"],
    data_dir: Path | None,
    *,
    dataset: str,
    folder: str = "",
    shape: tuple[int, ...],
) -> Images:
    """Return the images of a part, mapped into memory; they are parsed once.

    Args:
        source: The data set.
        part: The part.
        data_dir: Folder of the data sets; None for STABLEBENCH_DATA or the cache folder.
        dataset: torchvision's class.
        folder: Where torchvision looks for the files.
        shape: Of an image.

    Raises:
        UserError: The data are missing or damaged, or the cache folder cannot be used.
    """
    key = {"version": 1, "files": [file.checksum for file in source.files]}
    tensors = prepared(source.name, key, lambda: _parsed(source, data_dir, dataset, folder, shape))
    return Images(tensors[f"{part}_pixels"], tensors[f"{part}_classes"])


def _parsed(
    source: DataSource, data_dir: Path | None, dataset: str, folder: str, shape: tuple[int, ...]
) -> "dict[str, Tensor]":
    import torch

    tensors = {}
    with tempfile.TemporaryDirectory() as root:
        for file, content in ensure.read_all(source, data_dir=data_dir):
            path = Path(root, folder, file.path)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        for part in ("train", "test"):
            parsed = getattr(torchvision_datasets(), dataset)(root, train=part == "train", download=False)
            tensors[f"{part}_pixels"] = torch.as_tensor(parsed.data).reshape(-1, *shape)
            tensors[f"{part}_classes"] = torch.as_tensor(parsed.targets)
    return tensors


def torchvision_datasets() -> ModuleType:
    """Return `torchvision.datasets`, in builds with and without torchvision's compiled operators.

    Raises:
        RuntimeError: torchvision cannot be imported for another reason than those operators.
    """
    try:
        return importlib.import_module("torchvision.datasets")
    except RuntimeError as error:
        if "operator torchvision::" not in str(error) or _declared:
            raise
    for name in [name for name in sys.modules if name == "torchvision" or name.startswith("torchvision.")]:
        del sys.modules[name]  # half a package: submodules that did load would miss their parent's attributes
    _declare_operators()
    return importlib.import_module("torchvision.datasets")


def _declare_operators() -> None:
    import torch

    library = torch.library.Library("torchvision", "FRAGMENT")
    for name in _OPERATORS:
        library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    _declared.append(library)
