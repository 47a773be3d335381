"""List models, tasks, recipes, suites, sweeps or runs."""

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from stablebench.cli.shared.options import AsJson, Format, RunsDir
from stablebench.cli.ui.output import Table, note, print_json, print_tables, refuse_two_formats
from stablebench.errors import StablebenchError, UserError, first_line, unknown_name

_WRAPPED_COLUMNS = frozenset({"summary", "variants", "source", "problem"})


def list_(
    kind: Annotated[str, typer.Argument(metavar="KIND", help="models, tasks, recipes, suites, sweeps or runs.")],
    runs_dir: RunsDir = Path("runs"),
    fmt: Format = "table",
    as_json: AsJson = False,
) -> None:
    """List models, tasks, recipes, suites, sweeps or runs.

    A file or run that cannot be read is listed with the reason.

    Example:
        stablebench list runs --runs-dir runs --json
    """
    listers: dict[str, Callable[[], list[dict[str, Any]]]] = {
        "models": models,
        **{kind: partial(files, kind) for kind in ("tasks", "recipes", "suites", "sweeps")},
        "runs": partial(runs, runs_dir),
    }
    if kind not in listers:
        raise unknown_name("kind", kind, listers)
    refuse_two_formats(fmt, as_json)
    entries = listers[kind]()
    if as_json or fmt == "json":
        print_json(entries)
    elif entries:
        columns = list(dict.fromkeys(key for entry in entries for key in entry))
        rows = [[entry.get(column) for column in columns] for entry in entries]
        minor = [c for c in ("threads", "seeds", "steps_per_s", "run") if c in columns]
        print_tables([Table(columns, rows, wrap=_WRAPPED_COLUMNS, minor=minor)], fmt)
    else:
        note(f"There are no {kind}" + (f" in {runs_dir}." if kind == "runs" else "."))


def models() -> list[dict[str, Any]]:
    """Return every registered model's name, family and summary, without importing it."""
    from stablebench.models import registry as model_registry

    def described(name: str) -> dict[str, Any]:
        sentence, _, _ = model_registry.model_docstring(name).partition("\n\n")
        return {"name": name, "family": model_registry.model_family(name), "summary": " ".join(sentence.split())}

    return list(map(described, model_registry.model_names()))


def _task(card: dict[str, Any]) -> dict[str, Any]:
    return {"metric": card["metric"], "variants": list(card.get("variants") or {})}


def _recipe(recipe: dict[str, Any]) -> dict[str, Any]:
    parts = [recipe, *(recipe.get("variants") or [])]
    run = sum(bool(part.get("result")) for part in parts)
    trials = recipe.get("trials")
    tuned = "not tuned" if trials == 0 else "tuned" + ("" if trials is None else f" ({trials})")
    return {
        "origin": "paper" if recipe["tuned_by"] == "paper" else tuned,
        "reached": recipe.get("outcome"),
        "run": f"{run} of {len(parts)}",
        "source": recipe["source"],
    }


def _suite(suite: dict[str, Any]) -> dict[str, Any]:
    counts = {key: len(suite[key]) for key in ("tasks", "models", "seeds")}
    return {**counts, "core hours": (suite.get("core_hours") or {}).get("full")}


def _sweep(sweep: dict[str, Any]) -> dict[str, Any]:
    searched = list(sweep["space"])
    return {"model": sweep.get("model") or "any", "task": sweep.get("task") or "any", "searched": searched}


def files(kind: str) -> list[dict[str, Any]]:
    """Return the name of every task, recipe, suite or sweep, and what is told of it; a broken one with the reason.

    The files are read without their schemas, which would take longer to import than all files to read.

    Args:
        kind: `tasks`, `recipes`, `suites` or `sweeps`.
    """
    from stablebench import registry, resources
    from stablebench.schema.yaml_file import read

    names, folder, describe = {
        "tasks": (registry.task_names, resources.tasks_dir, _task),
        "recipes": (registry.recipe_names, resources.recipes_dir, _recipe),
        "suites": (registry.suite_names, resources.suites_dir, _suite),
        "sweeps": (registry.sweep_names, resources.sweeps_dir, _sweep),
    }[kind]

    def described(name: str) -> dict[str, Any]:
        path = folder() / f"{name}.yaml"
        try:
            document = read(path).data
            summary = {} if kind == "recipes" else {"summary": document["summary"]}
            return {"name": name, **describe(document), **summary}
        except StablebenchError as error:
            return {"name": name, "summary": f"broken: {first_line(error)}"}
        except (KeyError, TypeError, AttributeError):
            return {"name": name, "summary": f"broken: stablebench validate {path} says why"}

    return [described(name) for name in names()]


def runs(runs_dir: Path) -> list[dict[str, Any]]:
    """Return every run's name, state and test result; a broken record with what is wrong with it.

    Raises:
        UserError: `runs_dir` is no folder.
    """
    from stablebench.process.garbage_collection import collector_paused
    from stablebench.runs.store import RunFolder, run_paths
    from stablebench.runs.stored_record import read_record

    if runs_dir.exists() and not runs_dir.is_dir():
        raise UserError(f"--runs-dir {runs_dir}: must be a folder; there is a file of this name.")

    def listed(path: str) -> dict[str, Any]:
        name = "/".join(path.split(os.sep)[-3:])  # as a run store has them
        try:
            record = read_record(f"{path}/record.json")
        except StablebenchError as error:
            return {"name": name, "status": "broken", "problem": first_line(error)}
        deserted = record.status == "running" and RunFolder(Path(path)).lock_is_stale()
        return {
            "name": name,
            "status": "killed" if deserted else record.status,
            "step": record.step,
            "steps": record.spec.train.steps,
            "metric": record.metric,
            "test": (record.result.test or {}).get(record.metric),
            "baseline": record.baseline,
            "train_s": round(record.train_s, 1),
        }

    with collector_paused():
        return [listed(path) for path in run_paths(runs_dir)]
