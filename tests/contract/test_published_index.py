"""Every published number that was collected has a home in a card, or a stated reason for none."""

import os
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import yaml

from stablebench import registry

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
    return Counter((task, key) for task, found in INDEX[part].items() for key in found)


def test_cards_and_index_have_the_same_keys() -> None:
    cards = Counter((name, entry.key) for name in registry.task_names() for entry in registry.task_card(name).published)
    assert cards == keys("cards") + keys("added")


def test_what_has_no_card_has_a_reason() -> None:
    assert all(entry["reason"] and entry["entries"] > 0 for entry in INDEX["elsewhere"])


def test_metric_statistic_and_event_are_fields_of_their_own() -> None:
    for name in registry.task_names():
        card = registry.task_card(name)
        for entry in card.published:
            assert entry.metric is None or entry.metric in {card.metric, *card.also}, entry.key
            if entry.metric == "accuracy" and isinstance(entry.value, float):
                assert 0 < entry.value <= 1, entry.key  # our unit is the fraction
            assert entry.std is None or entry.statistic == "mean", entry.key
            assert entry.stderr is None or entry.statistic == "mean", entry.key


@pytest.mark.skipif(COLLECTION is None, reason="STABLEBENCH_PUBLISHED names no collection of published numbers")
def test_every_collected_number_is_in_its_card() -> None:
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
