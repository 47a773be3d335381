"""The statistics of a leaderboard as tables."""

from typing import Any

from stablebench.tables import Format, Table
from stablebench.tables import render as render_tables

_LEVEL = 0.05


def render_statistics(found: dict[str, Any], fmt: Format = "table") -> str:
    """Return what `stablebench.leaderboard.statistics` found as text.

    Args:
        found: The statistics.
        fmt: The format.
    """
    return render_tables(statistics_tables(found), fmt)


def statistics_tables(found: dict[str, Any]) -> list[Table]:
    """Return one table of scores, one of arrivals and one of pairs per task, then those over tasks."""
    tables = []
    for table in found["tables"]:
        tables += [_scores(table), *_arrivals(table), *_pairs(table)]
    return tables + _overall(found["overall"], found["r_max"])


def _scores(table: dict[str, Any]) -> Table:
    columns = ["model", "IQM", "95 %", "median", "95 % of the median", "mean", "sd", "se", "min", "max", "seeds"]
    rows = [
        [
            row["name"],
            row["iqm"],
            span(row["iqm_interval"]),
            row["median"],
            span(row["median_interval"]),
            row["mean"],
            row["standard_deviation"],
            row["standard_error"],
            row["min"],
            row["max"],
            f"{row['n']}, {row['diverged']} diverged" if row["diverged"] else str(row["n"]),
        ]
        for row in table["rows"]
    ]
    notes = []
    if any(row["diverged"] for row in table["rows"]):
        notes.append("IQM, median, mean and sd are of the seeds that did not diverge.")
    minor = ["se", "95 % of the median", "sd", "mean", "min", "max"]
    return Table(columns, rows, title=f"{table['task']}: {table['metric']}", notes=notes, minor=minor)


def _arrivals(table: dict[str, Any]) -> list[Table]:
    """Return the goals that any run got to."""
    tables = []
    for goal in ("baseline", "target"):
        rows = []
        for row in table["rows"]:
            steps, seconds = (row["arrivals"].get(goal, {}).get(unit) for unit in ("steps", "seconds"))
            if steps is not None and seconds is not None:
                rows.append([row["name"], f"{steps['reached']}/{steps['of']}", *_time(steps), *_time(seconds)])
        if any(not row[1].startswith("0/") for row in rows):
            horizons = {row["arrivals"][goal]["steps"]["horizon"] for row in table["rows"] if goal in row["arrivals"]}
            columns = ["model", "arrived", "steps", "95 % of steps", "seconds", "95 % of seconds"]
            note = f"Means restricted to {', '.join(f'{h:g}' for h in horizons if h)} steps; seconds likewise."
            tables.append(Table(columns, rows, title=f"{table['task']}: time to the {goal}", notes=[note]))
    return tables


def _time(arrivals: dict[str, Any]) -> list[Any]:
    """Return the mean time and its interval; of runs that never arrived it is known how long they were followed."""
    if not arrivals["reached"]:
        return ["never" if arrivals["horizon"] is None else f"never (> {arrivals['horizon']:.4g})", None]
    return [arrivals["restricted_mean"], span(arrivals["interval"])]


def _pairs(table: dict[str, Any]) -> list[Table]:
    """Return the pairs that differ at 5 % after correction; how many there are stands below."""
    pairs = table["pairs"]
    if not pairs:
        return []
    sure = [pair for pair in pairs if pair["p_holm"] <= _LEVEL]
    notes = [f"{len(sure)} of {len(pairs)} pairs differ at 5 % (two-sided rank test, corrected by Holm)."]
    if table["smallest_p_holm"] is not None and table["smallest_p_holm"] > _LEVEL:
        notes.append(
            f"With so few seeds the first pair's corrected p cannot fall below {table['smallest_p_holm']:.2g}."
        )
    rows = [[p["better"], p["worse"], p["probability"], p["p"], p["p_holm"]] for p in sure]
    columns = ["better", "worse", "P(better)", "p", "p (Holm)"]
    return [Table(columns, rows, title=f"{table['task']}: pairs", notes=notes)]


def _overall(overall: dict[str, Any], r_max: float) -> list[Table]:
    if not overall["rows"]:
        return []
    scores = {
        (p["unit"], p["hardware"]): {row["name"]: f"{row['score']:.3g}" for row in p["rows"]}
        for p in overall["profiles"]
    }
    columns = ["model", "mean rank", "95 % of the rank", "IQM", "95 %", "median", "runs", "diverged"]
    many = sum(unit == "seconds" for unit, _ in scores) > 1
    columns += [f"profile, {unit}" + (f" ({where})" if many and where else "") for unit, where in scores]
    rows = [
        [
            row["name"],
            row["rank"],
            span(row["rank_interval"]),
            row["iqm"],
            span(row["iqm_interval"]),
            row["median"],
            row["runs"],
            row["diverged"],
            *(by_name.get(row["name"]) for by_name in scores.values()),
        ]
        for row in overall["rows"]
    ]
    notes = [
        f"Over {', '.join(overall['tasks'])}.",
        "IQM and median are of normalised scores: 0 needs no learning, 1 is perfect, a diverged run counts 0.",
        f"Profile: mean over 1 <= tau <= {r_max:g} of the share of tasks whose target a model reaches within tau times "
        "the fastest model's time.",
        *left_out_notes(overall),
    ]
    minor = ["runs", "diverged", "median", "95 %"]
    tables = [Table(columns, rows, title="Over tasks", notes=notes, minor=minor)]
    sure = [p for p in overall["improvement"] if p["interval"] is not None and p["interval"][0] > 0.5]
    lines = [[p["name"], p["over"], p["probability"], span(p["interval"])] for p in sure]
    note = f"The interval of {len(sure)} of {len(overall['improvement'])} pairs lies above 1/2."
    tables.append(
        Table(["model", "better than", "P(better)", "95 %"], lines, title="Probability of improvement", notes=[note])
    )
    return tables


def left_out_notes(overall: dict[str, Any]) -> list[str]:
    """Return what is not part of the comparison over tasks, in words."""
    notes = []
    if overall["left_out"]["models"]:
        notes.append(f"Not run on all of these tasks: {', '.join(overall['left_out']['models'])}.")
    if overall["left_out"]["tasks"]:
        notes.append(f"Not run by all of these models: {', '.join(overall['left_out']['tasks'])}.")
    return notes


def span(interval: list[float] | None) -> str | None:
    """Return an interval as text."""
    return None if interval is None else f"{interval[0]:.4g} to {interval[1]:.4g}"
