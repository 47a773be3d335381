"""Names -> task cards with their published numbers, recipes, suites and search spaces. A name is a file's stem."""

import re
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stablebench.errors import unknown_name
from stablebench.resources import published_dir, recipes_dir, suites_dir, sweeps_dir, tasks_dir

if TYPE_CHECKING:
    from stablebench.schema.card import TaskCard
    from stablebench.schema.published import Paper
    from stablebench.schema.recipe import Recipe
    from stablebench.schema.suite import Suite
    from stablebench.schema.sweep import SweepSpace


_OWN_TASK = re.compile(r"(.+\.(?:ya?ml|npz|csv|parquet))(?:/([^/]*))?$", re.IGNORECASE)


def task_parts(task: str) -> tuple[str, str | None, bool]:
    """Return a task's name, or the file of a card or of data, its variant, and whether it is a file."""
    if (own := _OWN_TASK.match(task)) is not None:
        return own[1], own[2] or None, True
    name, _, variant = task.partition("/")
    return name, variant or None, False


def table_of(task: str) -> tuple[str, str | None]:
    """Return the name that a leaderboard has a task under, and its variant; of a card it is the file's, as a rule."""
    name, variant, is_file = task_parts(task)
    return (Path(name).stem if is_file else name), variant


def task_label(task: str) -> str:
    """Return what a task is called in names of files: `copy-t100`, `my_task`."""
    name, variant = table_of(task)
    return name + (f"-{variant}" if variant else "")


def task_names() -> list[str]:
    """Return the names of all task cards."""
    return sorted(p.stem for p in tasks_dir().glob("*.yaml"))


def task_card(name: str) -> "TaskCard":
    """Return a task card with the numbers that all papers have published on the task.

    Raises:
        UserError: There is no such task, or its card or a paper's file has problems.
    """
    known = task_names()
    if name not in known:
        raise unknown_name("task", name, known)
    papers = sorted(published_dir().glob("*.yaml"))
    return _card_at(_as_it_is(tasks_dir() / f"{name}.yaml"), tuple(_as_it_is(path) for path in papers))


def paper_names() -> list[str]:
    """Return the names of all papers with published numbers."""
    return _paths(published_dir())


def paper(name: str) -> "Paper":
    """Return the numbers that a paper has published.

    Raises:
        UserError: There is no such paper, or its file has problems.
    """
    from stablebench.schema.published import Paper

    return _named(published_dir(), name, "paper", paper_names(), Paper)


_File = tuple[Path, int, int]
"""A file as it is: path, time of the last change in ns, size in bytes."""


def _as_it_is(path: Path) -> _File:
    status = path.stat()
    return path, status.st_mtime_ns, status.st_size


@lru_cache(maxsize=64)
def _card_at(card: _File, papers: tuple[_File, ...]) -> "TaskCard":
    """Return the card of a file, which is read again only after a file changed: suites ask for it with every run."""
    from stablebench.schema.card import TaskCard
    from stablebench.schema.strict import load

    own = load(card[0], TaskCard)
    entries = [
        entry
        for paper in papers
        for table in _paper_at(paper).tables
        if table.task == own.task
        for entry in table.entries
    ]
    return own.model_copy(update={"published": [*own.published, *entries]})


@lru_cache(maxsize=64)
def _paper_at(paper: _File) -> "Paper":
    from stablebench.schema.published import Paper
    from stablebench.schema.strict import load

    return load(paper[0], Paper)


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
        return load(Path(name), Suite).located(lambda named: near(Path(name), named))
    return _named(suites_dir(), name, "suite", suite_names(), Suite)


def near(file: Path, named: str) -> str:
    """Return a model or task that a suite's file names: `my_cell.py:MyCell` and `my_task.yaml` are paths from the file.

    What does not lie there is looked for from where the command is typed.
    """
    path, _, is_task = task_parts(named)
    if ".py:" in named:
        path = named.rpartition(":")[0]
    elif not is_task:
        return named
    inside = file.parent / path
    return str(inside) + named[len(path) :] if inside.is_file() else named


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
