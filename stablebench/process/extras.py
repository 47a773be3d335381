"""Optional dependencies: what to install where one is missing."""

import importlib.util
import sys

from stablebench.errors import UserError


def require(package: str, extra: str, wanted_by: str) -> None:
    """Hold that a package of an extra is installed, without importing it.

    Args:
        package: The name it is imported by.
        extra: The extra of stablebench's that brings it.
        wanted_by: What needs it, as the user typed it.

    Raises:
        UserError: It is not installed; the message has the command that does.
    """
    if package in sys.modules:
        installed = sys.modules[package] is not None
    else:
        installed = importlib.util.find_spec(package) is not None
    if not installed:
        raise UserError(f"{wanted_by} needs {package}, which is not installed: pip install 'stablebench[{extra}]'")
