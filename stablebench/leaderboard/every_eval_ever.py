"""Leaderboards as records of Every Eval Ever, the shared format of evaluation results: one record a row's name.

Schema 0.3.0 of https://github.com/evaleval/every_eval_ever (arXiv:2606.14516). A result is the median over seeds of the
metric that the leaderboard shows; its details have the seeds, the budget and where the hyper-parameters come from, all
as text, which is what the schema takes.
"""

import hashlib
import json
import re
import uuid
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from stablebench import __version__
from stablebench.data.metrics import METRICS, higher_is_better
from stablebench.leaderboard.board import by_row
from stablebench.leaderboard.format import format_seeds
from stablebench.leaderboard.origin import format_origin
from stablebench.schema.leaderboard import Leaderboard, LeaderboardRow, LeaderboardTable
from stablebench.schema.run_record import RunRecord

SCHEMA_VERSION = "0.3.0"
_BENCHMARK = "stablebench"
_BOUNDS: dict[str, tuple[float, float | str]] = {"accuracy": (0.0, 1.0), "perplexity": (1.0, "Infinity")}
"""Lowest and highest value of a metric; of all others 0 and infinity."""
_OWN_METRIC = "loss"
"""A metric whose name says something else on every task."""


def evaluation_records(
    board: Leaderboard, records: Sequence[RunRecord], organization: str, now: datetime
) -> tuple[dict[str, dict[str, Any]], list[str]]:
    """Return the records by path below a folder, as the data store orders them, and what has no score.

    Args:
        board: The leaderboard.
        records: Its runs.
        organization: Who ran them.
        now: When the records are made.
    """
    ran = by_row(records)
    results: dict[str, list[tuple[LeaderboardTable, LeaderboardRow]]] = {}
    unscored = []
    for table in board.tables:
        for row in table.rows:
            if row.shown.score is None:
                seeds = format_seeds(row.n, row.diverged) if row.ended else "no run has ended"
                unscored.append(f"{row.name} on {table.task}: {seeds}")
            else:
                results.setdefault(row.name, []).append((table, row))
    documents = {}
    for name, rows in results.items():
        stamp = str(int(now.timestamp()))
        model = _model_info(name, [row for _, row in rows])
        started = [record.started for _, row in rows for record in ran.get(row.key, [])]
        scores = [_result(table, row) for table, row in rows]
        document = {
            "schema_version": SCHEMA_VERSION,
            "evaluation_id": f"{_BENCHMARK}/{model['id']}/{stamp}",
            **({"evaluation_timestamp": max(started)} if started else {}),
            "retrieved_timestamp": stamp,
            "source_metadata": {
                "source_name": f"stablebench leaderboard: {board.suite}",
                "source_type": "evaluation_run",
                "source_organization_name": organization,
                "evaluator_relationship": "third_party",
            },
            "eval_library": {
                "name": "stablebench",
                "version": __version__,
                "additional_details": {"commits": ", ".join(sorted({c for _, row in rows for c in row.commits}))},
            },
            "model_info": model,
            "evaluation_results": scores,
        }
        digest = hashlib.sha256(json.dumps([model, scores], sort_keys=True).encode()).digest()
        named = uuid.UUID(bytes=digest[:16], version=4)  # the same results have the same file
        documents[f"{_BENCHMARK}/{model['id']}/{named}.json"] = document
    return documents, unscored


def _model_info(name: str, rows: list[LeaderboardRow]) -> dict[str, Any]:
    details = {
        "deployment_type": "self_deployed",
        "model_availability": "unknown",
        "registered_name": rows[0].model,
        "trained_by": "stablebench train, from scratch on each task",
    }
    slug = re.sub(r"[^\w.-]+", "-", name).strip("-.") or "model"
    return {
        "name": name,
        "id": f"{_BENCHMARK}/{slug}",
        "developer": _BENCHMARK,
        "inference_engine": {"name": f"stablebench {rows[0].engine}", "version": __version__},
        "additional_details": details,
    }


def _result(table: LeaderboardTable, row: LeaderboardRow) -> dict[str, Any]:
    metric = row.metric if row.quoted is None else row.quoted.metric
    low, high = _BOUNDS.get(metric, (0.0, "Infinity"))
    shown = row.shown
    uncertainty: dict[str, Any] = {"num_samples": len(shown.seeds)}
    if shown.interval is not None:
        uncertainty["confidence_interval"] = {
            "lower": shown.interval[0],
            "upper": shown.interval[1],
            "confidence_level": row.coverage,
            "method": "order statistics of the median over seeds",
        }
    identifier = f"{_BENCHMARK}.{metric}" if metric == _OWN_METRIC else metric
    return {
        "evaluation_name": table.task,
        "source_data": {
            "dataset_name": table.task,
            "source_type": "other",
            "additional_details": {"card_version": str(table.version), "params": json.dumps(table.params)},
        },
        "metric_config": {
            "evaluation_description": METRICS[metric].formula,
            "metric_id": identifier,
            "metric_name": metric,
            "metric_kind": metric,
            "metric_unit": METRICS[metric].unit,
            "lower_is_better": not higher_is_better(metric),
            "score_type": "continuous",
            "min_score": low,
            "max_score": high,
            "additional_details": _text({"baseline": table.baseline if metric == table.metric else None}),
        },
        "score_details": {
            "score": shown.score,
            "uncertainty": uncertainty,
            "details": _text(
                {
                    "statistic": "median over seeds, a diverged seed worse than any",
                    "seeds": shown.seeds,
                    "diverged_seeds": row.diverged,
                    "spec_hash": row.spec_hash,
                    "hidden": row.ran.units,
                    "layers": row.ran.layers,
                    "updates": row.ran.steps,
                    "batch_size": row.ran.batch_size,
                    "parameters": row.parameters,
                    "recipe": None if row.recipe is None else format_origin(row.recipe),
                    "tested_weights": row.tested,
                    "updates_to_target": row.steps_to_target,
                    "hardware": row.hardware,
                    "marks": ", ".join(table.legend.get(mark, mark) for mark in row.marks) or None,
                }
            ),
        },
    }


def _text(values: dict[str, Any]) -> dict[str, str]:
    """Return those that are there as text."""
    return {
        name: value if isinstance(value, str) else json.dumps(value)
        for name, value in values.items()
        if value is not None
    }
