"""What searches came to, from the files next to their recipes."""

import json
import math
from collections import Counter
from collections.abc import Sequence
from typing import Any

from stablebench.data.metrics import higher_is_better
from stablebench.errors import UserError
from stablebench.execution.tuning.cells import Cell
from stablebench.stats import expected_best
from stablebench.tables import Table

_OF = (1, 2, 4, 8)
"""Of so many trials the best is expected."""


def searches(cells: Sequence[Cell]) -> list[dict[str, Any]]:
    """Return what came out of each search that has ended.

    Args:
        cells: The searches.

    Raises:
        UserError: A file is not what `tune` wrote.
    """
    return [_search(cell) for cell in cells if cell.trials_path.is_file()]


def _search(cell: Cell) -> dict[str, Any]:
    try:
        document = json.loads(cell.trials_path.read_text(encoding="utf-8"))
        metric, trials = document["metric"], document["trials"]
        higher = higher_is_better(metric)
        worst = -math.inf if higher else math.inf
        scored = [trial["status"] in ("finished", "pruned") for trial in trials]
        values = [t["validation"] if there else worst for t, there in zip(trials, scored, strict=True)]
        solved = [trial.get("updates_to_target") for trial in trials]
        best = {k: expected_best(values, k, higher_is_better=higher) for k in _OF if k <= len(values)}
        return {
            "search": cell.label,
            "trials": len(trials),
            **{status: Counter(t["status"] for t in trials)[status] for status in ("finished", "pruned", "diverged")},
            "reached target": sum(steps is not None for steps in solved),
            "metric": metric,
            **{f"best of {k}": value if math.isfinite(value) else None for k, value in best.items()},
        }
    except (ValueError, LookupError, TypeError) as error:
        raise UserError(f"{cell.trials_path}: not a file of `tune` ({type(error).__name__}: {error}).") from None


def summary_table(ended: Sequence[dict[str, Any]], searches: int) -> Table:
    """Return what came out of searches as a table, a row each.

    Args:
        ended: Those that have ended.
        searches: How many there are in all.
    """
    columns = list(dict.fromkeys(key for each in ended for key in each)) or ["search"]
    notes = [
        f"{len(ended)} of {searches} searches have ended.",
        "Best of k: the validation value that the best of k random trials is expected to have. A pruned trial counts "
        "with its last value, a diverged one as the worst.",
    ]
    return Table(columns, [[each.get(key) for key in columns] for each in ended], title="Searches", notes=notes)
