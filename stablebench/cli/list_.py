"""List models, tasks, recipes, suites, sweeps or runs."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from stablebench.cli.shared import completion
from stablebench.cli.shared.options import PrintedTables, RunsDir, Where, names_of
from stablebench.cli.ui.output import Table, note, print_json, print_tables
from stablebench.errors import StablebenchError, UserError, first_line, unknown_name

if TYPE_CHECKING:
    from stablebench.runs.filters import StoredRun

KINDS = ("models", "tasks", "recipes", "suites", "sweeps", "runs")
_WRAPPED_COLUMNS = frozenset({"summary", "variants", "source", "problem"})


def list_(
    *,
    kind: Annotated[
        str,
        typer.Argument(
            metavar="KIND",
            autocompletion=completion.words(KINDS),
            help="models, tasks, recipes, suites, sweeps or runs.",
        ),
    ],
    where: Where = None,
    runs_dir: RunsDir = Path("runs"),
    printed: PrintedTables,
) -> None:
    """List models, tasks, recipes, suites, sweeps or runs.

    A file or run that cannot be read is listed with the reason.

    Examples:
        stablebench list models
        stablebench list runs --where status=failed,task=copy
        stablebench list recipes --format json
    """
    kind = plural(kind)
    if kind == "runs":
        print_runs(runs_dir, where, printed)
        return
    if where:
        raise UserError(f"--where: it chooses among runs, not among {kind}.")
    _print(models() if kind == "models" else files(kind), printed, f"There are no {kind}.")


def plural(kind: str) -> str:
    """Return a kind in the plural: `model` and `models` are one.

    Raises:
        UserError: There is no such kind.
    """
    if kind not in KINDS and f"{kind}s" not in KINDS:
        raise unknown_name("kind", kind, KINDS)
    return kind if kind in KINDS else f"{kind}s"


def print_runs(runs_dir: Path, where: list[str] | None, printed: PrintedTables) -> None:
    """Print the runs of a store for which all conditions of `--where` hold."""
    conditions = names_of("--where", where) or []
    _print(runs(runs_dir, conditions), printed, f"There are no {'such ' if conditions else ''}runs in {runs_dir}.")


def _print(entries: list[dict[str, Any]], printed: PrintedTables, none: str) -> None:
    if printed.as_json:
        print_json(entries)
    elif entries:
        columns = list(dict.fromkeys(key for entry in entries for key in entry))
        rows = [[entry.get(column) for column in columns] for entry in entries]
        minor = [c for c in ("threads", "seeds", "steps_per_s", "run") if c in columns]
        print_tables([Table(columns, rows, wrap=_WRAPPED_COLUMNS, minor=minor)], printed.fmt)
    else:
        note(none)


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


def runs(runs_dir: Path, conditions: list[str]) -> list[dict[str, Any]]:
    """Return name, state and test result of runs for which all conditions hold; a broken record with what is wrong.

    Raises:
        UserError: `runs_dir` is no folder, or a condition cannot be read.
    """
    from stablebench.process.garbage_collection import collector_paused
    from stablebench.runs.filters import runs_where

    if runs_dir.exists() and not runs_dir.is_dir():
        raise UserError(f"--runs-dir {runs_dir}: must be a folder; there is a file of this name.")

    def listed(run: "StoredRun") -> dict[str, Any]:
        record, label = run.record, run.folder.label
        named = {"name": run.name} | ({} if label is None else {"label": label})
        if record is None:
            return named | {"status": "broken", "problem": run.problem}
        return named | {
            "status": run.status,
            "step": record.step,
            "steps": record.spec.train.steps,
            "metric": record.metric,
            "test": (record.result.test or {}).get(record.metric),
            "baseline": record.baseline,
            "train_s": round(record.train_s, 1),
        }

    with collector_paused():
        return [listed(run) for run in runs_where(runs_dir, conditions)]
