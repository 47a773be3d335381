"""The leaderboard: a pure function of run records, as one plain document and as tables.

One table per task, variant and parameters; one row per model, and per spec, engine or device where they differ.

A row's score is the median over seeds of the final test metric. A diverged seed counts as worse than any score: with
fewer than half of the seeds diverged the median is still a number, with more the row has none and ranks last. The
interval is that of the interquartile mean; it is given only where no seed diverged. The best row is bold only if its
interval lies clear of every other row's.

Steps and seconds to the baseline or the target are medians over all ended seeds, one that never got there counting as
later than any other; `(3/5)` says how many got there.
"""

import json
import math
import re
import statistics
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from stablebench import registry
from stablebench.errors import UserError
from stablebench.metrics import METRICS, higher_is_better
from stablebench.schema.card import Published, TaskCard
from stablebench.schema.run_record import RunRecord
from stablebench.stats import bootstrap_interval, iqm
from stablebench.tables import Format, Table, json_text
from stablebench.tables import render as render_tables

Cards = Callable[[str], TaskCard | None]
_ENDED = ("finished", "diverged")
_PUBLISHED = {
    "loss": ("loss", 1.0),
    "cross_entropy": ("loss", 1.0),
    "mse": ("mse", 1.0),
    "test_mse": ("mse", 1.0),
    "accuracy": ("accuracy", 1.0),
    "accuracy_pct": ("accuracy", 0.01),
    "test_accuracy_pct": ("accuracy", 0.01),
}
"""The papers' names of a metric on test data, as ours and the factor to our unit; `_mean`, `_min` and `_max` may
follow."""
_PUBLISHED_COLUMNS = ("model", "metric", "published", "ours", "units", "protocol", "differs", "source", "where")


def registered_card(name: str) -> TaskCard | None:
    """Return a registered task's card, None where there is none or it cannot be read."""
    try:
        return registry.task_card(name)
    except UserError:
        return None


def document(suite: str, records: Iterable[RunRecord], cards: Cards = registered_card) -> dict[str, Any]:
    """Return the leaderboard as plain data: numbers, texts and None, nothing that is not finite.

    Of several records of one spec and seed the last to start counts, one that ended before one that did not.

    Args:
        suite: What was run.
        records: The runs, in any order.
        cards: Where published numbers come from.
    """
    by_table: dict[tuple[str, int, str, str], list[RunRecord]] = defaultdict(list)
    for record in _latest(records):
        task = record.spec.task
        by_table[task.name, task.version, json.dumps(task.params, sort_keys=True), record.metric].append(record)
    tables = [_table(group, cards) for _, group in sorted(by_table.items(), key=lambda item: item[0])]
    _tell_apart(tables, "task", lambda table: {"version": table["version"]} | table["params"])
    tables.sort(key=lambda table: _natural(table["task"]))
    return {"suite": suite, "tables": tables}


def _natural(name: str) -> list[tuple[str, int]]:
    """Return a key that sorts t100 before t1000 and t400 between them."""
    return [(text, int(number or 0)) for text, number in re.findall(r"(\D+)(\d*)", name)]


def _latest(records: Iterable[RunRecord]) -> list[RunRecord]:
    newest: dict[tuple[str, int, str, str], RunRecord] = {}
    for record in records:
        key = (record.spec_hash, record.spec.seed, record.environment.engine, record.environment.device)
        known = newest.get(key)
        if known is None or _age(record) > _age(known):
            newest[key] = record
    return list(newest.values())


def _age(record: RunRecord) -> tuple[bool, str]:
    return record.status in _ENDED, record.started


def _table(records: list[RunRecord], cards: Cards) -> dict[str, Any]:
    by_row: dict[tuple[str, str, str], list[RunRecord]] = defaultdict(list)
    for record in records:
        by_row[record.spec_hash, record.environment.engine, record.environment.device].append(record)
    first = records[0]
    task, metric = first.spec.task, first.metric
    rows = [_row(group) for group in by_row.values()]
    specs = {id(row): _settings(group[0]) for row, group in zip(rows, by_row.values(), strict=True)}
    _tell_apart(rows, "name", lambda row: specs[id(row)])
    _rank(rows, metric)
    card = cards(task.name)
    variant = next((r.spec.task.variant for r in records if r.spec.task.variant), None)
    if variant is None and card is not None:
        variant = next((name for name in card.variants if _has_params(card, name, task.params)), None)
    return {
        "task": f"{task.name}/{variant}" if variant else task.name,
        "version": task.version,
        "params": task.params,
        "metric": metric,
        "higher_is_better": higher_is_better(metric),
        "baseline": first.baseline,
        "target": first.target,
        "target_metric": first.target_metric,
        "selection": sorted({r.selection for r in records}),
        "cards": len({r.card_sha256 for r in records}),
        "rows": rows,
        "published": [] if card is None else _published(card, task.params, rows, metric),
    }


def _row(records: list[RunRecord]) -> dict[str, Any]:
    records = sorted(records, key=lambda record: record.spec.seed)
    first, metric = records[0], records[0].metric
    ended = [r for r in records if r.status in _ENDED]
    scores = {r.spec.seed: r.result.test[metric] for r in records if _is_scored(r) and r.result.test}
    values = list(scores.values())
    diverged = sum(r.status == "diverged" for r in records)
    interval = None if diverged else bootstrap_interval(values)
    others = sorted({name for r in records if _is_scored(r) for name in r.result.test or {}} - {metric})
    return {
        "name": first.spec.model.label,
        "model": first.spec.model.label,
        "spec_hash": first.spec_hash,
        "engine": first.environment.engine,
        "device": first.environment.device,
        "hidden": first.spec.model.hidden,
        "rank": None,
        "best": False,
        "score": _median_with_worst(values, diverged, metric),
        "min": min(values, default=None),
        "max": max(values, default=None),
        "iqm": iqm(values) if values else None,
        "interval": None if interval is None else list(interval),
        "n": len(values),
        "seeds": {str(seed): value for seed, value in scores.items()},
        "others": {name: _median_of_others(records, name) for name in others},
        "ended": len(ended),
        "diverged": diverged,
        "statuses": dict(sorted(Counter(r.status for r in records).items())),
        "tested": first.result.tested,
        **_arrivals(ended, "baseline"),
        **_arrivals(ended, "target"),
        "parameters": first.parameters,
        "steps_per_s": _median([r.result.steps_per_s for r in ended if r.result.steps_per_s is not None]),
        "peak_bytes": max((r.result.peak_bytes for r in ended if r.result.peak_bytes is not None), default=None),
    }


def _is_scored(record: RunRecord) -> bool:
    return record.status == "finished" and record.metric in (record.result.test or {})


def _median_of_others(records: list[RunRecord], name: str) -> float | None:
    tests = [r.result.test or {} for r in records if _is_scored(r)]
    return _median([test[name] for test in tests if name in test])


def _median(values: Sequence[float]) -> float | None:
    return float(statistics.median(values)) if values else None


def _median_with_worst(values: list[float], worst: int, metric: str) -> float | None:
    """Return the median of `values` and `worst` more that are worse than any; None if that is no number."""
    sign = -1.0 if higher_is_better(metric) else 1.0
    signed = [sign * value for value in values] + [math.inf] * worst
    middle = _median(signed)
    return None if middle is None or not math.isfinite(middle) else sign * middle


def _arrivals(ended: list[RunRecord], goal: str) -> dict[str, Any]:
    """Return the median steps and seconds to a goal, and how many of the ended runs got there."""
    found: dict[str, Any] = {}
    for unit in ("steps", "seconds"):
        values = [getattr(r.result, f"{unit}_to_{goal}") for r in ended]
        middle = _median([math.inf if v is None else v for v in values])
        found[f"{unit}_to_{goal}"] = middle if middle is not None and math.isfinite(middle) else None
    found[f"reached_{goal}"] = sum(getattr(r.result, f"steps_to_{goal}") is not None for r in ended)
    return found


def _rank(rows: list[dict[str, Any]], metric: str) -> None:
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
    if not ranked or ranked[0]["interval"] is None or len(rows) < 2:
        return
    worst = sign * ranked[0]["interval"][0 if sign < 0 else 1]

    def clear_of(row: dict[str, Any]) -> bool:
        if row["score"] is None:
            return bool(row["diverged"])
        return row["interval"] is not None and worst < sign * row["interval"][1 if sign < 0 else 0]

    ranked[0]["best"] = all(clear_of(row) for row in rows if row is not ranked[0])


def _settings(record: RunRecord) -> dict[str, Any]:
    """Return what may tell two rows of one model apart, by dotted key."""
    spec = record.spec
    ran = {"engine": record.environment.engine, "device": record.environment.device}
    asked = {"precision": spec.precision, "threads": spec.threads, "asked engine": spec.engine}
    source = {"file": spec.model.source[:6]} if spec.model.source else {}
    train = spec.train.model_dump(exclude={"checkpoint_every"})
    return {
        "hidden": spec.model.hidden,
        "layers": spec.model.layers,
        **spec.model.params,
        **ran,
        **{f"optim.{k}": v for k, v in spec.optim.model_dump().items()},
        **train,
        **asked,
        **source,
    }


def _tell_apart(items: list[dict[str, Any]], key: str, settings: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    """Append to equal names what differs between them."""
    by_name: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for item in items:
        by_name[item[key]].append(item)
    for same in by_name.values():
        if len(same) < 2:
            continue
        all_settings = [settings(item) for item in same]
        names = list(dict.fromkeys(name for values in all_settings for name in values))
        differing = [n for n in names if len({json.dumps(v.get(n), sort_keys=True) for v in all_settings}) > 1]
        for item, values in zip(same, all_settings, strict=True):
            said = ", ".join(f"{name} {_short(values.get(name))}" for name in differing[:4])
            item[key] += f" ({said or item.get('spec_hash', '')})"


def _short(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else json.dumps(value).strip('"')


def _has_params(card: TaskCard, variant: str | None, params: Mapping[str, Any]) -> bool:
    """Return whether a card's variant (None: the card itself) has these resolved parameters."""
    said = card.data.params | (card.variants.get(variant, {}) if variant else {})
    return all(name in params and params[name] == value for name, value in said.items())


def _published(
    card: TaskCard, params: Mapping[str, Any], rows: list[dict[str, Any]], metric: str
) -> list[dict[str, Any]]:
    found = []
    for entry in card.published:
        if entry.value is None or isinstance(entry.value, bool) or not _has_params(card, entry.variant, params):
            continue
        name, factor, summary = _our_metric(entry.metric)
        row = next((row for row in rows if row["model"] == entry.model), None)
        found.append(
            {
                "key": entry.key,
                "model": entry.model,
                "metric": name or entry.metric,
                "published": entry.value * factor,
                "ours": None if row is None else _ours(row, name, summary, metric, entry),
                "units": entry.units,
                "protocol": entry.protocol,
                "differs": entry.differs,
                "source": entry.source,
                "where": entry.where,
            }
        )
    return found


def _our_metric(published: str) -> tuple[str | None, float, str]:
    base, _, summary = published.rpartition("_")
    if summary not in ("mean", "min", "max"):
        base, summary = published, "median"
    name, factor = _PUBLISHED.get(base, (None, 1.0))
    return name, factor, summary


def _ours(row: dict[str, Any], name: str | None, summary: str, metric: str, entry: Published) -> float | None:
    if entry.metric == "nan_trials":
        return float(row["diverged"])
    if entry.metric.startswith("iterations_to_beat_baseline"):
        return row["steps_to_baseline"]
    if name is None:
        return None
    if name != metric:
        return row["others"].get(name)
    if summary == "median" or row["score"] is None:
        return row["score"]
    values = list(row["seeds"].values())
    return {"mean": statistics.fmean, "min": min, "max": max}[summary](values)


def render(board: dict[str, Any], fmt: Format = "table") -> str:
    """Return a leaderboard document as text."""
    if fmt == "json":
        return json_text(board).rstrip("\n")
    if not board["tables"]:
        return f"{board['suite']}: no runs yet." if fmt != "csv" else ""
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
                    rows=[[entry[c] for c in _PUBLISHED_COLUMNS] for entry in beside],
                    title=f"{table['task']}: published",
                    wrap=frozenset({"differs", "source", "where"}),
                    minor=("where", "differs", "source", "units"),
                )
            )
    return render_tables(tables, fmt)


def _ranked_table(table: dict[str, Any]) -> Table:
    metric, rows = table["metric"], table["rows"]
    others = sorted({name for row in rows for name in row["others"]})
    columns: dict[str, list[Any]] = {
        "#": [row["rank"] for row in rows],
        "model": [row["name"] for row in rows],
        metric: [_score(row) for row in rows],
        "min to max": [_span(row["min"], row["max"]) for row in rows],
        "95 % interval": [_span(*row["interval"]) if row["interval"] else None for row in rows],
        "seeds": [_seeds(row) for row in rows],
        **{name: [row["others"].get(name) for row in rows] for name in others},
        "steps to baseline": [_arrival(row, "steps", "baseline") for row in rows],
        "s to baseline": [_arrival(row, "seconds", "baseline") for row in rows],
        "steps to target": [_arrival(row, "steps", "target") for row in rows],
        "s to target": [_arrival(row, "seconds", "target") for row in rows],
        "parameters": [row["parameters"] for row in rows],
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
    notes = [f"{'; or '.join(table['selection'])}."]
    if table["cards"] > 1:
        notes.append(f"The runs saw {table['cards']} editions of the task card.")
    for row in table["rows"]:
        rest = {status: count for status, count in row["statuses"].items() if status not in _ENDED}
        if rest:
            notes.append(f"{row['name']}: " + ", ".join(f"{count} {status}" for status, count in rest.items()) + ".")
    return notes


def _score(row: dict[str, Any]) -> str:
    if row["score"] is not None:
        return f"{row['score']:.4g}"
    return "diverged" if row["diverged"] else "none"


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
        *("steps_to_target", "seconds_to_target", "reached_target", "parameters", "steps_per_s", "peak_bytes"),
    ]
    rows = [
        [table["task"], table["metric"], *(row[c] for c in plain), *(row["interval"] or [None, None])]
        for table in board["tables"]
        for row in table["rows"]
    ]
    return Table(columns=["task", "metric", *plain, "interval_low", "interval_high"], rows=rows)


def read_baseline(path: Path) -> dict[str, Any]:
    """Read a leaderboard that was stored as JSON.

    Raises:
        UserError: The file cannot be read, or is no leaderboard.
    """
    try:
        board = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}).") from None
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path}: must be JSON ({error}).") from None
    problem = _problem_of(board)
    if problem:
        raise UserError(f"{path}: must be a leaderboard, as `stablebench compare --output FILE` writes it; {problem}.")
    return board


def _problem_of(board: Any) -> str | None:
    if not isinstance(board, dict) or not isinstance(board.get("tables"), list):
        return "it has no list `tables`"
    for i, table in enumerate(board["tables"]):
        if not isinstance(table, dict) or not isinstance(table.get("task"), str):
            return f"tables.{i} has no `task`"
        if table.get("metric") not in METRICS:
            return f"tables.{i} has no known `metric`"
        if not isinstance(table.get("rows"), list):
            return f"tables.{i} has no list `rows`"
        for j, row in enumerate(table["rows"]):
            if not isinstance(row, dict) or not isinstance(row.get("name"), str):
                return f"tables.{i}.rows.{j} has no `name`"
            for key in ("score", "steps_to_baseline", "diverged"):
                value = row.get(key)
                number = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
                if value is not None and not number:
                    return f"tables.{i}.rows.{j}.{key} is no number"
    return None


def check(board: dict[str, Any], baseline: dict[str, Any], margin: float) -> list[str]:
    """Return one line per regression of a leaderboard against an older one.

    A row got worse if it is missing, has no score any more, has more diverged seeds, or its score or its steps to the
    baseline are worse by more than a share `margin` of the older value.

    Args:
        board: The leaderboard now.
        baseline: The older one.
        margin: The share, >= 0.
    """
    now = {(table["task"], row["name"]): row for table in board["tables"] for row in table["rows"]}
    found = []
    for table in baseline["tables"]:
        sign = -1.0 if higher_is_better(table["metric"]) else 1.0
        for before in table["rows"]:
            name = f"{table['task']}: {before['name']}"
            row = now.get((table["task"], before["name"]))
            if row is None:
                found.append(f"{name} is missing.")
                continue
            if (row["diverged"] or 0) > (before.get("diverged") or 0):
                found.append(f"{name}: {row['diverged']} seeds diverged, {before.get('diverged') or 0} before.")
            found += _worse(name, table["metric"], sign, row["score"], before.get("score"), margin)
            steps = row["steps_to_baseline"], before.get("steps_to_baseline")
            found += _worse(name, "steps to baseline", 1.0, *steps, margin)
    return found


def _worse(name: str, what: str, sign: float, now: float | None, before: float | None, margin: float) -> list[str]:
    if before is None:
        return []
    if now is None:
        return [f"{name}: no {what} now, {before:.6g} before."]
    if sign * (now - before) > margin * abs(before):
        return [f"{name}: {what} {now:.6g}, {before:.6g} before; the margin is {margin:.0%}."]
    return []
