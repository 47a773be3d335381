"""Names -> task cards, recipes, suites and search spaces. A name is a file's stem; no list is kept anywhere."""

from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stablebench.errors import unknown_name
from stablebench.resources import recipes_dir, suites_dir, sweeps_dir, tasks_dir

if TYPE_CHECKING:
    from stablebench.schema.card import TaskCard
    from stablebench.schema.recipe import Recipe
    from stablebench.schema.suite import Suite
    from stablebench.schema.sweep import SweepSpace


def task_names() -> list[str]:
    """Return the names of all task cards."""
    return sorted(p.stem for p in tasks_dir().glob("*.yaml"))


def task_card(name: str) -> "TaskCard":
    """Return a task card.

    Raises:
        UserError: There is no such task, or its card has problems.
    """
    known = task_names()
    if name not in known:
        raise unknown_name("task", name, known)
    path = tasks_dir() / f"{name}.yaml"
    found = path.stat()
    return _card_at(path, found.st_mtime_ns, found.st_size)


@lru_cache(maxsize=64)
def _card_at(path: Path, mtime_ns: int, size: int) -> "TaskCard":
    """Return the card of a file, which is read again only after it changed: suites ask for it with every cell."""
    from stablebench.schema.card import TaskCard
    from stablebench.schema.strict import load

    return load(path, TaskCard)


def recipe_names() -> list[str]:
    """Return the names of all recipes, `task/model`."""
    return _paths(recipes_dir())


def recipe(task: str, model: str) -> "Recipe | None":
    """Return the recipe of a model on a task, or None where there is none."""
    from stablebench.schema.recipe import Recipe
    from stablebench.schema.strict import load

    path = recipes_dir() / task / f"{model}.yaml"
    return load(path, Recipe) if path.is_file() else None


def suite_names() -> list[str]:
    """Return the names of all suites, their paths without the ending."""
    return _paths(suites_dir())


_SUITE_FILES = (".yaml", ".yml")


def is_suite(name: str) -> bool:
    """Return whether a registered suite or a suite's YAML file is named."""
    return name.endswith(_SUITE_FILES) or name in suite_names()


def suite(name: str) -> "Suite":
    """Return a registered suite, or that of a file `path/to/suite.yaml`.

    Raises:
        UserError: There is no such suite, or it has problems.
    """
    from stablebench.schema.strict import load
    from stablebench.schema.suite import Suite

    if name.endswith(_SUITE_FILES):
        return load(Path(name), Suite)
    return _named(suites_dir(), name, "suite", suite_names(), Suite)


def sweep_names() -> list[str]:
    """Return the names of all search spaces, their paths without the ending."""
    return _paths(sweeps_dir())


def sweep(name: str) -> "SweepSpace":
    """Return a search space.

    Raises:
        UserError: There is no such space, or it has problems.
    """
    from stablebench.schema.sweep import SweepSpace

    return _named(sweeps_dir(), name, "sweep", sweep_names(), SweepSpace)


def _paths(root: Path) -> list[str]:
    return sorted(p.relative_to(root).with_suffix("").as_posix() for p in root.rglob("*.yaml"))


def _named(root: Path, name: str, kind: str, known: list[str], model: "Callable[..., Any] | type") -> Any:
    from stablebench.schema.strict import load

    if name not in known:
        raise unknown_name(kind, name, known)
    return load(root / f"{name}.yaml", model)  # pyright: ignore[reportArgumentType]
