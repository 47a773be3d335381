"""`train --resume RUN --steps N`: a finished run goes on, and is the longer run bit for bit."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from stablebench.cli.app import app
from stablebench.runs import checkpoint
from stablebench.runs.store import RunFolder
from stablebench.training import extend
from stablebench.training.run import resolved_of

SMALL = ["--model", "lstm", "--task", "digits", "--hidden", "6", "--set", "train.eval_every=4"]
SMALL += ["--set", "train.checkpoint_every=3", "--set", "optim.warmup=3"]
SMALL += ["--set", "optim.schedule={at: [7], factor: 0.5, on_stall: true}"]


def train(*words: str | float | Path) -> Result:
    return CliRunner().invoke(app, ["train", *map(str, words), "-q"])


def only(runs: Path) -> RunFolder:
    (path,) = runs.glob("*/*/*")
    return RunFolder(path)


@pytest.mark.parametrize("steps", [8, 10])  # the last evaluation is one of the longer run, or is not
def test_it_is_the_longer_run_and_the_shorter_one_stays(tmp_path: Path, steps: int) -> None:
    assert train(*SMALL, "--steps", "16", "--runs-dir", tmp_path / "whole").exit_code == 0
    assert train(*SMALL, "--steps", str(steps), "--runs-dir", tmp_path / "parts").exit_code == 0
    whole, short = only(tmp_path / "whole"), only(tmp_path / "parts")
    files = {path: path.read_bytes() for path in short.path.rglob("*") if path.is_file()}
    result = train("--resume", short.path, "--steps", "16")
    assert result.exit_code == 0, result.output
    assert all(path.read_bytes() == content for path, content in files.items())
    longer = RunFolder(short.path.with_name(whole.path.name))
    expected, record = whole.read_record(), longer.read_record()
    assert record.spec == expected.spec and record.resumed_at == [steps]
    assert record.extended == [f"{steps} to 16 updates, begun as {short.path.name}"] and not expected.extended
    assert [(e.step, e.metrics) for e in record.evaluations] == [(e.step, e.metrics) for e in expected.evaluations]
    assert record.result.test == expected.result.test and record.result.best_step == expected.result.best_step
    ours, theirs = (checkpoint.load(folder.checkpoints()[0]).tensors for folder in (longer, whole))
    assert ours.keys() == theirs.keys() and all(ours[name].equal(theirs[name]) for name in ours)
    lines = [[json.loads(line) for line in f.curve_path.read_text().splitlines()] for f in (longer, whole)]
    assert [{k: v for k, v in a.items() if k != "wall_s"} for a in lines[0]] == [
        {k: v for k, v in b.items() if k != "wall_s"} for b in lines[1]
    ]
    assert CliRunner().invoke(app, ["verify", str(longer.path), "--steps", "16"]).exit_code == 0
    again = train("--resume", longer.path, "--steps", "20")
    assert again.exit_code == 0, again.output
    notes = [RunFolder(path).read_record().extended for path in short.path.parent.iterdir()]
    assert sorted(map(len, notes)) == [0, 1, 2]


def test_one_that_ended_before_its_first_record_goes_on(tmp_path: Path) -> None:
    assert train(*SMALL, "--steps", "8", "--runs-dir", tmp_path).exit_code == 0
    short = only(tmp_path)
    record = short.read_record()
    resolved, target = extend.longer(short, record, resolved_of(record), 12)
    extend.begin(short, resolved, target)
    curve = target.curve_path.read_bytes()
    assert not target.record_path.exists() and target.checkpoints()
    extend.begin(short, resolved, target)
    assert target.curve_path.read_bytes() == curve
    result = train("--resume", short.path, "--steps", 12)
    assert result.exit_code == 0, result.output
    assert target.read_record().resumed_at == [8]
    assert CliRunner().invoke(app, ["verify", str(target.path), "--steps", "12"]).exit_code == 0


def test_what_cannot_go_on_is_one_message(tmp_path: Path) -> None:
    runs = ["--runs-dir", tmp_path]
    assert train(*SMALL, "--steps", "8", *runs).exit_code == 0
    short = only(tmp_path).path
    for steps, message in ((8, ""), (7, "must be more than the 8 updates that the run has")):
        result = train("--resume", short, "--steps", steps)
        assert (result.exit_code, message in result.stderr) == (2 if message else 0, True)
    result = train("--resume", short, "--steps", 12, "--lr", 0.5)
    assert result.exit_code == 2 and "which optim.lr would change" in result.stderr
    assert train("--resume", short, "--steps", 12, "--dry-run").exit_code == 0 and only(tmp_path).path == short
    assert train("--resume", short, "--steps", 12).exit_code == 0
    result = train("--resume", short, "--steps", 12)
    assert result.exit_code == 2 and "--steps 12: there is such a run, " in result.stderr
    for path in (short / "checkpoints").iterdir():
        path.unlink()
    result = train("--resume", short, "--steps", 16)
    assert result.exit_code == 2 and "the checkpoint of update 8 is needed to go on, and is not there" in result.stderr
    assert len(list(short.parent.iterdir())) == 2
    record = json.loads((short / "record.json").read_text())
    (short / "record.json").write_text(json.dumps(record | {"status": "interrupted", "step": 5}))
    result = train("--resume", short, "--steps", 16)
    assert result.exit_code == 2 and "only a finished run goes on for longer; this one is interrupted." in result.stderr
