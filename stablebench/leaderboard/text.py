"""A leaderboard as text."""

from typing import Any

from stablebench.leaderboard.published import in_words
from stablebench.leaderboard.reproduction import reproduction_table
from stablebench.leaderboard.row import ENDED
from stablebench.tables import Format, Table, json_text
from stablebench.tables import render as render_tables
from stablebench.visible import visible

_PUBLISHED_COLUMNS = (
    *("model", "metric", "statistic", "published", "ours", "units", "protocol", "differs", "source", "where"),
)
_STATISTICS = {"mean": "mean", "best seed": "best", "best on validation": "best_on_validation"}
"""Columns of a row's scores as papers report theirs."""


def render(board: dict[str, Any], fmt: Format = "table") -> str:
    """Return a leaderboard document as text."""
    if fmt == "json":
        return json_text(board).rstrip("\n")
    if not board["tables"]:
        said = "no run that can be read" if board.get("unreadable") else "no runs yet"
        return visible(f"{board['suite']}: {said}.") if fmt != "csv" else ""
    if fmt == "csv":
        return render_tables([_flat_table(board)], "csv")
    tables = []
    for table in board["tables"]:
        tables.append(_ranked_table(table))
        models = {row["model"] for row in table["rows"]}
        beside = [entry for entry in table["published"] if entry["model"] in models]
        if beside:
            tables.append(
                Table(
                    columns=_PUBLISHED_COLUMNS,
                    rows=[[cells[c] for c in _PUBLISHED_COLUMNS] for cells in map(in_words, beside)],
                    title=f"{table['task']}: published",
                    wrap=frozenset({"differs", "source", "where"}),
                    minor=("where", "differs", "source", "units"),
                )
            )
    if "reproduction" in board:
        tables.append(reproduction_table(board["reproduction"]))
    return render_tables(tables, fmt)


def _ranked_table(table: dict[str, Any]) -> Table:
    metric, rows = table["metric"], table["rows"]
    others = sorted({name for row in rows for name in row["others"]})
    columns: dict[str, list[Any]] = {
        "#": [row["rank"] for row in rows],
        "model": [row["name"] for row in rows],
        metric: [_score(row) for row in rows],
        **{said: [row["statistics"].get(metric, {}).get(name) for row in rows] for said, name in _STATISTICS.items()},
        "min to max": [_span(row["min"], row["max"]) for row in rows],
        "95 % interval": [_span(*row["interval"]) if row["interval"] else None for row in rows],
        "seeds": [_seeds(row) for row in rows],
        **{name: [row["others"].get(name) for row in rows] for name in others},
        "steps to baseline": [_arrival(row, "steps", "baseline") for row in rows],
        "s to baseline": [_arrival(row, "seconds", "baseline") for row in rows],
        "steps to target": [_arrival(row, "steps", "target") for row in rows],
        "s to target": [_arrival(row, "seconds", "target") for row in rows],
        "parameters": [_parameters(row) for row in rows],
        "steps/s": [None if row["steps_per_s"] is None else f"{row['steps_per_s']:.3g}" for row in rows],
        "peak MB": [None if row["peak_bytes"] is None else round(row["peak_bytes"] / 1e6) for row in rows],
    }
    if table["target"] is None:
        columns = {name: values for name, values in columns.items() if not name.endswith("to target")}
    shown = list(columns)
    score = shown.index(metric)
    return Table(
        columns=shown,
        rows=[list(row) for row in zip(*columns.values(), strict=True)],
        title=_title(table),
        notes=_notes(table),
        bold=frozenset((i, score) for i, row in enumerate(rows) if row["best"]),
        minor=[
            name
            for name in (
                "peak MB",
                *_STATISTICS,
                "parameters",
                "s to baseline",
                "s to target",
                *others,
                "min to max",
                "steps/s",
                "steps to target",
                "steps to baseline",
                "95 % interval",
            )
            if name in columns
        ],
    )


def _title(table: dict[str, Any]) -> str:
    goals = []
    if table["baseline"] is not None:
        goals.append(f"baseline {table['baseline']:.4g}")
    if table["target"] is not None:
        goals.append(f"target {table['target_metric']} {table['target']:.4g}")
    direction = "higher is better" if table["higher_is_better"] else "lower is better"
    return ", ".join([f"{table['task']}: {table['metric']} ({direction})", *goals])


def _notes(table: dict[str, Any]) -> list[str]:
    notes = [f"Medians over seeds; {'; or '.join(table['selection'])}."]
    if table["cards"] > 1:
        notes.append(f"The runs saw {table['cards']} editions of the task card.")
    for row in table["rows"]:
        rest = {status: count for status, count in row["statuses"].items() if status not in ENDED}
        if rest:
            notes.append(f"{row['name']}: " + ", ".join(f"{count} {status}" for status, count in rest.items()) + ".")
    return notes + table.get("code_notes", [])


def _score(row: dict[str, Any]) -> str:
    if row["score"] is not None:
        return f"{row['score']:.4g}"
    return "diverged" if row["diverged"] else "none"


def _parameters(row: dict[str, Any]) -> int | str:
    """Return the trained parameters; those of tokens' vectors apart, which papers leave out."""
    embedding = row["embedding_parameters"]
    return f"{row['parameters'] - embedding} + {embedding} embedded" if embedding else row["parameters"]


def _seeds(row: dict[str, Any]) -> str:
    return f"{row['n']}, {row['diverged']} diverged" if row["diverged"] else str(row["n"])


def _span(low: float | None, high: float | None) -> str | None:
    return None if low is None or high is None else f"{low:.4g} to {high:.4g}"


def _arrival(row: dict[str, Any], unit: str, goal: str) -> str | None:
    if not row["ended"]:
        return None
    value, reached = row[f"{unit}_to_{goal}"], row[f"reached_{goal}"]
    share = "" if reached == row["ended"] else f"({reached}/{row['ended']})"
    number = "" if value is None else (f"{value:.0f}" if unit == "steps" else f"{value:.3g}")
    return f"{number} {share}".strip()


def _flat_table(board: dict[str, Any]) -> Table:
    """One row a model and task with plain numbers, for other programs."""
    plain = [
        *("name", "model", "spec_hash", "engine", "device", "hidden", "rank", "best", "score", "min", "max", "iqm"),
        *("n", "ended", "diverged", "steps_to_baseline", "seconds_to_baseline", "reached_baseline"),
        *("steps_to_target", "seconds_to_target", "reached_target", "parameters", "embedding_parameters"),
        *("steps_per_s", "peak_bytes"),
    ]
    rows = [
        [
            *(table["task"], table["metric"], *(row[c] for c in plain), *(row["interval"] or [None, None])),
            *(row["statistics"].get(table["metric"], {}).get(name) for name in _STATISTICS.values()),
        ]
        for table in board["tables"]
        for row in table["rows"]
    ]
    return Table(
        columns=[
            "task",
            "metric",
            *plain,
            "interval_low",
            "interval_high",
            *(s.replace(" ", "_") for s in _STATISTICS),
        ],
        rows=rows,
    )
