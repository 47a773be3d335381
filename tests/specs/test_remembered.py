"""Answers that are kept between commands: found again, new after an edit, never from a file that others can write."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from stablebench.execution.suites import SuiteOverrides, runs_of, suite_of
from stablebench.schema.run_record import Environment, RunRecord
from stablebench.specs import remembered as memory
from stablebench.specs.remembered import remembered
from stablebench.specs.repeat_command import commands_of
from stablebench.specs.request import Resolved


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("STABLEBENCH_CACHE", str(tmp_path))
    return tmp_path


def made(run: Resolved) -> RunRecord:
    """Return the record of a run that has just begun."""
    environment = Environment(versions={}, device="cpu", hardware="x", engine="fused", threads=1, flags={})
    return RunRecord(
        spec=run.spec,
        spec_hash=run.spec.spec_hash(),
        status="running",
        metric="loss",
        baseline=1.0,
        card_sha256="0",
        selection="",
        parameters=1,
        started="",
        environment=environment,
        origin=run.origin,
    )


def kept(cache: Path) -> list[Path]:
    return list(cache.glob("answers/*/*.json"))


def test_a_question_is_answered_once(cache: Path) -> None:
    asked = []

    def answer() -> list[int]:
        asked.append(1)
        return [1, 2]

    assert [remembered(["a", 0.5], answer) for _ in range(3)] == [[1, 2]] * 3
    assert len(asked) == 1 and len(kept(cache)) == 1
    assert remembered(["a", 0.6], answer) == [1, 2] and len(asked) == 2


def test_an_error_is_not_kept(cache: Path) -> None:
    with pytest.raises(ValueError, match="no"):
        remembered("a", lambda: (_ for _ in ()).throw(ValueError("no")))
    assert remembered("a", lambda: 3) == 3


def test_a_file_that_others_can_write_or_that_is_cut_is_not_read(cache: Path) -> None:
    remembered("a", lambda: 1)
    (path,) = kept(cache)
    path.chmod(0o666)
    assert remembered("a", lambda: 2) == 2
    path.chmod(0o600)
    path.write_text("[1,")
    assert remembered("a", lambda: 3) == 3 == remembered("a", lambda: 4)


def test_nothing_is_found_after_an_edit(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert remembered("a", lambda: 1) == 1
    for edition in range(memory._EDITIONS + 2):
        monkeypatch.setattr(memory, "_edition", lambda edition=edition: f"edition{edition}")
        assert remembered("a", lambda edition=edition: edition) == edition
        os.utime(cache / "answers" / f"edition{edition}", (edition, edition))
    assert len(list((cache / "answers").iterdir())) <= memory._EDITIONS


def test_the_edition_changes_with_a_file(monkeypatch: pytest.MonkeyPatch) -> None:
    before = memory._edition()
    original = memory._files
    monkeypatch.setattr(memory, "_files", lambda folder: [*original(folder), (folder, 0, 1)])
    assert memory._edition() != before


def test_runs_of_a_suite_are_the_same_from_the_cache(cache: Path) -> None:
    asked = SuiteOverrides(models=["rnn", "cornn"], tasks=["copy", "adding"], seeds=[3, 1], T=20)
    _, suite = suite_of(None, asked)
    first, again = runs_of(suite, asked), runs_of(suite, asked)
    assert len(kept(cache)) == 1 and len(first) == 8
    assert first == again


def test_a_leaderboard_of_stored_runs_needs_no_torch(tmp_path: Path) -> None:
    words = "compare --models rnn --tasks copy --T 10 --no-run".split()
    script = (
        "import sys\nfrom stablebench.cli.app import app\n"
        f"try:\n    app({words!r})\nexcept SystemExit:\n    pass\nprint('torch' in sys.modules)"
    )
    environment = os.environ | {"STABLEBENCH_CACHE": str(tmp_path)}

    def loaded() -> str:
        command = [sys.executable, "-c", script]
        done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=environment, check=True)
        return done.stdout.split()[-1]

    assert [loaded(), loaded()] == ["True", "False"]


@pytest.mark.parametrize("text", ["{}", "[]", "null", "[1]", "[[1, 2, 3]]", "[[{}, {}]]", '[["x", 1]]', "0", '"a"'])
def test_a_file_of_another_form_is_written_again(text: str, cache: Path) -> None:
    """A suite's runs, and the commands of rows, come out as if it were not there."""
    asked = SuiteOverrides(models=["rnn"], tasks=["copy"])
    runs = runs_of(suite_of(None, asked)[1], asked)
    record = made(runs[0])
    commands = commands_of([(record, [0])])
    assert len(kept(cache)) == 2
    good = {path: path.read_text() for path in kept(cache)}
    for path in good:
        path.write_text(text)
    assert runs_of(suite_of(None, asked)[1], asked) == runs
    assert commands_of([(record, [0])]) == commands
    assert {path: path.read_text() for path in kept(cache)} == good
