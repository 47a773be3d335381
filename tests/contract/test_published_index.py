"""Every published number that was collected has a home in a paper's file, or a stated reason for none."""

import hashlib
import json
import os
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import yaml

from stablebench import registry
from stablebench.resources import published_dir
from stablebench.schema.card import measured_metrics

INDEX = yaml.safe_load((Path(__file__).parent / "published_index.yaml").read_text(encoding="utf-8"))
COLLECTION = os.environ.get("STABLEBENCH_PUBLISHED")
"""A file with one entry a published number, in the papers' own names."""

TASKS = {"ncifar10": "noisy_cifar10", "first_term_recall": "first_recall", "kth_highest_term": "kth_highest"}
METRICS = {
    "cross_entropy": "loss",
    "test_mse": "mse",
    "test_bpc": "bpc",
    "test_nrmse": "nrmse",
    "perplexity_first": "perplexity",
    "perplexity_second": "perplexity",
    "iterations_to_beat_baseline_max": "steps_to_baseline",
    "iterations_to_converge_max": "steps_to_convergence",
    "nan_trials": "diverged",
}
"""The papers' names as ours; whatever has `accuracy_pct` in it is an accuracy."""


def keys(part: str) -> Counter[tuple[str, str]]:
    return Counter((task, key) for task, entries in INDEX[part].items() for key in entries)


def digest_of(task: str) -> str:
    """Return a digest of all that is published on a task, under the key names of version 0.1.0."""
    entries = [entry.model_dump(mode="json") for entry in registry.task_card(task).published]
    for entry in entries:
        entry["states"] = entry.pop("reported_protocol")
        entry.pop("settings")  # there was none
    text = json.dumps(sorted(entries, key=lambda entry: entry["key"]), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def test_every_number_of_version_0_1_0_has_all_its_values() -> None:
    """The digests were computed from the `published` lists that the cards of version 0.1.0 had."""
    assert {task: digest_of(task) for task in INDEX["digests"]} == INDEX["digests"]


def test_a_key_stands_once_for_a_task() -> None:
    for name in registry.task_names():
        keys_here = [entry.key for entry in registry.task_card(name).published]
        assert len(keys_here) == len(set(keys_here)), name


def test_a_papers_file_has_its_name_and_lines_that_can_be_read() -> None:
    for name in registry.paper_names():
        assert registry.paper(name).paper == name
        lines = (published_dir() / f"{name}.yaml").read_text(encoding="utf-8").splitlines()
        assert max(map(len, lines)) <= 120, name


def test_cards_and_index_have_the_same_keys() -> None:
    cards = Counter((name, entry.key) for name in registry.task_names() for entry in registry.task_card(name).published)
    assert cards == keys("cards") + keys("added")


def test_what_has_no_card_has_a_reason() -> None:
    assert all(entry["reason"] and entry["entries"] > 0 for entry in INDEX["elsewhere"])


def test_metric_statistic_and_event_are_fields_of_their_own() -> None:
    for name in registry.task_names():
        card = registry.task_card(name)
        for entry in card.published:
            assert entry.metric is None or entry.metric in measured_metrics(card), entry.key
            if entry.metric in ("accuracy", "scaled_accuracy") and isinstance(entry.value, float):
                least = 0 if entry.metric == "scaled_accuracy" else 1e-9
                assert least <= entry.value <= 1, entry.key  # our unit is the fraction
            assert entry.std is None or entry.statistic == "mean", entry.key
            assert entry.stderr is None or entry.statistic == "mean", entry.key


@pytest.mark.skipif(COLLECTION is None, reason="STABLEBENCH_PUBLISHED names no collection of published numbers")
def test_every_collected_number_has_its_home() -> None:
    entries = yaml.safe_load(Path(COLLECTION or "").read_text(encoding="utf-8"))
    elsewhere = Counter({entry["what"]: entry["entries"] for entry in INDEX["elsewhere"]})
    assert Counter(e["task"] for e in entries if e["task"] in elsewhere) == elsewhere
    theirs = Counter(signature_of(e) for e in entries if e["task"] not in elsewhere)
    ours = Counter(
        (task, entry.what, number(entry.value), entry.units if task != "double_moon" else None)
        for task, key in keys("cards")
        for entry in registry.task_card(task).published
        if entry.key == key
    )
    assert theirs == ours


def signature_of(entry: dict[str, Any]) -> tuple[str | None, str, str, int | None]:
    metric, value = entry["metric"], entry["value"]
    if "accuracy_pct" in metric:
        metric, value = "accuracy", None if value is None else value / 100
    task = TASKS.get(entry["task"], entry["task"])
    return task, METRICS.get(metric, metric), number(value), entry.get("units")


def number(value: Any) -> str:
    """Return a value with as many digits as were printed; double moon's widths stand in the papers' model names."""
    return f"{value:.6g}" if isinstance(value, (int, float)) and not isinstance(value, bool) else str(value)
