"""What a shell completes: names of models, tasks, suites, recipes, sweeps and runs, read from file names alone."""

from collections.abc import Callable, Iterable
from pathlib import Path

import typer

from stablebench import registry

Completer = Callable[[typer.Context, str], list[str]]
_MOST_RUNS = 500
"""Runs that are offered at once."""


def _last_of_list(names: Callable[[str], Iterable[str]], incomplete: str) -> list[str]:
    """Return what the last name of `a,b` may become, with those before it."""
    before, comma, last = incomplete.rpartition(",")
    given = before.split(",")
    return [f"{before}{comma}{name}" for name in names(last) if name.startswith(last) and name not in given]


def models(ctx: typer.Context, incomplete: str) -> list[str]:
    """Return names of models; of `a,b` the last one."""
    from stablebench.models.registry import model_names

    return _last_of_list(lambda _: model_names(), incomplete)


def tasks(ctx: typer.Context, incomplete: str) -> list[str]:
    """Return names of tasks, and once one is written whole its variants; of `a,b` the last one."""
    return _last_of_list(_task_names, incomplete)


def _task_names(begun: str) -> Iterable[str]:
    names = registry.task_names()
    name = begun.partition("/")[0]
    return names if name not in names else [*names, *(f"{name}/{variant}" for variant in _variants(name))]


def _variants(task: str) -> list[str]:
    from stablebench.resources import tasks_dir
    from stablebench.schema.yaml_file import read

    return list(read(tasks_dir() / f"{task}.yaml").data.get("variants") or {})


def suites(ctx: typer.Context, incomplete: str) -> list[str]:
    """Return names of suites."""
    return _beginning(registry.suite_names(), incomplete)


def sweeps(ctx: typer.Context, incomplete: str) -> list[str]:
    """Return names of search spaces."""
    return _beginning(registry.sweep_names(), incomplete)


def runs(ctx: typer.Context, incomplete: str) -> list[str]:
    """Return names of the runs in `--runs-dir`, and `last`; also by the start of their hash."""
    from stablebench.runs.run_paths import LAST, RUNS_DIR, run_names

    names = list(run_names(Path(ctx.params.get("runs_dir") or RUNS_DIR)))
    whole = _beginning([*names, LAST], incomplete)
    return (whole or _beginning([name.rpartition("/")[2] for name in names], incomplete))[:_MOST_RUNS]


def suites_or_runs(ctx: typer.Context, incomplete: str) -> list[str]:
    """Return names of suites and of runs."""
    return [*suites(ctx, incomplete), *runs(ctx, incomplete)]


def named(ctx: typer.Context, incomplete: str) -> list[str]:
    """Return what there is of the kind that was given before: `show task co`."""
    of_kind: dict[str, Completer] = {"model": models, "task": tasks, "suite": suites, "sweep": sweeps, "run": runs}
    kind = str(ctx.params.get("kind")).removesuffix("s")
    if kind == "recipe":
        return _beginning(registry.recipe_names(), incomplete)
    return of_kind[kind](ctx, incomplete) if kind in of_kind else []


def words(known: Iterable[str]) -> Completer:
    """Return what completes one of a few words."""

    def complete(ctx: typer.Context, incomplete: str) -> list[str]:
        return _beginning(known, incomplete)

    return complete


def _beginning(names: Iterable[str], incomplete: str) -> list[str]:
    return [name for name in names if name.startswith(incomplete)]
