"""What of a row a reader must know before its rank means anything, as one character each."""

from collections.abc import Callable, Sequence

from stablebench.schema.leaderboard import LeaderboardRow

_SAME_PARAMETERS = 1.05
LEGEND = {
    "*": "not tuned: defaults of the task card, a recipe without a trial, or one searched at other values or another "
    "budget",
    "!": "the recorded result of its recipe does not beat the baseline",
    "~": "updates, batch or width differ from those of most rows",
    "d": "seeds diverged",
    "t": "its start is built for the task",
}
"""The marks, in the order in which they stand, and what they mean."""

_BUILT_STARTS = {"dizzy": ("angle_start", "ring")}
"""By model the argument, and its value, that give a recurrent matrix which solves a task before training: DizzyRNN's
ring is a cyclic shift, a delay line that copies its input."""


def built_start(model: str, params: dict[str, object]) -> str | None:
    """Return which argument of a model gives it a start that was built for the task, or None.

    Args:
        model: Its registered name.
        params: Its arguments.
    """
    name, value = _BUILT_STARTS.get(model, ("", None))
    return f"{name} {value}" if name and params.get(name) == value else None


def marks_of(row: LeaderboardRow, rows: Sequence[LeaderboardRow]) -> str:
    """Return the marks of one of the rows of a table."""
    recipe = row.recipe
    untuned = recipe is not None and (recipe.source == "card" or (recipe.source == "tuned" and recipe.trials == 0))
    untuned = untuned or (recipe is not None and bool(recipe.departures))
    failed = recipe is not None and recipe.outcome in ("failed", "diverged")
    there = {
        "*": untuned,
        "!": failed,
        "~": any(_budget(row)[name] != _usual(name, rows) for name in unequal(rows) if name != "parameters"),
        "d": row.diverged > 0,
        "t": row.built_start is not None,
    }
    return "".join(mark for mark, holds in there.items() if holds)


def unequal(rows: Sequence[LeaderboardRow]) -> dict[str, list[int]]:
    """Return what must be equal for a ranking and is not, with its smallest and largest value.

    Rows of other widths are equal where they have the same number of parameters, to a twentieth; where they have not,
    both are named.
    """
    return unequal_budgets([_budget(row) for row in rows], lambda: [row.parameters for row in rows])


def unequal_budgets(budgets: Sequence[dict[str, int]], parameters: Callable[[], list[int]]) -> dict[str, list[int]]:
    """Return what `unequal` does of budgets.

    Args:
        budgets: `updates`, `batch` and `units` of each row.
        parameters: Counts the parameters of each, which is asked for where the units differ.
    """
    columns: dict[str, list[int]] = {}
    for budget in budgets:
        for name, value in budget.items():
            columns.setdefault(name, []).append(value)
    if len(set(columns.get("units", ()))) > 1:
        counts = parameters()
        if max(counts) <= _SAME_PARAMETERS * min(counts):
            del columns["units"]
        else:
            columns["parameters"] = counts
    return {name: [min(values), max(values)] for name, values in columns.items() if len(set(values)) > 1}


def _budget(row: LeaderboardRow) -> dict[str, int]:
    return {"updates": row.steps, "batch": row.batch_size, "units": row.hidden}


def _usual(name: str, rows: Sequence[LeaderboardRow]) -> int:
    """Return the most frequent value of a part of the budget, the largest of equally frequent ones."""
    values = [_budget(row)[name] for row in rows]
    return max(set(values), key=lambda value: (values.count(value), value))
