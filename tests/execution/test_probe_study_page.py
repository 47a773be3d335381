"""The page of `probe-study` is made of its JSON document alone, whatever that says."""

import importlib.util
import json
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def maker() -> ModuleType:
    path = ROOT / "benchmarks" / "probe_study_page.py"
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def row(
    scalar: str, score: float | None, ends: tuple[float, float] | None, skill: float | None = 0.1
) -> dict[str, Any]:
    own = {"scalar": scalar, "when": "initial", "runs": 20, "models": 10, "score": score, "score_interval": ends}
    return own | {"updates": None, "updates_interval": None, "skill": skill}


def written(maker: ModuleType, document: dict[str, Any]) -> str:
    """Return the page of a document with its lines joined."""
    return " ".join(maker.page(maker.stored(document)).splitlines())


def study(*tasks: list[dict[str, Any]], seeds: tuple[int, ...] = (0, 1)) -> dict[str, Any]:
    studies = [
        {"task": f"task/{i}", "runs": 20, "models": 10, "goal": "target", "correlations": rows}
        for i, rows in enumerate(tasks)
    ]
    own = {"early": 0.05, "examples": 8, "T": None, "max_state": 1024, "seeds": list(seeds), "tasks": studies}
    return own | {"without_singular_values": [], "failed": [], "left_out": {}}


def test_the_committed_page_is_that_of_the_committed_study(maker: ModuleType) -> None:
    """After another study, `python benchmarks/probe_study_page.py STUDY` writes both again."""
    kept = json.loads(maker.STUDY.read_text())
    assert maker.page(kept) == maker.PAGE.read_text()
    assert maker.stored(kept) == kept
    assert not [path for path in ("/tmp", "/home", "runs/") if path in maker.STUDY.read_text()]


def test_what_predicts_is_named_with_its_figures(maker: ModuleType) -> None:
    good, bad = row("growth_rate", -0.7, (-0.9, -0.4), 0.3), row("noise_scale", 0.1, (-0.2, 0.3), -0.1)
    plain = row("parameters", 0.5, (0.1, 0.8), 0.2)
    text = written(maker, study([good, plain, bad], [good | {"score": -0.5}, bad]))
    assert "**40 runs of the suite `core` on 2 tasks, seeds 0 and 1.**" in text and "--seeds 2" in text
    assert "on all 2 tasks: `growth_rate` at initialisation (-)." in text
    assert "Of 2 correlations of probes with the score 1 have an interval without 0; about 0 would" in text
    assert "predicted best by `growth_rate` at initialisation (-0.70, skill +0.30)." in text
    assert (
        "That is more than the best of what needs no probe, `parameters` at initialisation (+0.50, skill +0.20)."
        in text
    )
    assert "Nothing at either time, neither an interval without 0 nor skill above 0: `noise_scale`." in text
    assert "-0.90 to -0.40" in text


def test_signs_that_differ_are_no_agreement(maker: ModuleType) -> None:
    up, down = row("growth_rate", 0.7, (0.4, 0.9), -0.2), row("growth_rate", -0.7, (-0.9, -0.4), -0.2)
    text = written(maker, study([up], [down]))
    assert "No probe's correlation has an interval without 0, with one sign, on all 2 tasks." in text
    assert text.count("No probe predicts a model that is left out better than the mean of the others does.") == 2


def test_one_seed_and_few_models_are_said(maker: ModuleType) -> None:
    text = written(maker, study([row("growth_rate", 1.0, None, None)], seeds=(3,)))
    assert "**20 runs of the suite `core` on 1 task, seed 3 alone.**" in text and "luck of a run" in text
    assert "Too few models for an interval, so that nothing is said of any probe." in text


def test_what_is_missing_is_said_without_paths(maker: ModuleType) -> None:
    document = study([row("growth_rate", None, None, None)])
    document["left_out"] = {"/somewhere/runs/a": "cannot be probed", "/somewhere/runs/b": "cannot be probed"}
    document["without_singular_values"] = ["s4d, 16384 states"]
    document["failed"] = [{"model": "rnn", "measure": "curvature", "why": "no memory", "runs": 1}]
    text = maker.page(maker.stored(document))
    assert "/somewhere" not in text and "- 2 runs left out. cannot be probed\n" in text
    assert "- Without singular values and Lyapunov exponents: s4d, 16384 states.\n" in text
    assert "- Without curvature: rnn, 1 run. no memory\n" in text
    assert "of fewer than three: `growth_rate` initial on task/0.\n" in text
    assert "- No run has `gradient_left`," in text
