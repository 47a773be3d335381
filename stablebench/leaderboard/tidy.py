"""The runs of a leaderboard as tidy data: a row a run, a column a setting and a metric."""

from collections.abc import Iterable, Sequence
from typing import Any

from stablebench.leaderboard.length_curves import by_length
from stablebench.leaderboard.origin import Recipes, format_origin, recipe_origin, registered_recipe
from stablebench.leaderboard.seeds import test_metrics
from stablebench.schema.run_record import RunRecord
from stablebench.specs.repeat_command import settings
from stablebench.stats.lengths import longest_held
from stablebench.tables import Table


def tidy_runs(records: Iterable[RunRecord], recipes: Recipes = registered_recipe) -> list[dict[str, Any]]:
    """Return one flat dictionary a run: what it was, every setting by its dotted key, every test metric, times, sizes.

    Args:
        records: The runs.
        recipes: Where recipes say how they were tuned.
    """
    ordered = sorted(records, key=lambda r: (r.spec.task.name, str(r.spec.task.variant), r.spec_hash, r.spec.seed))
    return [_tidy(record, recipes) for record in ordered]


def _tidy(record: RunRecord, recipes: Recipes) -> dict[str, Any]:
    spec, result, ran = record.spec, record.result, record.environment
    recipe = recipe_origin(record, recipes)
    return {
        "task_name": spec.task.name,
        "variant": spec.task.variant,
        "model_name": spec.model.label,
        "seed": spec.seed,
        "status": record.status,
        "spec_hash": record.spec_hash,
        "recipe": format_origin(recipe),
        "trials": recipe.trials,
        "metric": record.metric,
        "score": (result.test or {}).get(record.metric),
        **{f"test.{name}": value for name, value in test_metrics(record).items()},
        **_by_length(record),
        "baseline": record.baseline,
        "target": record.target,
        **{
            f"{unit}_to_{goal}": getattr(result, f"{unit}_to_{goal}")
            for goal in ("baseline", "target")
            for unit in ("steps", "seconds")
        },
        "updates": record.step,
        "train_s": record.train_s,
        "steps_per_s": result.steps_per_s,
        "parameters": record.parameters,
        "embedding_parameters": record.embedding_parameters,
        "peak_bytes": result.peak_bytes,
        "ran_engine": ran.engine,
        "ran_device": ran.device,
        "hardware": ran.hardware,
        "processor": ran.processor,
        "commit": ran.commit,
        **settings(spec),
    }


def _by_length(record: RunRecord) -> dict[str, Any]:
    """Return a run's accuracies by length, and the longest that it holds of them."""
    scored = dict(sorted(by_length(record).items()))
    if not scored:
        return {}
    drawn = {"accuracy_at_40_256": scored.pop(0)} if 0 in scored else {}
    named = {f"accuracy_at_{length}": accuracy for length, accuracy in scored.items()}
    return named | drawn | {"longest_held": longest_held(scored) or 0}


def tidy_table(runs: Sequence[dict[str, Any]]) -> Table:
    """Return the runs as one table; a cell is empty where a run has no such setting or metric."""
    names = list(dict.fromkeys(name for run in runs for name in run))
    return Table(columns=names, rows=[[run.get(name) for name in names] for run in runs])
