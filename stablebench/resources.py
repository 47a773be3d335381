"""Where task cards, published numbers, recipes and suites lie: in a checkout, or inside the installed package."""

from functools import cache
from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent


@cache
def data_root() -> Path:
    """Return the folder that holds `tasks/`, `published/` and `configs/`.

    A checkout comes first: an editable install also carries a copy, and that copy goes stale.
    """
    checkout = _PACKAGE.parent
    if (checkout / "pyproject.toml").is_file() and (checkout / "tasks").is_dir():
        return checkout
    return _PACKAGE / "_data"


def tasks_dir() -> Path:
    """Return the folder of the task cards."""
    return data_root() / "tasks"


def published_dir() -> Path:
    """Return the folder of the published numbers, one file a paper."""
    return data_root() / "published"


def recipes_dir() -> Path:
    """Return the folder of the recipes, one subfolder a task."""
    return data_root() / "configs" / "recipes"


def suites_dir() -> Path:
    """Return the folder of the suites."""
    return data_root() / "configs" / "suites"


def tuned_dir() -> Path:
    """Return the folder of the recipes that `tune` wrote, one subfolder a suite."""
    return data_root() / "configs" / "tuned"


def sweeps_dir() -> Path:
    """Return the folder of the sweeps' search spaces."""
    return data_root() / "configs" / "sweeps"
