"""The order of a table's rows, and which of them is bold."""

from typing import Any

from stablebench.data.metrics import higher_is_better

_LEAST_SEEDS = 3
"""Seeds without which nothing is called best: the interval of two is that from the lower to the higher."""


def rank(rows: list[dict[str, Any]], metric: str) -> None:
    """Sort rows by their scores, those without one last, and mark the best where its interval lies clear."""
    sign = -1.0 if higher_is_better(metric) else 1.0

    def goodness(row: dict[str, Any]) -> tuple[float, float]:
        if row["score"] is not None:
            return 0, sign * row["score"]
        return (1 if row["diverged"] else 2), 0.0

    rows.sort(key=lambda row: (*goodness(row), row["name"]))
    ranked = [row for row in rows if row["score"] is not None]
    for i, row in enumerate(ranked):
        row["rank"] = ranked[i - 1]["rank"] if i and row["score"] == ranked[i - 1]["score"] else i + 1
    if not ranked or ranked[0]["interval"] is None or ranked[0]["n"] < _LEAST_SEEDS or len(rows) < 2:
        return
    worst = sign * ranked[0]["interval"][0 if sign < 0 else 1]

    def clear_of(row: dict[str, Any]) -> bool:
        if row["score"] is None:
            return bool(row["diverged"])
        return row["interval"] is not None and worst < sign * row["interval"][1 if sign < 0 else 0]

    ranked[0]["best"] = all(clear_of(row) for row in rows if row is not ranked[0])
