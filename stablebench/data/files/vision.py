"""The one place that imports torchvision.

PyPI's torchvision next to a CPU-only torch cannot load its compiled operators, and its import then fails because it
describes operators that do not exist. The data sets need none of them: declaring the missing ones is enough.
"""

import importlib
import sys
from types import ModuleType
from typing import Any

_OPERATORS = ("nms", "qnms")
_declared: list[Any] = []  # a torch.library.Library takes its declarations with it when it is collected


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
