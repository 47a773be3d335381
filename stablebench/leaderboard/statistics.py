"""What a leaderboard supports: intervals, times to a goal, profiles, ranks, and which model is better than which.

A pure function of the leaderboard's document. Per task every row is described and every pair of rows tested; over
tasks, models are compared on as many tasks as they have in common (`_shared`). Intervals are percentile bootstrap
intervals at 95 %, seeds resampled within model and task; where all seeds are equal they are that point.
"""

import math
from itertools import combinations
from typing import Any

from stablebench import stats
from stablebench.leaderboard.normalise import normalised

_UNITS = ("steps", "seconds")


def statistics(board: dict[str, Any]) -> dict[str, Any]:
    """Return the statistics of a leaderboard as plain data: numbers, texts and None, nothing that is not finite.

    Args:
        board: As `stablebench.leaderboard.document` returns it.

    Returns:
        `confidence`, `resamples`, `r_max`; `tables`, one a task with `rows` and `pairs`; and `overall`, with the
        `models` and `tasks` compared, what was `left_out`, `rows`, `improvement` and `profiles`.
    """
    return {
        "confidence": 0.95,
        "resamples": stats.RESAMPLES,
        "r_max": stats.R_MAX,
        "tables": [_table(table) for table in board["tables"]],
        "overall": _overall(board["tables"]),
    }


# -- one task --------------------------------------------------------------------------------------------------------


def _table(table: dict[str, Any]) -> dict[str, Any]:
    goals = ["baseline", "target"] if table["target"] is not None else ["baseline"]
    rows = [_row(row) for row in table["rows"]]
    for goal in goals:
        for unit in _UNITS:
            _add_arrivals(rows, table["rows"], goal, unit)
    return {"task": table["task"], "metric": table["metric"], "rows": rows, **_pairs(table)}


def _row(row: dict[str, Any]) -> dict[str, Any]:
    scores = list(row["seeds"].values())
    sure = not row["diverged"]
    return {
        "name": row["name"],
        "n": row["n"],
        "diverged": row["diverged"],
        "iqm": stats.iqm(scores) if scores else None,
        "iqm_interval": _ends(stats.bootstrap_interval(scores, "iqm")) if sure else None,
        "median": stats.median(scores) if scores else None,
        "median_interval": _ends(stats.bootstrap_interval(scores, "median")) if sure else None,
        "mean": stats.mean(scores) if scores else None,
        "standard_deviation": stats.standard_deviation(scores) if scores else None,
        "standard_error": stats.standard_error(scores) if scores else None,
        "min": row["min"],
        "max": row["max"],
        "arrivals": {},
    }


def _add_arrivals(rows: list[dict[str, Any]], given: list[dict[str, Any]], goal: str, unit: str) -> None:
    """Describe when each row's runs got to a goal, up to a horizon that all rows share.

    Seconds are compared within one class of hardware, so each class has a horizon of its own.
    """
    by_class: dict[str, list[tuple[dict[str, Any], stats.Arrivals]]] = {}
    for row, source in zip(rows, given, strict=True):
        if source["ended"]:
            key = source["hardware"] if unit == "seconds" else ""
            by_class.setdefault(key, []).append((row, _arrivals(source["arrivals"][goal], unit)))
    for members in by_class.values():
        horizon = stats.common_horizon([arrivals for _, arrivals in members])
        for row, arrivals in members:
            described = row["arrivals"].setdefault(goal, {})
            described[unit] = {
                "reached": len(arrivals.times),
                "of": len(arrivals.times) + len(arrivals.followed),
                "horizon": horizon or None,
                "restricted_mean": stats.restricted_mean(arrivals, horizon) if horizon else None,
                "interval": _ends(stats.restricted_mean_interval(arrivals, horizon)) if horizon else None,
                "curve": [list(corner) for corner in stats.arrival_curve(arrivals)],
            }


def _arrivals(given: dict[str, list[float | None]], unit: str) -> stats.Arrivals:
    followed = [math.inf if t is None else float(t) for t in given[f"{unit}_followed"]]
    return stats.Arrivals(tuple(float(t) for t in given[unit] if t is not None), tuple(followed))


def _pairs(table: dict[str, Any]) -> dict[str, Any]:
    """Return every pair of rows, the better one first, with its test; and the smallest p that the seeds allow."""
    rows = [row for row in table["rows"] if row["ended"]]
    scores = [_lower_is_better(table, row) for row in rows]
    found = stats.pair_p_values(scores)
    corrected = stats.holm([p for _, _, p in found])
    pairs = []
    for (i, j, p), holm in zip(found, corrected, strict=True):
        chance = stats.probability_of_improvement([scores[i]], [scores[j]])
        if chance < 0.5:
            i, j, chance = j, i, 1 - chance
        pairs.append(
            {"better": rows[i]["name"], "worse": rows[j]["name"], "probability": chance, "p": p, "p_holm": holm}
        )
    sizes = sorted((len(s) for s in scores if s), reverse=True)[:2]
    least = None if len(sizes) < 2 else min(1.0, len(found) * stats.smallest_p(*sizes))
    return {"pairs": pairs, "smallest_p_holm": least}


def _lower_is_better(table: dict[str, Any], row: dict[str, Any]) -> list[float]:
    """Return a row's scores with the sign that makes lower better, diverged seeds as infinity."""
    sign = -1.0 if table["higher_is_better"] else 1.0
    return [sign * score for score in row["seeds"].values()] + [math.inf] * row["diverged"]


# -- over tasks ------------------------------------------------------------------------------------------------------


def _overall(tables: list[dict[str, Any]]) -> dict[str, Any]:
    names, shared = _shared(tables)
    cells = [{row["name"]: row for row in table["rows"]} for table in shared]
    left_out = {
        "models": sorted({row["name"] for table in tables for row in table["rows"]} - set(names)),
        "tasks": [table["task"] for table in tables if table not in shared],
    }
    found: dict[str, Any] = {
        "models": names,
        "tasks": [table["task"] for table in shared],
        "left_out": left_out,
        "rows": [],
        "improvement": [],
        "profiles": [],
    }
    if len(names) < 2:
        return found
    scores = [[_lower_is_better(t, c[name]) for t, c in zip(shared, cells, strict=True)] for name in names]
    ranks, rank_intervals = stats.mean_ranks(scores), stats.rank_intervals(scores)
    for name, rank, interval in zip(names, ranks, rank_intervals, strict=True):
        row = {"name": name, "rank": rank, "rank_interval": _ends(interval), **_normalised(name, shared, cells)}
        found["rows"].append(row)
    found["rows"].sort(key=lambda row: (row["rank"], row["name"]))
    found["improvement"] = _improvement(names, scores)
    found["profiles"] = _profiles(names, shared, cells)
    return found


def _shared(tables: list[dict[str, Any]]) -> tuple[list[str], list[dict[str, Any]]]:
    """Return the models and tasks to compare over.

    Of all sets of models that a task ran, it is the one that has the most cells over the tasks that ran all of it, of
    equals the one with more models.
    """
    ran = [frozenset(row["name"] for row in t["rows"] if row["n"] + row["diverged"]) for t in tables]
    everywhere = frozenset.intersection(*ran) if ran else frozenset()
    best: tuple[int, int, list[str], list[dict[str, Any]]] = (0, 0, [], [])
    for names in dict.fromkeys([*ran, everywhere]):
        shared = [table for table, there in zip(tables, ran, strict=True) if names <= there]
        candidate = (len(names) * len(shared), len(names), sorted(names), shared)
        if len(names) > 1 and candidate[:2] > best[:2]:
            best = candidate
    return best[2], best[3]


def _normalised(name: str, tables: list[dict[str, Any]], cells: list[dict[str, Any]]) -> dict[str, Any]:
    """Return IQM and median of a model's normalised scores, runs x tasks, with stratified intervals."""
    strata = []
    for table, rows in zip(tables, cells, strict=True):
        runs = [*rows[name]["seeds"].values(), *([None] * rows[name]["diverged"])]
        scores = [normalised(table["metric"], value, table["baseline"]) for value in runs]
        if None not in scores:
            strata.append([score for score in scores if score is not None])
    pooled = [score for scores in strata for score in scores]
    return {
        "iqm": stats.iqm(pooled) if pooled else None,
        "iqm_interval": _ends(stats.stratified_interval(strata, "iqm")),
        "median": stats.median(pooled) if pooled else None,
        "median_interval": _ends(stats.stratified_interval(strata, "median")),
        "diverged": sum(rows[name]["diverged"] for rows in cells),
        "runs": sum(rows[name]["n"] + rows[name]["diverged"] for rows in cells),
    }


def _improvement(names: list[str], scores: list[list[list[float]]]) -> list[dict[str, Any]]:
    found = []
    for i, j in combinations(range(len(names)), 2):
        chance = stats.probability_of_improvement(scores[i], scores[j])
        ends = stats.improvement_interval(scores[i], scores[j])
        if chance < 0.5:
            i, j, chance = j, i, 1 - chance
            ends = None if ends is None else (1 - ends[1], 1 - ends[0])
        found.append({"name": names[i], "over": names[j], "probability": chance, "interval": _ends(ends)})
    return found


def _profiles(names: list[str], tables: list[dict[str, Any]], cells: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return performance profiles in steps, samples and, within each class of hardware, seconds to the target."""
    solvable = [rows for table, rows in zip(tables, cells, strict=True) if table["target"] is not None]
    if not solvable:
        return []
    found = [_profile("steps", None, names, solvable), _profile("samples", None, names, solvable)]
    by_class: dict[str, list[str]] = {}
    for name in names:
        classes = {rows[name]["hardware"] for rows in solvable}
        if len(classes) == 1:
            by_class.setdefault(classes.pop(), []).append(name)
    found += [_profile("seconds", where, there, solvable) for where, there in by_class.items() if len(there) > 1]
    return found


def _profile(unit: str, hardware: str | None, names: list[str], cells: list[dict[str, Any]]) -> dict[str, Any]:
    times = [[_target_times(rows[name], unit) for rows in cells] for name in names]
    medians = stats.median_times(times)
    rows = []
    for name, score, ends, ratios in zip(
        names,
        stats.integrated_scores(medians).tolist(),
        stats.score_intervals(times),
        stats.time_ratios(medians).tolist(),
        strict=True,
    ):
        rows.append(
            {
                "name": name,
                "score": score,
                "interval": _ends(ends),
                "solved": sum(map(math.isfinite, ratios)),
                "curve": [list(corner) for corner in stats.profile(ratios)],
            }
        )
    rows.sort(key=lambda row: (-row["score"], row["name"]))
    return {"unit": unit, "hardware": hardware, "tasks": len(cells), "rows": rows}


def _target_times(row: dict[str, Any], unit: str) -> list[float]:
    """Return each ended run's time to the target, infinite for one that never got there."""
    arrivals = row["arrivals"]["target"]
    factor = row["batch_size"] if unit == "samples" else 1
    there = arrivals["seconds" if unit == "seconds" else "steps"]
    return [factor * float(t) for t in there] + [math.inf] * len(arrivals["steps_followed"])


def _ends(interval: tuple[float, float] | None) -> list[float] | None:
    return None if interval is None else list(interval)
