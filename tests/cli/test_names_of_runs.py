"""One look-up of runs for every command: a path, a name in the store, a prefix, a label, `last`."""

import os
from pathlib import Path

import pytest
from typer.testing import CliRunner

import stablebench as sb
from stablebench.cli.app import app
from stablebench.errors import UserError
from stablebench.runs.housekeeping import label
from stablebench.runs.run_paths import run_folder
from stablebench.runs.store import RunFolder
from stablebench.schema.run_record import RunRecord

NAMES = ("copy/dizzy/1dd9e824cdfa-s0", "copy/dizzy/1dd9e824cdfa-s1", "copy/dizzy/1dd9e824cdfa-s10", "copy/rnn/77aa-s0")
NAMES += ("adding/rnn/88bb-s0",)


@pytest.fixture
def store(tmp_path: Path, record: RunRecord, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a run store of five runs, written one second after the other in the order of `NAMES`."""
    for second, name in enumerate(NAMES):
        folder = RunFolder(tmp_path / "runs" / name)
        folder.path.mkdir(parents=True)
        folder.write_record(record)
        os.utime(folder.record_path, (second, second))
    monkeypatch.chdir(tmp_path)
    return tmp_path / "runs"


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("runs/copy/dizzy/1dd9e824cdfa-s0", 0),
        ("copy/dizzy/1dd9e824cdfa-s0", 0),
        ("dizzy/1dd9e824cdfa-s1", 1),
        ("1dd9e824cdfa-s1", 1),
        ("1dd9e824cdfa-s10", 2),
        ("77", 3),
        ("copy/rnn/7", 3),
        ("runs/copy/rnn/7", 3),
        ("copy/rnn", 3),
        ("adding", 4),
        ("last", 4),
        ("copy/last", 3),
        ("copy/dizzy/last", 2),
        ("dizzy/last", 2),
    ],
)
def test_a_name_means_one_run(store: Path, name: str, meant: int) -> None:
    found = run_folder(name, Path("runs")).path
    assert found.resolve() == (store / NAMES[meant]).resolve()
    assert sb.load(name).folder.resolve() == found.resolve()


def test_an_ambiguous_name_lists_the_candidates(store: Path) -> None:
    with pytest.raises(UserError) as raised:
        run_folder("1dd9", Path("runs"))
    assert str(raised.value) == f"1dd9: 3 runs in runs are called so: {', '.join(NAMES[:3])}."
    with pytest.raises(UserError, match="dizzy/1dd9e824cdfa-s1: 2|copy/r"):
        run_folder("rnn", Path("runs"))


@pytest.mark.parametrize("name", ["nothing", "copy/lstm", "lstm/last", ""])
def test_a_name_of_no_run_says_so(store: Path, name: str) -> None:
    with pytest.raises(UserError, match=r"No run '|no run with|must be the folder of one run"):
        run_folder(name, Path("runs")).read_record()


def test_a_label_is_a_name(store: Path) -> None:
    label(RunFolder(store / NAMES[3]), "leak 0.05")
    assert run_folder("leak 0.05", Path("runs")).path == Path("runs") / NAMES[3]
    label(RunFolder(store / NAMES[3]), "")
    with pytest.raises(UserError, match="No run 'leak 0.05'"):
        run_folder("leak 0.05", Path("runs"))


@pytest.mark.parametrize(
    "words",
    [
        "evaluate {}",
        "verify {}",
        "show run {}",
        "train --resume {}",
        "probe-gradients {}",
        "plot probe {}",
        "plot structure {}",
        "plot trajectories {}",
        "plot decision-boundary {}",
        "runs diff {} last",
        "runs rm {}",
        "runs mv {} --to other",
        "runs label {} --as x",
    ],
)
def test_every_command_of_a_run_has_one_look_up(store: Path, words: str) -> None:
    result = CliRunner().invoke(app, words.format("copy/dizzy/1dd9").split())
    assert result.exit_code == 2
    assert f"copy/dizzy/1dd9: 3 runs in runs are called so: {', '.join(NAMES[:3])}." in result.stderr


def test_reports_take_all_runs_of_a_prefix(store: Path) -> None:
    for name, count in (("copy/dizzy/1dd9", 3), ("last", 1), ("dizzy/1dd9e824cdfa-s0", 1)):
        result = CliRunner().invoke(app, ["report", name, "-o", "page.html", "--force"])
        assert result.exit_code == 0, result.output
        assert f"page.html: {count} runs" in result.stdout
