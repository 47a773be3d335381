"""`evaluate --lengths`: what a run scores at other lengths than in training."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from stablebench.cli.app import app

CELL = """
import torch
from torch import nn

class Growing(nn.Module):
    def __init__(self, input_size, hidden_size):
        super().__init__()
        self.hidden_size = hidden_size
        self.V = nn.Linear(input_size, hidden_size)

    def forward(self, x, h):
        return 4 * h + self.V(x)
"""
"""Its states overflow after 64 steps in float32."""


def invoke(*words: str | Path | int) -> str:
    result = CliRunner().invoke(app, [*map(str, words)])
    assert result.exit_code == 0, result.output
    return result.stdout


def test_a_length_at_which_states_overflow_is_not_held(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("cell.py").write_text(CELL)
    small = "--steps 2 --hidden 4 --batch-size 4 --lr 1e-9 --set train.eval_every=2 --engine reference -q".split()
    invoke("train", "--model", "cell.py:Growing", "--task", "first_recall", "--T", 3, *small)
    run = Path("runs/first_recall/Growing")
    (folder,) = run.iterdir()
    words = ["evaluate", folder, "--model", "cell.py:Growing"]
    text = invoke(*words, "--lengths", "4,200")
    assert "At 200 the loss is not a finite number: states or outputs overflow" in text and "At 4 the" not in text
    assert "not held" in text
    document = json.loads(invoke(*words, "--lengths", "4,200", "--json"))
    assert document["lengths"]["200"]["metrics"]["loss"] is None and document["lengths"]["4"]["metrics"]["loss"] > 0
    assert "the loss is not a finite number" in invoke(*words, "--T", 200)
    assert "finite" not in invoke(*words, "--T", 4)
