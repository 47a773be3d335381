"""The parts of the page: columns of a leaderboard, figures of a task and over tasks, environments, line styles."""

import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from stablebench.leaderboard import protocol_in_words, reproduction_title, said_published, span
from stablebench.report.figures.curves import Line, band_of, learning_curve, measured
from stablebench.report.svg import Figure, panels_of
from stablebench.schema.run_record import RunRecord

_COLOURS, _DASHES, _WIDTHS = 8, 4, 2
_ARRIVALS = (
    "mean over seeds, in which one that did not arrive counts with the time for which all rows can be followed "
    "(restricted mean); arrived of runs"
)
_SHARES = (0.1, 0.25, 0.5, 0.75, 1.0)
"""Shares of the budget at which a curve's table has its numbers."""


def styles_of(names: Iterable[str]) -> dict[str, str]:
    """Return the CSS classes of each model's lines: a colour, dashes and a width, the same all over the page.

    Args:
        names: Models; repeated ones count once.
    """
    styles = {}
    for i, name in enumerate(sorted(set(names))):
        colour, rest = i % _COLOURS, i // _COLOURS
        styles[name] = f"c{colour} d{rest % _DASHES}" + (" w1" if rest // _DASHES % _WIDTHS else "")
    return styles


def environments_of(records: Sequence[RunRecord]) -> tuple[list[dict[str, Any]], Callable[[list[RunRecord]], str]]:
    """Return where the runs ran, each environment once, and a function from runs to the labels of theirs."""
    labels: dict[str, str] = {}
    found: list[dict[str, Any]] = []

    def label(record: RunRecord) -> str:
        ran = record.environment.model_dump(mode="json", exclude={"engine"})
        key = json.dumps(ran, sort_keys=True)
        if key not in labels:
            labels[key] = f"E{len(labels) + 1}"
            flags = ", ".join(f"{k} {v}" for k, v in ran.pop("flags").items())
            versions = ", ".join(f"{k} {v}" for k, v in ran.pop("versions").items())
            found.append({"label": labels[key], **ran, "versions": versions, "flags": flags, "runs": 0})
        return labels[key]

    for record in records:
        name = label(record)
        next(e for e in found if e["label"] == name)["runs"] += 1
    return found, lambda some: ", ".join(sorted({label(record) for record in some}))


def ranked_columns(
    table: dict[str, Any], statistics: dict[str, Any], environments: dict[str, str]
) -> list[dict[str, Any]]:
    """Return a leaderboard's columns: `name`, `help`, and one (text, value to sort by, bold) a row.

    Args:
        table: Of the leaderboard's document.
        statistics: What `stablebench.leaderboard.statistics` found of it.
        environments: Labels of each row's environments.
    """
    metric, rows = table["metric"], table["rows"]
    described = {row["name"]: row for row in statistics["rows"]}
    columns: list[dict[str, Any]] = []

    def add(name: str, cells: list[tuple[str | None, Any]], explained: str = "", bold: bool = False) -> None:
        if any(text for text, _ in cells):
            texts = [(text or "", value, bold and row["best"]) for row, (text, value) in zip(rows, cells, strict=True)]
            columns.append({"name": name, "help": explained, "cells": texts})

    def number(value: float | None, form: str = ".4g") -> tuple[str | None, Any]:
        return (None if value is None else format(value, form)), value

    def ends(interval: list[float] | None) -> tuple[str | None, Any]:
        return span(interval), None if interval is None else interval[0]

    add("rank", [number(row["rank"], "d") for row in rows])
    add(
        metric,
        [number(row["score"]) if row["score"] is not None else (_no_score(row), None) for row in rows],
        "median over seeds, a diverged one worse than any",
        bold=True,
    )
    add("95 % interval", [ends(row["interval"]) for row in rows], "of the interquartile mean over seeds")
    add("IQM", [number(row["iqm"]) for row in rows], "interquartile mean")
    add("mean ± sd", [_mean(described[row["name"]]) for row in rows])
    add("range", [ends([row["min"], row["max"]] if row["n"] else None) for row in rows], "lowest to highest seed")
    add("seeds", [(_seeds(row), row["n"]) for row in rows])
    for other in sorted({name for row in rows for name in row["others"]}):
        add(other, [number(row["others"].get(other)) for row in rows], "median over seeds")
    for goal in ("baseline", "target"):
        for unit in ("steps", "seconds"):
            arrivals = [described[row["name"]]["arrivals"].get(goal, {}).get(unit) for row in rows]
            add(f"{unit} to {goal}", [_arrival(a) for a in arrivals], _ARRIVALS)
    add("parameters", [number(row["parameters"], ",d") for row in rows])
    add("train s", [number(row["train_s"], ".3g") for row in rows], "seconds of training, median")
    add("steps/s", [number(row["steps_per_s"], ".3g") for row in rows], "updates a second, median")
    add("peak MB", [number(None if row["peak_bytes"] is None else row["peak_bytes"] / 1e6, ".0f") for row in rows])
    add("where", [(environments[row["name"]], environments[row["name"]]) for row in rows], "environments, listed below")
    return columns


def reproduction_of(document: dict[str, Any]) -> dict[str, Any] | None:
    """Return what is reproduced of a paper as `title` and `lines` of texts; None where the suite has no paper."""
    part = document.get("reproduction")
    if part is None:
        return None
    lines = [
        {
            "what": line["what"],
            "published": "" if line["published"] is None else said_published(line),
            "ours": "" if line["ours"] is None else f"{line['ours']:.4g}",
            "interval": span(line["interval"]) or "",
            "verdict": line["verdict"],
            "protocol": line["protocol"] or "",
            "note": protocol_in_words(line) if line["differs"] or line["unstated"] else None,
        }
        for line in part["lines"]
    ]
    return {"title": reproduction_title(part), "lines": lines}


def _no_score(row: dict[str, Any]) -> str:
    return "diverged" if row["diverged"] else "none"


def _seeds(row: dict[str, Any]) -> str:
    rest = [f"{count} {status}" for status, count in row["statuses"].items() if status != "finished"]
    return ", ".join([str(row["n"]), *rest])


def _mean(row: dict[str, Any]) -> tuple[str | None, Any]:
    if row["mean"] is None:
        return None, None
    spread = "" if row["standard_deviation"] is None else f" ± {row['standard_deviation']:.2g}"
    return f"{row['mean']:.4g}{spread}", row["mean"]


def _arrival(found: dict[str, Any] | None) -> tuple[str | None, Any]:
    if found is None:
        return None, None
    if not found["reached"]:
        followed = "" if found["horizon"] is None else f", > {found['horizon']:.4g}"
        return f"never (0/{found['of']}{followed})", found["restricted_mean"]
    return f"{found['restricted_mean']:.4g} ({found['reached']}/{found['of']})", found["restricted_mean"]


# -- figures ---------------------------------------------------------------------------------------------------------


def figures_of_task(
    key: str,
    table: dict[str, Any],
    statistics: dict[str, Any],
    records: dict[str, list[RunRecord]],
    paths: dict[str, list[Path]],
    points: int,
) -> list[Figure]:
    """Return the figures of one task; those without anything to show are left out.

    Args:
        key: Begins the figures' keys.
        table: Of the leaderboard's document.
        statistics: What was found of it.
        records: Each row's runs.
        paths: Their folders.
        points: Points of a curve.
    """
    metric = table["metric"]
    logarithmic = not table["higher_is_better"]
    found = [
        _curves(
            f"{key}-curve",
            f"{metric} on validation examples while training",
            metric,
            {name: [learning_curve(r, metric) for r in runs] for name, runs in records.items()},
            records,
            points,
            logarithmic,
        ),
        *_arrival_figures(key, table, statistics),
        _scatter(f"{key}-parameters", table, "parameters", "parameters"),
        _scatter(f"{key}-seconds", table, "train_s", "seconds of training"),
    ]
    measures = {name: [measured(path / "metrics.jsonl") for path in held] for name, held in paths.items()}
    named = sorted({measure for runs in measures.values() for run in runs for measure in run})
    for number, measure in enumerate(named):
        said = "norm of the gradient of the training loss" if measure == "gradient_norm" else f"{measure} (probe)"
        label = measure.replace("_", " ")
        seeds = {name: [run.get(measure, {}) for run in runs] for name, runs in measures.items()}
        found.append(_curves(f"{key}-probe-{number}", said, label, seeds, records, points, measure == "gradient_norm"))
    return [figure for figure in found if figure is not None]


def _curves(
    key: str,
    title: str,
    label: str,
    seeds: dict[str, list[dict[float, float]]],
    records: dict[str, list[RunRecord]],
    points: int,
    logarithmic: bool,
) -> Figure | None:
    series, rows = [], []
    for name, held in seeds.items():
        done = [record.status == "finished" for record in records[name]]
        band = band_of(held, points, done)
        if band is None:
            continue
        series.append(Line(name, band.x, band.middle, band.low, band.high))
        last = band.x[-1]
        at = [max((i for i, x in enumerate(band.x) if x <= share * last), default=None) for share in _SHARES]
        rows.append([name, *("" if i is None else f"{band.middle[i]:.4g} at {band.x[i]:g}" for i in at)])
    if not series:
        return None
    seeds_said = "Line: median over seeds; band: lowest to highest seed."
    return Figure(
        key,
        title,
        f"{title}, over updates, for {len(series)} models. {seeds_said}",
        "updates",
        label,
        panels_of(series, log_y=logarithmic),
        table_columns=["model", *(f"last value by {share:.0%} of the run" for share in _SHARES)],
        table_rows=rows,
    )


def _arrival_figures(key: str, table: dict[str, Any], statistics: dict[str, Any]) -> list[Figure]:
    """Return Kaplan-Meier curves, as the share that has arrived, for each goal that any run got to."""
    found = []
    for goal in ("baseline", "target"):
        series, rows = [], []
        for row in statistics["rows"]:
            arrivals = row["arrivals"].get(goal, {}).get("steps")
            if arrivals is None or arrivals["horizon"] is None:
                continue
            corners = [(t, 1 - share) for t, share in arrivals["curve"]]
            end = max(arrivals["horizon"], corners[-1][0])
            series.append(
                Line(
                    row["name"], [t for t, _ in corners] + [end], [s for _, s in corners] + [corners[-1][1]], steps=True
                )
            )
            steps = ", ".join(f"{share:.0%} at {t:g}" for t, share in corners[1:]) or "never"
            rows.append([row["name"], f"{arrivals['reached']} of {arrivals['of']}", steps])
        if any(max(s.y) > 0 for s in series):
            value = table["baseline"] if goal == "baseline" else table["target"]
            title = f"share of runs at the {goal}" + ("" if value is None else f" ({value:.4g})")
            told = f"Kaplan-Meier estimate of the {title} after so many updates, for {len(series)} models."
            panels = panels_of(series, log_y=None, x_ends=(0.0, None), y_ends=(0.0, 1.0))
            columns = ["model", "arrived", "share arrived, at updates"]
            found.append(
                Figure(f"{key}-to-{goal}", title, told, "updates", "share of runs", panels, False, columns, rows)
            )
    return found


def _scatter(key: str, table: dict[str, Any], column: str, label: str) -> Figure | None:
    metric = table["metric"]
    rows = [row for row in table["rows"] if row["score"] is not None and row[column]]
    if not rows:
        return None
    series = [Line(row["name"], [float(row[column])], [row["score"]], dots=True) for row in rows]
    title = f"{metric} against {label}"
    told = f"Median test {metric} of each of {len(rows)} models against its {label}, on a logarithmic axis."
    panels = panels_of(series, log_y=not table["higher_is_better"], log_x=True)
    numbers = [[row["name"], f"{row[column]:,.4g}", f"{row['score']:.4g}"] for row in rows]
    return Figure(key, title, told, label, metric, panels, True, ["model", label, metric], numbers)


def overall_figures(statistics: dict[str, Any]) -> list[Figure]:
    """Return the performance profiles."""
    found = []
    for number, profile in enumerate(statistics["overall"]["profiles"]):
        rows = profile["rows"]
        if not any(row["solved"] for row in rows):
            continue
        series = [Line(row["name"], *zip(*row["curve"], strict=True), steps=True) for row in rows]
        where = f" ({profile['hardware']})" if profile["hardware"] else ""
        title = f"performance profile in {profile['unit']}{where}"
        told = (
            f"Share of {profile['tasks']} tasks whose target a model reaches within tau times the {profile['unit']} "
            f"of the fastest model, for {len(rows)} models."
        )
        panels = panels_of(series, log_y=None, x_ends=(1.0, statistics["r_max"]), y_ends=(0.0, 1.0))
        numbers = [
            [row["name"], f"{row['score']:.3g}", span(row["interval"]) or "", str(row["solved"])] for row in rows
        ]
        columns = ["model", "score", "95 %", "tasks solved"]
        found.append(Figure(f"profile-{number}", title, told, "tau", "share of tasks", panels, False, columns, numbers))
    return found
