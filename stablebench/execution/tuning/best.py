"""The best trial of a sweep as a recipe: what was run, what was searched, and what came out."""

from collections import Counter
from typing import Any

import yaml

from stablebench import __version__
from stablebench.execution.tuning.study import Plan, Trial
from stablebench.schema.dotted import dotted
from stablebench.schema.recipe import Outcome, Recipe
from stablebench.schema.run_record import RunRecord
from stablebench.schema.run_spec import RunSpec
from stablebench.schema.sweep import SweepSpace
from stablebench.specs.request import Resolved
from stablebench.specs.search_space import describe

_NOT_IN_RECIPE = {
    "engine": "auto",
    "device": "auto",
    "precision": "float32",
    "threads": 1,
    "train.stop_at_target": 0,
    "train.recompute_every": None,
}
"""What a run spec has and a recipe has not, with its default."""


def recipe_document(best: Trial, resolved: Resolved, record: RunRecord, plan: Plan, trials: list[Trial]) -> dict:
    """Return the recipe of the best trial, as YAML holds it.

    Args:
        best: The best trial.
        resolved: Its run.
        record: The record of that run.
        plan: The sweep.
        trials: All its trials.

    Raises:
        StablebenchError: What is written could not be read back.
    """
    spec, card = resolved.spec, resolved.card
    when: dict[str, Any] = {}
    if card.length is not None:
        when["length"] = spec.task.params[card.length]
    elif spec.task.variant is not None:
        when["variant"] = spec.task.variant
    train = {key: getattr(spec.train, key) for key in ("steps", "batch_size", "eval_every")}
    document = {
        "task": spec.task.name,
        "model": spec.model.label,
        "source": f"ours: the best of a sweep (stablebench {__version__})",
        "tuned_by": "us",
        "trials": len(trials),
        "search": _search(plan, trials, card.selection(spec.task.params)),
        "space": _plain_space(plan.space),
        "outcome": _outcome(record),
        "result": _result(best, record),
        "when": when,
        "hidden": spec.model.hidden,
        "layers": spec.model.layers,
        "params": _own_params(resolved),
        "optim": {"name": spec.optim.name} | spec.optim.model_dump(mode="json", exclude_defaults=True),
        "train": train,
    }
    if "lr" not in document["optim"]:
        document["optim"]["lr"] = spec.optim.lr
    document = {key: value for key, value in document.items() if value != {}}
    Recipe.model_validate(document)
    return document


def recipe_text(document: dict[str, Any]) -> str:
    """Return a recipe as YAML that stablebench reads back."""
    return yaml.dump(document, Dumper=_WithoutAliases, sort_keys=False, allow_unicode=True, width=10_000)


class _WithoutAliases(yaml.SafeDumper):
    """Writes equal values out instead of pointing at the first: stablebench reads no anchors."""

    def ignore_aliases(self, data: Any) -> bool:
        """Return that nothing is aliased."""
        return True


def _own_params(resolved: Resolved) -> dict[str, Any]:
    """Return the model's arguments that are not its own defaults."""
    return {
        key: value
        for key, value in resolved.spec.model.params.items()
        if resolved.origin.get(f"model.{key}", "model") != "model"
    }


def _plain_space(space: SweepSpace) -> dict[str, Any]:
    """Return a space as its file says it."""
    plain: dict[str, Any] = {}
    for key, dimension in space.space.items():
        plain[key] = dimension.model_dump(mode="json", exclude_defaults=True)
        if dimension.integer:
            plain[key] |= {end: int(plain[key][end]) for end in ("low", "high")}
    return plain


def _search(plan: Plan, trials: list[Trial], selection: str) -> str:
    counts = Counter(trial.status for trial in trials)
    ends = ", ".join(
        f"{counts[status]} {status}" for status in ("finished", "pruned", "diverged", "failed") if counts[status]
    )
    pruner = "" if plan.pruner == "none" else f", {plan.pruner} pruner"
    return (
        f"{len(trials)} {'trial' if len(trials) == 1 else 'trials'} ({plan.sampler} sampler, seed {plan.seed}{pruner}; "
        f"{ends}): {describe(plan.space.space)}. Chosen by validation {plan.metric}; {selection}"
    )


def _outcome(record: RunRecord) -> Outcome:
    if record.status == "diverged":
        return "diverged"
    result = record.result
    if result.steps_to_target is not None:
        return "target"
    return "failed" if result.steps_to_baseline is None else "baseline"


def _result(best: Trial, record: RunRecord) -> str:
    """Return what the best trial's run scored; the test split took no part in choosing it."""
    result = record.result
    if record.status == "diverged":
        return f"{record.error} (update {record.step}, seed {record.spec.seed}); no trial finished"
    scores = result.test or {}
    names = [record.metric, *(name for name in scores if name != record.metric)]
    test = ", ".join(f"{name} {scores[name]:.4g}" for name in names if name in scores)
    parts = [f"validation {record.metric} {best.value:.4g}{f', test {test}' if test else ''}"]
    tested = f" (weights of update {result.tested_step})" if result.tested == "best" else ""
    parts.append(f"after {record.step} updates{tested}, seed {record.spec.seed}")
    if record.target is not None:
        held = result.steps_to_target
        parts.append(f"; the target held from update {held}" if held is not None else "; the target was not reached")
    elif record.baseline is not None:
        beaten = result.steps_to_baseline
        parts.append(f"; baseline beaten at update {beaten}" if beaten is not None else "; the baseline was not beaten")
    others = _not_in_recipe(record.spec)
    return f"{parts[0]} {''.join(parts[1:])}" + (f"; run with {', '.join(others)}" if others else "")


def _not_in_recipe(spec: RunSpec) -> list[str]:
    """Return what the run had that a recipe cannot say."""
    values = dotted(spec.model_dump())
    return [f"{key} {values[key]}" for key, usual in _NOT_IN_RECIPE.items() if values[key] != usual]
