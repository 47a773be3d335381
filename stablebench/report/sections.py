"""The parts of the page: figures of a task and over tasks, environments, what is reproduced, line styles."""

import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from stablebench.data.metrics import higher_is_better
from stablebench.leaderboard import (
    columns,
    format_interval,
    format_line_interval,
    format_number,
    format_number_of,
    format_protocol,
    format_verdict,
    reproduction_title,
)
from stablebench.report import palette
from stablebench.report.figures.curves import Line, arrivals_line, band_of, learning_curve, measured, profile_lines
from stablebench.report.figures.lengths import chance_line, length_line, trained_lengths
from stablebench.report.svg import Figure, panels_of
from stablebench.schema.leaderboard import LeaderboardRow, LeaderboardTable
from stablebench.schema.leaderboard_statistics import GOALS, Statistics, TableStatistics
from stablebench.schema.reproduction import Reproduction
from stablebench.schema.run_record import RunRecord

_BUDGET_SHARES = (0.1, 0.25, 0.5, 0.75, 1.0)
"""Shares of the budget at which a curve's table has its numbers."""


def styles_of(names: Iterable[str]) -> dict[str, str]:
    """Return the CSS classes of each model's lines, a colour and dashes: those it has in every figure.

    Args:
        names: Models; repeated ones count once.
    """
    styles = {name: palette.colour_and_dashes(look) for name, look in palette.looks(names).items()}
    return {name: f"c{colour} d{dashes}" for name, (colour, dashes) in styles.items()}


def palette_css() -> str:
    """Return the rules of these classes, for a light and a dark ground; dashes are in units of the drawings."""
    grounds = [
        ":root { " + " ".join(f"--c{i}: {colour};" for i, colour in enumerate(colours)) + " }"
        for colours in (palette.LIGHT, palette.DARK)
    ]
    rules = [grounds[0], f"@media screen and (prefers-color-scheme: dark) {{ {grounds[1]} }}"]
    rules += [f".c{i} {{ --line: var(--c{i}); }}" for i in range(len(palette.LIGHT))]
    for i, lengths in enumerate(palette.DASHES):
        if lengths:
            drawn, at, stops = " ".join(f"{4 * length:g}" for length in lengths), 0.0, []
            for place, length in enumerate(lengths):
                stops.append(
                    f"{'transparent' if place % 2 else 'var(--line)'} {2.4 * at:.3g}px {2.4 * (at + length):.3g}px"
                )
                at += length
            rules.append(f".d{i} .line {{ stroke-dasharray: {drawn}; }}")
            rules.append(f".swatch.d{i} {{ background: repeating-linear-gradient(90deg, {', '.join(stops)}); }}")
    return "\n".join(rules) + "\n"


def environments_of(records: Sequence[RunRecord]) -> tuple[list[dict[str, Any]], Callable[[list[RunRecord]], str]]:
    """Return where the runs ran, each environment once, and a function from runs to the labels of theirs."""
    labels: dict[str, str] = {}
    environments: dict[str, dict[str, Any]] = {}

    known: dict[int, str] = {}
    """Labels of the environments that records share."""

    def label(record: RunRecord) -> str:
        if id(record.environment) in known:
            return known[id(record.environment)]
        ran = record.environment.model_dump(mode="json", exclude={"engine"})
        key = json.dumps(ran, sort_keys=True)
        if key not in labels:
            labels[key] = f"E{len(labels) + 1}"
            flags = ", ".join(f"{k} {v}" for k, v in ran.pop("flags").items())
            versions = ", ".join(f"{k} {v}" for k, v in ran.pop("versions").items())
            row = {"label": labels[key], **ran, "versions": versions, "flags": flags, "runs": 0}
            environments[labels[key]] = row
        known[id(record.environment)] = labels[key]
        return labels[key]

    for record in records:
        environments[label(record)]["runs"] += 1
    return list(environments.values()), lambda some: ", ".join(sorted({label(record) for record in some}))


def reproduction_of(part: Reproduction | None) -> dict[str, Any] | None:
    """Return what is reproduced of a paper as `title` and `lines` of texts; None where the suite has no paper."""
    if part is None:
        return None
    lines = [
        {
            "what": line.what,
            "published": format_number_of(line) or "",
            "ours": format_number(line.ours) or "",
            "interval": format_line_interval(line) or "",
            "verdict": format_verdict(line),
            "protocol": line.protocol or "",
            "note": format_protocol(line) if line.differs or line.unstated else None,
        }
        for line in part.lines
    ]
    return {"title": reproduction_title(part), "lines": lines}


# -- figures ---------------------------------------------------------------------------------------------------------


def figures_of_task(
    key: str,
    table: LeaderboardTable,
    statistics: TableStatistics,
    records: dict[str, list[RunRecord]],
    paths: dict[str, list[Path]],
    points: int,
) -> list[Figure]:
    """Return the figures of one task; those without anything to show are left out.

    Args:
        key: Begins the figures' keys.
        table: The leaderboard's table.
        statistics: Its statistics.
        records: Each row's runs.
        paths: Each row's run folders.
        points: Points of a curve.
    """
    metric = table.metric
    logarithmic = not table.higher_is_better
    figures = [
        _curves(
            f"{key}-curve",
            f"{metric} on validation examples while training",
            metric,
            {name: [learning_curve(r, metric) for r in runs] for name, runs in records.items()},
            records,
            points,
            logarithmic,
        ),
        _over_length(f"{key}-length", table),
        *_time_figures(key, table, statistics),
        _scatter(f"{key}-parameters", table, "parameters", lambda row: row.parameters),
        _scatter(f"{key}-seconds", table, "seconds of training", columns.train_seconds),
    ]
    measures = {name: [measured(path / "metrics.jsonl") for path in held] for name, held in paths.items()}
    named = sorted({measure for runs in measures.values() for run in runs for measure in run})
    for number, measure in enumerate(named):
        title = "norm of the gradient of the training loss" if measure == "gradient_norm" else f"{measure} (probe)"
        label = measure.replace("_", " ")
        seeds = {name: [run.get(measure, {}) for run in runs] for name, runs in measures.items()}
        figures.append(
            _curves(f"{key}-probe-{number}", title, label, seeds, records, points, measure == "gradient_norm")
        )
    return [figure for figure in figures if figure is not None]


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
        line = band_of(name, held, points, done)
        if line is None:
            continue
        series.append(line)
        last = line.x[-1]
        at = [max((i for i, x in enumerate(line.x) if x <= share * last), default=None) for share in _BUDGET_SHARES]
        rows.append([name, *("" if i is None else f"{line.y[i]:.4g} at {line.x[i]:g}" for i in at)])
    if not series:
        return None
    explained = "Line: median over seeds; band: lowest to highest seed."
    return Figure(
        key,
        title,
        f"{title}, over updates, for {len(series)} models. {explained}",
        "updates",
        label,
        panels_of(series, log_y=logarithmic),
        table_columns=["model", *(f"last value by {share:.0%} of the run" for share in _BUDGET_SHARES)],
        table_rows=rows,
    )


def _over_length(key: str, table: LeaderboardTable) -> Figure | None:
    """Return the accuracies over the length of test examples; None where no run was scored at several."""
    series = [line for row in table.rows if (line := length_line(row)) is not None]
    if not series:
        return None
    ends = trained_lengths(table)
    title = "test accuracy over length" + ("" if ends is None else f", trained on {ends[0]} to {ends[1]} (shaded)")
    guessing = chance_line(table, series)
    drawn = series if guessing is None else [*series, guessing]
    explained = "Line: median over seeds; band: lowest to highest seed; dashed in grey: guessing."
    lengths = sorted({x for line in series for x in line.x})
    rows = []
    for line in drawn:
        values = dict(zip(line.x, line.y, strict=True))
        rows.append([line.name, *("" if x not in values else f"{values[x]:.3f}" for x in lengths)])
    panels = panels_of(drawn, log_y=None, log_x=True, y_ends=(0.0, 1.0), shaded=ends)
    columns = ["model", *(f"{x:g}" for x in lengths)]
    description = f"{title}, for {len(series)} models. {explained}"
    return Figure(key, title, description, "length", "accuracy", panels, False, columns, rows)


def _time_figures(key: str, table: LeaderboardTable, statistics: TableStatistics) -> list[Figure]:
    """Return Kaplan-Meier curves, as the share of runs that reached it, for each goal that any run reached."""
    figures = []
    for goal in GOALS:
        series, rows = [], []
        for row in statistics.rows:
            time = row.time_to(goal, "steps")
            line = arrivals_line(row.name, time)
            if time is None or line is None:
                continue
            series.append(line)
            steps = ", ".join(f"{1 - share:.0%} at {t:g}" for t, share in time.curve[1:]) or "never"
            rows.append([row.name, f"{time.reached} of {time.of}", steps])
        if any(max(s.y) > 0 for s in series):
            value = table.baseline if goal == "baseline" else table.target
            title = f"share of runs at the {goal}" + ("" if value is None else f" ({value:.4g})")
            description = f"Kaplan-Meier estimate of the {title} after so many updates, for {len(series)} models."
            panels = panels_of(series, log_y=None, x_ends=(0.0, None), y_ends=(0.0, 1.0))
            columns = ["model", "arrived", "share arrived, at updates"]
            axes = ("updates", "share of runs")
            figures.append(Figure(f"{key}-to-{goal}", title, description, *axes, panels, False, columns, rows))
    return figures


def _scatter(
    key: str, table: LeaderboardTable, label: str, value_of: Callable[[LeaderboardRow], float | None]
) -> Figure | None:
    metric = table.shown_metric
    points = [(row.name, value_of(row), row.shown.score) for row in table.rows]
    points = [(name, value, score) for name, value, score in points if score is not None and value]
    if not points:
        return None
    series = [Line(name, [float(value)], [score], dots=True) for name, value, score in points]
    title = f"{metric} against {label}"
    description = f"Median test {metric} of each of {len(points)} models against its {label}, on a logarithmic axis."
    panels = panels_of(series, log_y=not higher_is_better(metric), log_x=True)
    numbers = [[name, f"{value:,.4g}", f"{score:.4g}"] for name, value, score in points]
    return Figure(key, title, description, label, metric, panels, True, ["model", label, metric], numbers)


def overall_figures(statistics: Statistics) -> list[Figure]:
    """Return the performance profiles."""
    figures = []
    for number, profile in enumerate(statistics.overall.profiles):
        rows, series = profile.rows, profile_lines(profile)
        if not series:
            continue
        where = f" ({profile.hardware})" if profile.hardware else ""
        title = f"performance profile in {profile.unit}{where}"
        description = (
            f"Share of {profile.tasks} tasks whose target a model reaches within tau times the {profile.unit} "
            f"of the fastest model, for {len(rows)} models."
        )
        panels = panels_of(series, log_y=None, x_ends=(1.0, statistics.r_max), y_ends=(0.0, 1.0))
        numbers = [[row.name, f"{row.score:.3g}", format_interval(row.interval) or "", str(row.solved)] for row in rows]
        columns = ["model", "score", "95 %", "tasks solved"]
        axes = ("tau", "share of tasks")
        figures.append(Figure(f"profile-{number}", title, description, *axes, panels, False, columns, numbers))
    return figures
