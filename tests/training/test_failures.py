"""An error that nothing expects: one line, with the user's own line in it, and the traceback in the run's folder."""

from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from stablebench.cli.app import app
from stablebench.runs.store import all_runs

BROKEN = """
import torch
from torch import nn
from stablebench.models.base import RecurrentModel


class Late(RecurrentModel):
    calls = 0

    def __init__(self, in_features: int, hidden: int) -> None:
        super().__init__(in_features, hidden)
        self.V = nn.Linear(in_features, hidden)

    def step(self, projected, state, recurrent_weights):
        return (torch.tanh(self.V(projected) + state[0]),)

    def after_update(self):
        Late.calls += 1
        if Late.calls == LAST:
            raise ValueError("\\n\\nno more")
"""
WORDS = "--task copy --T 3 --hidden 4 --batch-size 4 --steps 6 --set train.eval_every=2 --engine reference -q".split()


def train(folder: Path, last: int) -> Result:
    path = folder / "late.py"
    path.write_text(BROKEN.replace("LAST", str(last)))
    return CliRunner().invoke(app, ["train", "--model", f"{path}:Late", *WORDS, "--runs-dir", str(folder / "runs")])


def test_its_traceback_is_kept_and_said(tmp_path: Path) -> None:
    result = train(tmp_path, 3)
    (run,) = all_runs(tmp_path / "runs")
    kept = run.path / "traceback.txt"
    assert result.exit_code == 1 and len(result.stderr.strip().splitlines()) == 1, result.stderr
    assert "ValueError: no more (late.py:20)" in result.stderr and str(kept) in result.stderr
    assert 'late.py", line 20, in after_update' in kept.read_text()
    record = run.read_record()
    assert record.status == "failed" and record.error == "ValueError: no more"


def test_it_is_gone_once_the_run_has_finished(tmp_path: Path) -> None:
    assert train(tmp_path, 3).exit_code == 1
    (run,) = all_runs(tmp_path / "runs")
    result = CliRunner().invoke(app, ["train", "--resume", str(run.path), "-q"])
    assert result.exit_code == 0, result.output
    assert run.read_record().status == "finished" and not (run.path / "traceback.txt").exists()


def test_a_failed_cell_of_a_suite_says_where_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "late.py"
    path.write_text(BROKEN.replace("LAST", "3"))
    words = ["compare", "--models", f"{path}:Late,rnn", "--tasks", "copy", *WORDS[2:-3], "--seeds", "1", "-q"]
    result = CliRunner().invoke(app, [*words, "--runs-dir", str(tmp_path / "runs")])
    assert result.exit_code == 1 and "traceback.txt" in result.stderr and "rnn" in result.stdout


@pytest.mark.parametrize("name", ["adam", "sgd", "rmsprop"])
@pytest.mark.parametrize("rate", ["1.0e+38", "1.0e+300"])
def test_a_rate_beyond_the_type_diverges(name: str, rate: str, tmp_path: Path) -> None:
    """A step that float32 cannot hold is a divergence like a weight that is not finite, and no fault of the program."""
    words = [*WORDS, "--runs-dir", str(tmp_path), "--set", f"optim.name={name}", "--set", f"optim.lr={rate}"]
    result = CliRunner().invoke(app, ["train", "--model", "rnn", *words])
    assert result.exit_code == 3, result.output
    (run,) = all_runs(tmp_path)
    record = run.read_record()
    assert record.status == "diverged" and record.error is not None and not (run.path / "traceback.txt").exists()
