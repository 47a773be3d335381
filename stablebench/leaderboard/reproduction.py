"""Whether a suite repeats what its paper reports: a pure function of the suite and its leaderboard.

Our score is the paper's statistic of our seeds (their mean, the best, the best on validation) where the paper says
which it is, else the median.

A printed number is

    reproduced        our score is at least as good
    within interval   our score is worse, and the interval over our seeds reaches the number
    below             not even the interval reaches it; with one seed there is no interval
    not run           there is no score of that model at that size

What a figure shows without numbers is stated in the suite as an expectation, and holds, fails or has not been run.
"""

from typing import Any

from stablebench.metrics import METRICS, higher_is_better
from stablebench.schema.suite import Expectation, Suite
from stablebench.tables import Table


def reproduction(suite: Suite, document: dict[str, Any]) -> dict[str, Any]:
    """Return one line per published number and expectation of a suite, as a part of its leaderboard.

    Args:
        suite: The suite.
        document: Its leaderboard, as `stablebench.leaderboard.document` returns it.

    Returns:
        `reproduction`: its `source` and `lines`, objects with `what`, `published`, `ours`, `interval`, `verdict` and
        `protocol`, numbers in our units; empty for a suite that repeats no paper's experiment.
    """
    tables = document["tables"]
    lines = [_number(name, key, tables) for name, keys in suite.published.items() for key in keys]
    lines += [_expectation(expected, tables) for expected in suite.expected]
    return {"reproduction": {"source": suite.source, "lines": lines}} if lines else {}


def reproduction_table(part: dict[str, Any]) -> Table:
    """Return the part of a leaderboard that `reproduction` made as a table."""
    rows = [
        [line["what"], line["published"], line["ours"], _interval(line["interval"]), line["protocol"], line["verdict"]]
        for line in part["lines"]
    ]
    columns = ["what", "published", "ours", "95 %", "protocol", "verdict"]
    title = "Reproduction" + (f" of {part['source']}" if part["source"] else "")
    return Table(columns, rows, title=title, wrap=frozenset({"what"}))


def _number(name: str, key: str, tables: list[dict[str, Any]]) -> dict[str, Any]:
    for table in tables:
        if table["task"].split("/")[0] != name:
            continue
        for entry in table["published"]:
            if entry["key"] == key:
                return _compared(entry, table)
    return _line(key, None, None, None, "not run", None)


def _compared(entry: dict[str, Any], table: dict[str, Any]) -> dict[str, Any]:
    metric, published, units = entry["metric"], entry["published"], entry["units"]
    what = f"{entry['model']}{'' if units is None else f', {units} units'} on {table['task']}: {metric}"
    of_model = [row for row in table["rows"] if row["model"] == entry["model"]]
    row = next((row for row in of_model if units in (None, row["hidden"])), None)
    if row is None or published is None:
        return _line(f"{what} ({entry['where']})", published, None, None, "not run", entry["protocol"])
    ranked = metric == table["metric"]
    ours = row["score"] if ranked else row["others"].get(metric, entry["ours"])
    alike = row.get("statistics", {}).get(metric, {}).get(entry.get("statistic"))
    ours = ours if alike is None else alike  # the paper's statistic, where it says which
    interval = row["interval"] if ranked else None
    sign = 1.0 if metric in METRICS and higher_is_better(metric) else -1.0
    if ours is None:
        verdict = "below" if row["ended"] else "not run"
    elif sign * ours >= sign * published:
        verdict = "reproduced"
    elif interval is not None and max(sign * end for end in interval) >= sign * published:
        verdict = "within interval"
    else:
        verdict = "below"
    return _line(f"{what} ({entry['where']})", published, ours, interval, verdict, entry["protocol"])


def _expectation(expected: Expectation, tables: list[dict[str, Any]]) -> dict[str, Any]:
    for table in tables:
        if _is_of(table, expected):
            sign = 1.0 if table["higher_is_better"] else -1.0
            scores = {model: _best(table, model, sign) for model in (expected.model, *expected.better_than)}
            ours = scores.pop(expected.model)
            if ours is None or any(score is None for score in scores.values()):
                break
            holds = all(sign * ours > sign * score for score in scores.values() if score is not None)
            if expected.reaches is not None:
                holds &= sign * ours >= sign * expected.reaches
            if expected.misses is not None:
                holds &= sign * ours < sign * expected.misses
            return _line(expected.says, None, ours, None, "holds" if holds else "fails", None)
    return _line(expected.says, None, None, None, "not run", None)


def _is_of(table: dict[str, Any], expected: Expectation) -> bool:
    name, _, variant = expected.task.partition("/")
    if table["task"].split("/")[0] != name:
        return False
    if expected.T is not None:
        return expected.T in table["params"].values()
    return not variant or table["task"] == expected.task


def _best(table: dict[str, Any], model: str, sign: float) -> float | None:
    """Return the best row's score; a row whose seeds mostly diverged is worse than any number."""
    rows = [row for row in table["rows"] if row["model"] == model and row["ended"]]
    if not rows:
        return None
    return sign * max(float("-inf") if row["score"] is None else sign * row["score"] for row in rows)


def _line(
    what: str,
    published: float | None,
    ours: float | None,
    interval: list[float] | None,
    verdict: str,
    protocol: str | None,
) -> dict[str, Any]:
    finite = ours if ours is not None and abs(ours) != float("inf") else None
    return {
        "what": what,
        "published": published,
        "ours": finite,
        "interval": interval,
        "verdict": verdict,
        "protocol": protocol,
    }


def _interval(interval: list[float] | None) -> str | None:
    return None if interval is None else f"{interval[0]:.4g} ... {interval[1]:.4g}"
