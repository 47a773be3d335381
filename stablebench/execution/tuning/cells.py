"""The same search for every model on every task of a suite: its cells, and what each leaves behind.

A trial is laid over the task's card and the model's defaults; no registered recipe takes part, or one model's earlier
tuning would count for more than another's. It is judged on validation examples, with a seed that the suite does not
score, and never sees the test split.
"""

import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from stablebench import registry
from stablebench.errors import UserError
from stablebench.execution.suites import SuiteOverrides, request_for
from stablebench.execution.tuned_recipes import cells_of, read_tuned, task_folder, tuned_recipe
from stablebench.execution.tuning.best import recipe_document
from stablebench.execution.tuning.study import Plan, Trial, best_trial, journal_path
from stablebench.runs.store import RunFolder
from stablebench.schema.recipe import Recipe
from stablebench.schema.run_record import RunRecord
from stablebench.schema.strict import load
from stablebench.schema.suite import Suite
from stablebench.schema.sweep import OwnSpace, SweepSpace
from stablebench.schema.tuned_search import TunedSearch
from stablebench.specs.request import Resolved, RunRequest
from stablebench.specs.search_space import ANY_TASK, check_space, resolved_with

TUNING_SEED = 20757
"""Of every sampler and every trial: equal ranges have equal draws, and the first eight draws of a space's first key lie
one in each eighth of its range."""
_NEVER_PRUNED = 3
"""Trials that finish whatever they score; later ones end at half of the budget where they are below the median."""


_FORCE = " Give another folder, or --force, which overwrites it."


@dataclass(frozen=True)
class Cell:
    """The search for one model on one task of a suite.

    Args:
        label: Model and task.
        request: What all its trials share.
        base: The run that the searched values are laid over.
        plan: What decides its trials.
        journal: Where they are noted.
        recipe: Where the best of them is written.
    """

    label: str
    request: RunRequest
    base: Resolved
    plan: Plan
    journal: Path
    recipe: Path

    @property
    def trials_path(self) -> Path:
        """The file next to the recipe with every trial."""
        return self.recipe.with_suffix(".trials.json")

    def refuse_others(self, trials: int | None = None) -> None:
        """Refuse files in the place of its recipe and trials that are of another search.

        Args:
            trials: How many are asked for; None for any number.

        Raises:
            UserError: They are, or cannot be read; or only one of the two is there, or they have more trials.
        """
        there = [path for path in (self.recipe, self.trials_path) if path.exists()]
        if not there:
            return
        if len(there) == 1:
            missing = (self.recipe if there[0] == self.trials_path else self.trials_path).name
            raise UserError(f"{there[0]}: it is there without {missing}, so that it is not of this search.{_FORCE}")
        recipe, search = read_tuned(self.recipe, self.base.spec.model.label)
        if other := self._differences(recipe, search):
            raise UserError(f"{self.recipe}: it is of another search: {'; '.join(other)}.{_FORCE}")
        if trials is not None and (more := len(search.trials)) > trials:
            raise UserError(f"{self.recipe}: it is the best of {more} trials, and {trials} are asked for.{_FORCE}")

    def ended_elsewhere(self, trials: int) -> bool:
        """Whether the files next to each other tell this search, with so many trials, and their runs are not here.

        Recipes outlive the store of their trials: where only they were copied or committed, nothing is searched again.
        """
        if self.journal.exists() or not (self.trials_path.is_file() and self.recipe.is_file()):
            return False
        recipe, search = read_tuned(self.recipe, self.base.spec.model.label)
        return len(search.trials) == trials and not self._differences(recipe, search)

    def _differences(self, recipe: Recipe, search: TunedSearch) -> list[str]:
        """Return in words what of a search is not as here; files of earlier versions have no hash of the base."""
        spec = self.base.spec
        card = self.base.card
        length = None if card.length is None else spec.task.params[card.length]
        pairs = {
            "task": (recipe.task, spec.task.name),
            "length": (recipe.when.length, length),
            "model": (recipe.model, spec.model.label),
            "units": (recipe.hidden, spec.model.hidden),
            "layers": (recipe.layers, spec.model.layers),
            "updates": (search.updates, spec.train.steps),
            "batch": (recipe.train.batch_size, spec.train.batch_size),
            "optimiser": (recipe.optim.get("name", spec.optim.name), spec.optim.name),
            "metric": (search.metric, self.plan.metric),
            "seed": (search.seed, self.plan.seed),
        }
        differ = [f"{name} {theirs}, here {ours}" for name, (theirs, ours) in pairs.items() if theirs != ours]
        if recipe.space != self.plan.space.space:
            differ.append("another space")
        if not differ and search.base not in (None, self.plan.base):
            differ.append("other values of the task, the model or the optimiser that are not searched")
        return differ


def _space_of(model: str, own: Path | None) -> SweepSpace | None:
    path = None if own is None else own / f"{model.rpartition(':')[2]}.yaml"
    if path is not None and path.is_file():
        return load(path, OwnSpace)
    name = f"{model}/{ANY_TASK}"
    return registry.sweep(name) if name in registry.sweep_names() else None


def tuned_cells(suite: Suite, asked: SuiteOverrides, folder: Path, store: Path, own: Path | None = None) -> list[Cell]:
    """Return the searches of a suite, in its order.

    Args:
        suite: The suite.
        asked: Which of its models and tasks are meant.
        folder: Where recipes are written.
        store: The run store of the trials, which holds the journals too.
        own: Folder of the user's spaces, `MODEL.yaml`, which come before the registered ones.

    Raises:
        UserError: A model has no space, or one that cannot be run; the suite sets no budget of its own for all, solves
            for widths, has a task or a model's name twice, or scores the seed of the trials.
    """
    cells = cells_of(suite)
    spaces = {model: _space_of(model, own) for _, model in cells}
    if without := sorted(model for model, space in spaces.items() if space is None):
        raise UserError(f"no search space of {', '.join(without)}: state it in DIR/MODEL.yaml and give --spaces DIR.")
    if "updates" not in suite.equal or any(task.match_parameters is not None for task in suite.tasks):
        raise UserError("tune: the suite must have `equal: [updates, ...]`, and no `match_parameters`.")
    names = [task_folder(task) for task in suite.tasks]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise UserError(f"tune: the suite has {', '.join(twice)} twice; one recipe cannot be for both.")
    files = [tuned_recipe(folder, task, model) for task, model in cells]
    if len(set(files)) < len(files):
        raise UserError("tune: two models of the suite have one name; their recipes would be one file.")
    if TUNING_SEED in suite.seeds:
        raise UserError(f"tune: the suite scores seed {TUNING_SEED}, which is that of the trials; give others.")
    planned = []
    for task, model in cells:
        request = replace(request_for(suite, task, model, asked), recipe=None, registered=False)
        request = replace(request, options=request.options | {"seed": TUNING_SEED})
        space = spaces[model]
        assert space is not None  # refused above
        check_space(space, request)
        base = resolved_with(request, space, {})
        plan = Plan(
            space=space,
            metric=base.card.metric,
            base=base.spec.spec_hash(),
            card=base.card.sha256(),
            sampler="random",
            seed=TUNING_SEED,
            startup=_NEVER_PRUNED,
            warmup=base.spec.train.steps // 2,
        )
        journal = journal_path(store / "journals", plan, model, task_folder(task))
        label = f"{base.spec.model.label} on {task.task}" + (f" T {task.T}" if task.T is not None else "")
        planned.append(Cell(label, request, base, plan, journal, tuned_recipe(folder, task, model)))
    return planned


def chosen(cell: Cell, trials: list[Trial], records: dict[int, RunRecord]) -> Trial:
    """Return the trial whose values become the recipe.

    That is the best that finished, and of equal ones that which held the target first; else the first that ran.

    Args:
        cell: The search.
        trials: Its trials.
        records: Their records, by number.

    Raises:
        UserError: Every trial failed.
    """
    ran = (trial for trial in trials if trial.status in ("pruned", "diverged"))
    best = best_trial(trials, cell.plan.metric) or next(ran, None)
    if best is None:
        why = "; ".join(dict.fromkeys(str(trial.facts.get("message")) for trial in trials))
        raise UserError(f"{cell.label}: every trial failed: {why}")

    def held_from(trial: Trial) -> float:
        steps = records[trial.number].result.steps_to_target if trial.number in records else None
        return math.inf if steps is None else steps

    return min((trial for trial in trials if (trial.status, trial.value) == (best.status, best.value)), key=held_from)


def tuned_documents(cell: Cell, trials: list[Trial], store: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return what a search that has ended leaves: the recipe, and every trial, as YAML and JSON hold them.

    Args:
        cell: The search.
        trials: Its trials.
        store: Their run store.

    Raises:
        UserError: Every trial failed, or the record of the best is gone.
    """
    folders = {trial.number: RunFolder(store / trial.facts["run"]) for trial in trials if "run" in trial.facts}
    records = {number: folder.read_record() for number, folder in folders.items() if folder.record_path.exists()}
    best = chosen(cell, trials, records)
    if best.number not in records:
        raise UserError(f"{cell.label}: the record of its best trial is gone: {folders[best.number].path}")
    resolved = resolved_with(cell.request, cell.plan.space, best.values)
    recipe = recipe_document(best, resolved, records[best.number], cell.plan, trials)
    spec = cell.base.spec
    facts = {"task": cell.recipe.parent.name, "model": spec.model.label, "metric": cell.plan.metric}
    facts |= {"updates": spec.train.steps, "seed": cell.plan.seed, "chosen": best.number, "base": cell.plan.base}
    facts |= {"task_params": spec.task.params}
    return recipe, facts | {"trials": [_row(trial, records.get(trial.number)) for trial in trials]}


def _row(trial: Trial, record: RunRecord | None) -> dict[str, Any]:
    """Return what the file next to the recipe says of a trial."""
    last = next(reversed(trial.evaluations.values()), None)
    row = {"number": trial.number, "values": trial.values, "status": trial.status}
    row |= {"validation": last if trial.value is None else trial.value}
    if record is None:
        return row | {"message": trial.facts.get("message")}
    result = record.result
    row |= {"updates": record.step, "updates_to_target": result.steps_to_target}
    return row | {"updates_to_baseline": result.steps_to_baseline, "seconds": round(record.wall_s, 1)}
