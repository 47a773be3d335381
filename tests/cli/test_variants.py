"""Variants of a model in one line, `dizzy[activation=relu]`: the same run as with `--set`, called as it was typed."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

import stablebench as sb
from stablebench.cli.app import app
from stablebench.errors import UserError
from stablebench.execution.suites import SuiteOverrides, runs_of, suite_of
from stablebench.schema.model_name import arguments_of, base_of, label_of, split_names
from stablebench.specs.request import RunRequest
from stablebench.specs.resolve import resolve

SMALL = "--T 5 --steps 8 --hidden 6 --batch-size 4 --engine reference --set task.S=2 -q".split()
CELL = """
import torch
from torch import nn
from stablebench.models.base import RecurrentModel


class Cell(RecurrentModel):
    def __init__(self, in_features: int, hidden: int, *, leak: float = 0.1) -> None:
        super().__init__(in_features, hidden)
        self.leak, self.V = leak, nn.Linear(in_features, hidden)

    def input_projection(self, x):
        return self.V(x)

    def recurrent_weights(self):
        return None

    def step(self, projected, state, recurrent_weights):
        (h,) = state
        return ((1 - self.leak) * h + self.leak * torch.tanh(projected),)
"""


def invoke(*words: str | Path) -> Result:
    return CliRunner().invoke(app, [*map(str, words)])


def test_commas_inside_brackets_part_nothing() -> None:
    assert split_names("a, b[x=1,y=[2,3]],c") == ["a", "b[x=1,y=[2,3]]", "c"]
    assert arguments_of("b[x=1, y=[2,3], z=relu]") == {"model.x": 1, "model.y": [2, 3], "model.z": "relu"}
    assert arguments_of("rnn") == {} and base_of("a/b.py:C[x=1]") == "a/b.py:C"
    assert label_of("a/b.py:C[x=a:b]") == "C[x=a:b]" and label_of("a/b.py:C") == "C"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("dizzy[activation]", "must have NAME=VALUE in the brackets"),
        ("dizzy[]", "must have NAME=VALUE in the brackets"),
        ("dizzy[a=1,a=2]", "a stands twice"),
        ("dizzy[a=[1]", "the brackets must match"),
        ("my.py:Cell[a=1", "the brackets must match"),
        ("dizzy[activation=foo]", "activation: must be 'tanh', 'relu'"),
        ("dizzy[activatoin=relu]", "activatoin: unknown key. Did you mean activation?"),
        ("dizy[activation=relu]", "No model named 'dizy'. Did you mean dizzy?"),
        ("dizzy[eta={]", "--model dizzy, eta"),
    ],
)
def test_arguments_are_checked(name: str, message: str) -> None:
    result = invoke("train", "--model", name, "--task", "copy")
    assert result.exit_code == 2 and message in result.stderr and "Traceback" not in result.output


def test_a_variant_is_the_run_of_set() -> None:
    typed = resolve(RunRequest("dizzy[activation=relu]", "copy/t100"))
    asked = resolve(RunRequest("dizzy", "copy/t100", settings={"model.activation": "relu"}))
    assert typed.spec == asked.spec and typed.spec.spec_hash() == asked.spec.spec_hash()
    assert typed.label == "dizzy[activation=relu] on copy/t100 seed 0" and asked.called is None
    over = resolve(RunRequest("dizzy[activation=abs,hidden=7]", "copy", options={"model.hidden": 9}))
    assert over.spec.model.params["activation"] == "abs" and over.spec.model.hidden == 7
    assert over.origin["model.activation"] == "--model"


def test_variants_of_a_cell_are_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my.py").write_text(CELL)
    variants = "my.py:Cell[leak=0.05],my.py:Cell[leak=0.2],rnn[activation=relu]"
    asked = ["--model", variants, "--task", "copy", "--seeds", "2", *SMALL]
    result = invoke("compare", *asked, "--json")
    assert result.exit_code == 0, result.output
    board = json.loads(result.stdout)
    labels = {"Cell[leak=0.05]", "Cell[leak=0.2]", "rnn[activation=relu]"}
    assert {row["name"] for row in board["tables"][0]["rows"]} == labels
    same = invoke("compare", "--model", "my.py:Cell", "--set", "model.leak=0.05", *asked[2:], "--dry-run", "--json")
    (row,) = json.loads(same.stdout)
    assert row["to run"] == 0 and row["model"] == "Cell"
    page = invoke("report", *asked[:-1], "-o", "page.html")
    assert page.exit_code == 0, page.output
    assert all(label in Path("page.html").read_text() for label in labels)
    drawn = invoke("plot", "curves", *asked[:-1], "-o", "curves.svg")
    assert drawn.exit_code == 0 and "Cell[leak=0.2]" in Path("curves.csv").read_text()
    python = sb.compare(
        ["my.py:Cell[leak=0.05]", "rnn[activation=relu]"], "copy", seeds="0-1", T=5, steps=8, hidden=6, batch_size=4,
        engine="reference", set={"task.S": 2}, no_run=True,
    )  # fmt: skip
    assert {row.name for row in python.board.tables[0].rows} == {"Cell[leak=0.05]", "rnn[activation=relu]"}
    assert sb.list_runs()[0].record.called == "Cell"  # the store itself has no names


def test_variants_are_trained_and_probed() -> None:
    spec = json.loads(
        invoke("train", "--model", "rnn[activation=relu]", "--task", "copy", "--dry-run", "--json").stdout
    )
    assert spec["spec"]["model"]["name"] == "rnn" and spec["spec"]["model"]["params"]["activation"] == "relu"
    text = invoke("train", "--model", "rnn[activation=relu]", "--task", "copy", "--dry-run").stdout
    (line,) = (line for line in text.splitlines() if line.startswith("model.params.activation"))
    assert line.endswith("your --model")
    words = "--task copy --T 4 --hidden 4 --batch-size 2 --samples 1 --what jacobian --json -q".split()
    probed = invoke("probe-gradients", "--model", "rnn[activation=relu],rnn[activation=tanh],rnn", *words)
    assert probed.exit_code == 0, probed.output
    assert set(json.loads(probed.stdout)["models"]) == {"rnn[activation=relu]", "rnn[activation=tanh]", "rnn"}


def test_a_sweep_searches_a_variant_and_no_argument_of_it() -> None:
    words = ["--task", "copy/t100", "--trials", "2", "--space", "roarnn/rho", "--dry-run"]
    result = invoke("sweep", "--model", "roarnn[rho=0.5]", *words)
    assert result.exit_code == 2 and "model.rho: it is searched and also given (--model)" in result.stderr


def test_suites_have_variants(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(
        "summary: variants\ntasks:\n  - task: copy\nmodels:\n  - rnn[activation=relu]\n  - rnn\nseeds: [0]\n"
        "model_overrides: {rnn: {model.hidden: 9}}\n"
    )
    assert invoke("validate", path).exit_code == 0
    _, suite = suite_of(str(path), SuiteOverrides())
    for _ in range(2):  # computed, and remembered
        first, second = runs_of(suite, SuiteOverrides())
        assert (first.called, second.called) == ("rnn[activation=relu]", None)
        assert [run.spec.model.hidden for run in (first, second)] == [9, 9]
    path.write_text(path.read_text().replace("activation=relu", "activatoin=relu"))
    wrong = invoke("validate", path)
    assert wrong.exit_code == 2 and "activatoin: unknown key" in wrong.stderr


def test_speed_takes_no_arguments() -> None:
    result = invoke("speed", "--model", "rnn[activation=relu]", "-q")
    assert result.exit_code == 2 and "arguments in brackets are not taken here; name rnn alone" in result.stderr
    with pytest.raises(UserError, match="No model named 'rnm'"):
        sb.compare("rnm[activation=relu]", "copy")
