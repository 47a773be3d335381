"""`check` says what holds of a model, and its exit code is that of the contract; runs begin with the fast part."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from stablebench.cli.app import app
from stablebench.runs.store import all_runs

CELLS = """
import torch
from torch import nn
from stablebench.models.base import RecurrentModel


class Plain(RecurrentModel):
    def __init__(self, in_features: int, hidden: int, *, leak=0.5) -> None:
        super().__init__(in_features, hidden)
        self.V, self.W = nn.Linear(in_features, hidden), nn.Linear(hidden, hidden)

    def input_projection(self, x):
        return self.V(x)

    def step(self, projected, state, recurrent_weights):
        return (torch.tanh(projected + self.W(state[0])),)


class Ahead(Plain):
    def input_projection(self, x):
        return self.V(x) + x.mean()


class Coupled(Plain):
    def step(self, projected, state, recurrent_weights):
        return (torch.tanh(projected - projected.mean(0) + self.W(state[0])),)


class Both(nn.Module):
    def __init__(self, in_features: int, hidden: int, *, leak=0.5) -> None:
        super().__init__()
        self.rnn = nn.LSTM(in_features, hidden, batch_first=True, bidirectional=True)

    def forward(self, x, h=None):
        return self.rnn(x, h)


class Tensor(Plain):
    def step(self, projected, state, recurrent_weights):
        return torch.tanh(projected + self.W(state[0]))
"""
WORDS = ("--hidden", "4", "--steps", "2", "--T", "5")


@pytest.fixture
def cells(tmp_path: Path) -> Path:
    (tmp_path / "cells.py").write_text(CELLS)
    return tmp_path / "cells.py"


def cli(*words: str) -> Result:
    return CliRunner().invoke(app, list(words))


@pytest.mark.parametrize(
    ("name", "code", "said"),
    [
        ("Plain", 0, "`leak` without annotation"),
        ("Coupled", 2, "an example's output depends on the others"),
        ("Ahead", 2, "the output of time step 1 depends on later inputs"),
        ("Both", 2, "d y_1 / d x_2 is"),
        ("Tensor", 2, "`step` must return the next states as a tuple"),
    ],
)
def test_its_table_and_exit_code(cells: Path, name: str, code: int, said: str) -> None:
    result = cli("check", f"{cells}:{name}", "--hidden", "6", "--T", "5", "--set", "leak=0.1", "--json")
    assert result.exit_code == code and "Traceback" not in result.output, result.output
    found = json.loads(result.stdout)
    assert all(list(item) == ["check", "verdict", "message", "place", "measured"] for item in found)
    assert any(said in item["message"] and "cells.py:" in item["place"] + item["message"] for item in found)
    assert any(item["verdict"] == "broken" for item in found) == (code == 2)


def test_it_takes_registered_names_and_refuses_others() -> None:
    result = cli("check", "rnn")
    assert result.exit_code == 0 and "look-ahead" in result.stdout, result.output
    assert cli("check", "rnnn").exit_code == 2
    result = cli("check", "rnn", "--set", "nothing=1")
    assert result.exit_code == 2 and "nothing: unknown key" in result.stderr


def test_latency_state_and_export_are_said_in_table_and_json(cells: Path) -> None:
    result = cli("check", f"{cells}:Plain", "--hidden", "6")
    assert result.exit_code == 0 and " us a step, median of " in result.stdout, result.output
    assert "24 an example: 6 of float32" in result.stdout and "yes: a step" in result.stdout
    assert "d y_t / d x_s is exactly 0 for s > t" in " ".join(result.stdout.split())
    documents = json.loads(cli("check", f"{cells}:Plain", "--hidden", "6", "--format", "json").stdout)
    facts = {one["check"]: one["measured"] for one in documents}
    assert facts["state bytes"]["bytes"] == 24 and facts["torch.export"]["export"] is True
    assert facts["step latency"]["latency_us"] > 0 and facts["step latency"]["device"]
    assert facts["look-ahead"]["causal"] is True and facts["batch independence"]["independent"] is True


def test_train_begins_with_it(cells: Path, tmp_path: Path) -> None:
    words = ["--task", "copy", *WORDS, "-q", "--runs-dir", str(tmp_path / "r")]
    result = cli("train", "--model", f"{cells}:Ahead", *words)
    assert result.exit_code == 2 and result.stderr.count("\n") == 1 and "depends on later inputs" in result.stderr
    assert not any(run.record_path.exists() for run in all_runs(tmp_path / "r"))
    result = cli("train", "--model", f"{cells}:Coupled", *words)
    assert result.exit_code == 0, result.output


def test_in_compare_model_that_breaks_it_costs_itself(cells: Path, tmp_path: Path) -> None:
    """In compare a model that breaks it costs itself and warnings come once."""
    models = ",".join(f"{cells}:{name}" for name in ("Ahead", "Coupled"))
    words = ["--tasks", "copy", *WORDS, "--seeds", "2", "-q", "--runs-dir", str(tmp_path / "r")]
    result = cli("compare", "--models", models, *words)
    assert result.exit_code == 1, result.output
    assert "failed: Ahead on copy seed 0, Ahead on copy seed 1:" in result.stderr
    assert result.stderr.count("batch independence") == 1
    assert {run.read_record().spec.model.label for run in all_runs(tmp_path / "r")} == {"Coupled"}
