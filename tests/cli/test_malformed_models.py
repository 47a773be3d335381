"""A model whose methods return what no engine can run is named with its line; in compare it costs itself alone."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from stablebench.cli.app import app
from stablebench.runs.store import all_runs

CELLS = """
import torch
from torch import nn
from stablebench.models.base import DeepModel, LayerGroup, RecurrentModel


class Plain(RecurrentModel):
    def __init__(self, in_features: int, hidden: int) -> None:
        super().__init__(in_features, hidden)
        self.V, self.W = nn.Linear(in_features, hidden), nn.Linear(hidden, hidden)

    def input_projection(self, x):
        return self.V(x)

    def step(self, projected, state, recurrent_weights):
        return (torch.tanh(projected + self.W(state[0])),)


class Bad(Plain):
    def __init__(self, in_features, hidden, *, leak):
        super().__init__(in_features, hidden)


class Sums(Plain):
    def input_projection(self, x):
        return self.V(x).sum(1)


class Shorter(Plain):
    def input_projection(self, x):
        return self.V(x)[:, 1:]


class Listed(Plain):
    def input_projection(self, x):
        return [self.V(x)]


class Sizes(Plain):
    state_sizes = 8


class Last(Plain):
    def layer_output(self, output, x):
        return output[:, -1]


class Wider(Plain):
    def layer_output(self, output, x):
        return torch.cat([output, x], -1)


class Start(Plain):
    def initial_state(self, batch):
        return torch.zeros(batch, self.hidden)


class Deep(DeepModel):
    def __init__(self, in_features: int, hidden: int, *, layers: int = 4) -> None:
        super().__init__(in_features, hidden)
        self.V, self.W = nn.Linear(in_features, hidden), nn.Parameter(torch.zeros(layers, hidden, hidden))

    def embed_input(self, x):
        return (self.V(x),)

    def layer_groups(self):
        return [LayerGroup((self.W,))]

    def step(self, layer, state, shared):
        return state[0] @ layer[0].T


class NoLayerGroup(Deep):
    def layer_groups(self):
        return [self.W]


class Entered(Deep):
    def embed_input(self, x):
        return self.V(x)
"""
STEPS = {
    "a_tensor": "torch.tanh(projected + self.W(state[0]))",
    "none": "None",
    "a_list": "[torch.tanh(projected + self.W(state[0]))]",
    "too_many": "(state[0], state[0])",
    "too_few": "()",
    "narrow": "(state[0][:, 1:],)",
    "double": "(state[0].double(),)",
    "less_batch": "(state[0][1:],)",
    "more_axes": "(state[0][None],)",
}


@pytest.fixture
def cells(tmp_path: Path) -> Path:
    path = tmp_path / "cells.py"
    more = [
        f"class S_{n}(Plain):\n    def step(self, projected, state, recurrent_weights):\n        return {b}"
        for n, b in STEPS.items()
    ]
    path.write_text(CELLS + "\n\n" + "\n\n\n".join(more) + "\n")
    return path


def cli(*words: str) -> Result:
    return CliRunner().invoke(app, list(words))


def line_of(cells: Path, name: str, method: str) -> int:
    lines = cells.read_text().splitlines()
    begin = lines.index(next(line for line in lines if line.startswith(f"class {name}(")))
    return next(i for i in range(begin, len(lines)) if f"def {method}(" in lines[i]) + 1


def refused(result: Result, *said: str) -> None:
    assert result.exit_code == 2 and "Traceback" not in result.output, result.output
    assert len(result.stderr.strip().splitlines()) == 1, result.stderr
    for words in said:
        assert words in result.stderr


@pytest.mark.parametrize(
    ("name", "method"),
    [
        *[(f"S_{name}", "step") for name in STEPS],
        ("Sums", "input_projection"),
        ("Shorter", "input_projection"),
        ("Listed", "input_projection"),
        ("Last", "layer_output"),
        ("Wider", "layer_output"),
        ("Start", "initial_state"),
        ("Deep", "step"),
        ("NoLayerGroup", "layer_groups"),
        ("Entered", "embed_input"),
    ],
)
def test_train_names_the_method_and_its_line(cells: Path, tmp_path: Path, name: str, method: str) -> None:
    deep = name in ("Deep", "NoLayerGroup", "Entered")
    words = ["--task", "double_moon" if deep else "copy", "--hidden", "8", "--steps", "2", "--runs-dir", str(tmp_path)]
    line = line_of(cells, name, method)
    refused(
        cli("train", "--model", f"{cells}:{name}", *words), f"`{method}` must", "; it returned", f"(cells.py:{line})"
    )


def test_sizes_that_are_no_tuple_are_named(cells: Path, tmp_path: Path) -> None:
    words = ["--task", "copy", "--hidden", "8", "--steps", "2", "--runs-dir", str(tmp_path)]
    refused(cli("train", "--model", f"{cells}:Sizes", *words), "`state_sizes` must be a tuple of whole numbers")


def test_probes_and_speed_name_it_too(cells: Path) -> None:
    model = f"{cells}:S_a_tensor"
    refused(cli("probe-gradients", "--model", model, "--task", "copy", "--hidden", "8"), "`step` must", "cells.py:")
    refused(cli("speed", "--models", model, "--size", "2,4,3"), "`step` must", "cells.py:")


@pytest.mark.parametrize(
    ("name", "said"), [("Bad", "the argument `leak` needs a type annotation"), ("S_a_tensor", "`step` must return")]
)
def test_in_compare_it_costs_itself_alone(cells: Path, tmp_path: Path, name: str, said: str) -> None:
    words = [
        "--tasks",
        "copy",
        "--T",
        "5",
        "--seeds",
        "1",
        "--hidden",
        "4",
        "--steps",
        "2",
        "--runs-dir",
        str(tmp_path / "r"),
    ]
    result = cli("compare", "--models", f"{cells}:{name},{cells}:Plain", *words, "--json")
    assert result.exit_code == 1, result.output
    assert f"failed: {name} on copy seed 0" in result.stderr and said in result.stderr
    assert "cells.py:" in result.stderr and "Traceback" not in result.output
    assert json.loads(result.stdout)
    done = [f.read_record() for f in all_runs(tmp_path / "r") if f.record_path.exists()]
    assert [(record.spec.model.label, record.status) for record in done] == [("Plain", "finished")]


def test_where_no_other_model_is_left_it_is_the_error(cells: Path, tmp_path: Path) -> None:
    words = ["--tasks", "copy", "--T", "5", "--seeds", "1", "--steps", "2", "--runs-dir", str(tmp_path / "r")]
    refused(cli("compare", "--models", f"{cells}:Bad", *words), "the argument `leak` needs a type annotation")


def test_a_name_that_no_model_has_stops_all_of_it(cells: Path, tmp_path: Path) -> None:
    words = ["--tasks", "copy", "--T", "5", "--seeds", "1", "--steps", "2", "--runs-dir", str(tmp_path / "r")]
    refused(cli("compare", "--models", f"{cells}:Bad,rnnn,{cells}:Plain", *words), "No model named 'rnnn'")
    assert not (tmp_path / "r").exists()


@pytest.mark.parametrize(("name", "code"), [("Plain", 0), ("S_a_tensor", 2)])
def test_a_sweep_checks_its_model_before_the_first_trial(cells: Path, tmp_path: Path, name: str, code: int) -> None:
    pytest.importorskip("optuna")
    space = tmp_path / "space.yaml"
    model = f"{cells}:{name}"
    values = "{low: 1.0e-3, high: 1.0e-1, log: true}"
    space.write_text(f"summary: rates\nsource: ours\nmodel: {model}\ntask: copy\nspace:\n  optim.lr: {values}\n")
    words = ["--space", str(space), "--model", model, "--task", "copy", "--T", "5", "--hidden", "4", "--steps", "2"]
    result = cli("sweep", *words, "--trials", "1", "--sampler", "random", "-q", "--runs-dir", str(tmp_path / "runs"))
    assert result.exit_code == code, result.output
    assert code == 0 or "`step` must" in result.stderr
