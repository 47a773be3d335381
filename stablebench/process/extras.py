"""Optional dependencies: what to install where one is missing."""

import importlib.util
import sys
from collections.abc import Sequence

from stablebench.errors import UserError

_SMALLER = {"mlflow": "mlflow-skinny"}
"""Packages that bring a module with less around it than the one of the module's own name."""


def require(package: str, wanted_by: str, *others: str) -> str:
    """Return which of several packages is installed, without importing it.

    Args:
        package: The name it is imported by.
        wanted_by: What needs it, as the user typed it.
        others: Packages that serve as well.

    Raises:
        UserError: None is installed; the message has the command that does, which works from any folder.
    """
    names = (package, *others)
    for name in names:
        if _installed(name):
            return name
    missing = "which is not installed" if not others else "and none of them is installed"
    raise UserError(f"{wanted_by} needs {_either(names)}, {missing}: pip install {_SMALLER.get(package, package)}")


def _installed(package: str) -> bool:
    if package in sys.modules:
        return sys.modules[package] is not None
    return importlib.util.find_spec(package) is not None


def _either(names: Sequence[str]) -> str:
    return " or ".join(names)
