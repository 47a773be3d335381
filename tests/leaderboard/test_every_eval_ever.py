"""Records of Every Eval Ever: valid under its schema 0.3.0, and they say what the leaderboard says.

`every_eval_ever-0.3.0.schema.json` is that of the package every-eval-ever 0.3.0, under the MIT licence next to it.
"""

import json
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from made_boards import made_board, made_row, made_table

from stablebench.leaderboard.every_eval_ever import SCHEMA_VERSION, evaluation_records
from stablebench.schema.leaderboard import QuotedScore

SCHEMA = Path(__file__).with_name(f"every_eval_ever-{SCHEMA_VERSION}.schema.json")
NOW = datetime(2026, 11, 29, tzinfo=UTC)


def records() -> tuple[dict[str, dict[str, Any]], list[str]]:
    """Return those of a board with a model on two tasks, one that diverged, and a name with brackets."""
    seeds = {str(seed): 0.5 + seed / 100 for seed in range(5)}
    lstm = made_row("lstm", score=0.52, n=5, seeds=seeds, interval=(0.5, 0.54), coverage=0.9375)
    gone = made_row("rnn (lr 0.1)", ended=3, diverged=3)
    quoted = QuotedScore(metric="accuracy", score=1.0, min=0.9, max=1.0, interval=None, seeds={"0": 0.9, "1": 1.0})
    variant = made_row("lstm", score=0.1, n=2, seeds={"0": 0.1, "1": 0.1}, quoted=quoted)
    odd = made_row("rnn (lr 0.1)", score=0.25, n=1, seeds={"0": 0.25}, marks="*")
    tables = [made_table("adding/t100", lstm, gone), made_table("copy/t100", variant, odd, legend={"*": "not tuned"})]
    return evaluation_records(made_board(*tables), [], "University of Somewhere", NOW)


def by_model() -> dict[str, dict[str, Any]]:
    return {document["model_info"]["name"]: document for document in records()[0].values()}


def test_records_are_valid_under_the_schema() -> None:
    jsonschema = pytest.importorskip("jsonschema")
    schema = json.loads(SCHEMA.read_text())
    assert schema["version"] == SCHEMA_VERSION
    validator = jsonschema.Draft7Validator(schema)
    for document in records()[0].values():
        assert [error.message for error in validator.iter_errors(document)] == []
    broken = next(iter(records()[0].values())) | {"evaluation_results": [{"evaluation_name": "x"}]}
    assert list(validator.iter_errors(broken))


def test_they_have_what_the_schema_requires() -> None:
    """Also where no validator is installed: required keys, and details that are text alone."""
    schema = json.loads(SCHEMA.read_text())
    item = schema["properties"]["evaluation_results"]["items"]
    for document in records()[0].values():
        assert set(schema["required"]) <= document.keys() <= schema["properties"].keys()
        assert document["schema_version"] == schema["version"]
        for result in document["evaluation_results"]:
            assert set(item["required"]) <= result.keys() <= item["properties"].keys()
            assert isinstance(result["score_details"]["score"], float)
            assert all(isinstance(value, str) for value in result["score_details"]["details"].values())


def test_a_score_is_the_one_that_is_shown() -> None:
    lstm = {result["evaluation_name"]: result for result in by_model()["lstm"]["evaluation_results"]}
    adding, copy = lstm["adding/t100"], lstm["copy/t100"]
    assert adding["score_details"]["score"] == 0.52 and adding["metric_config"]["lower_is_better"] is True
    assert adding["metric_config"]["metric_id"] == "stablebench.loss"
    assert adding["score_details"]["uncertainty"]["num_samples"] == 5
    interval = adding["score_details"]["uncertainty"]["confidence_interval"]
    assert (interval["lower"], interval["upper"], interval["confidence_level"]) == (0.5, 0.54, 0.9375)
    assert copy["score_details"]["score"] == 1.0 and copy["metric_config"]["lower_is_better"] is False
    assert copy["metric_config"]["metric_id"] == "accuracy" and copy["metric_config"]["max_score"] == 1.0
    assert "confidence_interval" not in copy["score_details"]["uncertainty"]
    assert json.loads(copy["score_details"]["details"]["seeds"]) == {"0": 0.9, "1": 1.0}


def test_a_row_without_a_score_is_named() -> None:
    assert records()[1] == ["rnn (lr 0.1) on adding/t100: 0, 3 diverged"]
    (result,) = by_model()["rnn (lr 0.1)"]["evaluation_results"]
    assert result["evaluation_name"] == "copy/t100" and result["score_details"]["details"]["marks"] == "not tuned"


def test_paths_are_those_of_the_data_store() -> None:
    """`<benchmark>/<developer>/<model>/<UUID4>.json`; the same results have the same path."""
    uuid4 = r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}"
    paths = list(records()[0])
    assert len(paths) == 2 and paths == list(records()[0])
    for path, document in records()[0].items():
        assert re.fullmatch(rf"stablebench/stablebench/[\w.-]+/{uuid4}\.json", path)
        assert path.split("/")[1:3] == document["model_info"]["id"].split("/")
    assert paths[1].startswith("stablebench/stablebench/rnn-lr-0.1/")
