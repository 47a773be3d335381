"""The page of state tracking is made of archives alone, and says what is missing."""

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

from stablebench import registry
from stablebench.execution.suites import SuiteOverrides, runs_of
from stablebench.runs.archive import ArchivedRun, archive_text, run_name
from stablebench.schema.measured import Gradients, Measurements
from stablebench.schema.run_record import Environment, Result, RunRecord

ROOT = Path(__file__).resolve().parents[2]
MODELS = {"rnn": 0.8, "lru": 0.5}


@pytest.fixture(scope="module")
def maker() -> ModuleType:
    path = ROOT / "benchmarks" / "state_tracking_page.py"
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def archived(accuracy: float, model: str) -> list[ArchivedRun]:
    """Return runs of the suite's own specs, made by hand: 100 % at 40, `accuracy` beyond."""
    suite = registry.suite("state_tracking/core").model_copy(update={"models": [model]})
    made = []
    for run in runs_of(suite, SuiteOverrides(tasks=["parity"])):
        if run.spec.task.name != "parity":
            continue
        lengths = {str(n): {"accuracy": 1.0 if n == 40 else accuracy} for n in suite.lengths}
        record = RunRecord(
            spec=run.spec,
            spec_hash=run.spec.spec_hash(),
            status="finished",
            metric="accuracy",
            baseline=0.5,
            card_sha256="0",
            selection="the last weights tested; validation drawn apart",
            parameters=10,
            step=5000,
            wall_s=1800.0,
            started="2026-01-01T00:00:00+00:00",
            result=Result(test={"accuracy": accuracy}, tested_step=5000),
            environment=Environment(
                versions={}, device="cpu", hardware="hand-made", engine="reference", threads=1, flags={}
            ),
        )
        gradients = Gradients(length=40, growth=-accuracy, isometry=0.25)
        measured = Measurements(
            spec_hash=record.spec_hash, step=5000, lengths=lengths, gradients={"trained": gradients}
        )
        made.append(ArchivedRun(run_name(record), record, [], measured))
    return made


def test_the_page_has_what_was_archived(maker: ModuleType, tmp_path: Path) -> None:
    runs = [run for model, accuracy in MODELS.items() for run in archived(accuracy, model)]
    (tmp_path / "parity.jsonl").write_text(archive_text(runs))
    text = maker.page(tmp_path)
    suite = registry.suite("state_tracking/core")
    whole = len(suite.tasks) * len(suite.models) * len(suite.seeds)
    assert f"**6 of {whole} runs have ended and are archived.** 3.0 hours" in text
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines() if line.startswith("| ")]
    both = {row[0]: row[1:] for row in rows if len(row) == 8}
    assert both["rnn"] == ["1", "0.600", "40", "-0.8", "0.25", "", ""] and both["lru"][1:3] == ["0.000", "40"]
    assert list(both)[1:] == ["rnn", "lru"]  # the best first, behind the heading
    assert "accuracy by length" in text and "range 40" in text


def test_an_empty_archive_says_so(maker: ModuleType, tmp_path: Path) -> None:
    text = maker.page(tmp_path)
    assert "**0 of " in text and text.endswith("None is archived yet.\n")


def test_a_mean_needs_all_tasks(maker: ModuleType) -> None:
    assert maker.mean([1.0, 2.0], ".1f") == "1.5" and maker.mean([1.0, None], ".1f") is None
    assert maker.mean([], ".1f") is None
