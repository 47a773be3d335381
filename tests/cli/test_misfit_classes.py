"""Classes that engines would run otherwise than they are written are refused by every command that takes a model."""

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
        self.V = nn.Linear(in_features, hidden)
        self.W = nn.Parameter(torch.eye(hidden))

    def input_projection(self, x):
        return self.V(x)

    def recurrent_weights(self):
        return self.W.T

    def step(self, projected, state, recurrent_weights):
        (h,) = state
        return (torch.tanh(projected + h @ recurrent_weights),)


class BothWays(Plain):
    def forward(self, x, state=None):
        y, s = super().forward(x, state)
        back, _ = super().forward(x.flip(1), state)
        return y + back.flip(1), s


class Inherited(BothWays):
    pass


class Called(Plain):
    def __call__(self, *args):
        return super().__call__(*args)


class Wrapped(RecurrentModel):
    def __init__(self, in_features: int, hidden: int) -> None:
        super().__init__(in_features, hidden)
        self.gru = nn.GRU(in_features, hidden, batch_first=True)

    def forward(self, x, state=None):
        return self.gru(x, state)

    def step(self, projected, state, recurrent_weights):
        raise NotImplementedError


class Deep(DeepModel):
    def __init__(self, in_features: int, hidden: int) -> None:
        super().__init__(in_features, hidden)
        self.W = nn.Parameter(torch.zeros(1, hidden, in_features))

    def layer_groups(self):
        return [LayerGroup((self.W,))]

    def step(self, layer, state, shared):
        return (state[0] @ layer[0].T,)

    def forward(self, x):
        return 2 * super().forward(x)


class Turned(Plain):
    def __init__(self, hidden: int, in_features: int) -> None:
        super().__init__(in_features, hidden)


class Named(Plain):
    def __init__(self, inputs: int, width: int) -> None:
        super().__init__(inputs, width)


class Sizes(Plain):
    def state_sizes(self):
        return (self.hidden,)


class Width(Plain):
    def out_features(self):
        return self.hidden


class Output(Plain):
    def output_state(self):
        return 0


class Weights(Plain):
    @property
    def recurrent_weights(self):
        return self.W.T


class Projection(Plain):
    input_projection = 3


class Step(Plain):
    def step(self, projected, state):
        return state


class List(Plain):
    @property
    def state_sizes(self):
        return [self.hidden]


class Text(Plain):
    output_state = "h"


class Float(Plain):
    @property
    def out_features(self):
        return self.hidden / 2


class Static(Plain):
    state_sizes = (4,)

    @staticmethod
    def step(projected, state, recurrent_weights):
        return (torch.tanh(projected + state[0] @ recurrent_weights),)
"""


@pytest.fixture
def cells(tmp_path: Path) -> Path:
    (tmp_path / "cells.py").write_text(CELLS)
    return tmp_path / "cells.py"


def cli(*words: str) -> Result:
    return CliRunner().invoke(app, list(words))


def refused(result: Result, *said: str) -> None:
    assert result.exit_code == 2 and "Traceback" not in result.output, result.output
    assert len(result.stderr.strip().splitlines()) == 1, result.stderr
    for words in said:
        assert words in result.stderr


@pytest.mark.parametrize(
    ("name", "said"),
    [
        (
            "BothWays",
            "`forward` is overridden; engines call input_projection, recurrent_weights, step, layer_output",
        ),
        ("Inherited", "`forward` is overridden; engines"),
        ("Called", "`__call__` is overridden"),
        ("Wrapped", "`forward` is overridden"),
        ("Deep", "engines call embed_input, layer_groups, step"),
        ("Named", "must take `in_features` and `hidden` by these names"),
        ("Sizes", "`state_sizes` is a method; make it a property: write @property above its `def` (cells.py:"),
        ("Width", "`out_features` is a method; make it a property"),
        ("Output", "`output_state` is a method; make it a value: `output_state = ...`"),
        ("Weights", "`recurrent_weights` must be a method, and is a property; leave out the @property"),
        ("Projection", "`input_projection` must be a method, and is 3; make it one"),
        ("Step", "`step` must take (self, projected, state, recurrent_weights); it takes (self, projected, state)"),
        (
            "List",
            "`state_sizes` must be a tuple of whole numbers, the widths of the states; it returned [4] (cells",
        ),
        ("Text", "`output_state` must be the number of one of 1 states; it is 'h' (cells.py:"),
        ("Float", "`out_features` must be a whole number, the output's width; it returned 2.0 (cells.py:"),
    ],
)
def test_a_class_that_would_not_run_as_written_is_refused(cells: Path, tmp_path: Path, name: str, said: str) -> None:
    runs = tmp_path / "runs"
    words = ["--model", f"{cells}:{name}", "--task", "double_moon" if name == "Deep" else "copy", "--hidden", "4"]
    refused(cli("train", *words, "--steps", "2", "--runs-dir", str(runs)), said)
    refused(cli("probe-gradients", *words), said)
    refused(cli("speed", "--models", f"{cells}:{name}", "--size", "2,4,3"), said)
    assert not runs.exists()


def test_compare_refuses_it_too(cells: Path, tmp_path: Path) -> None:
    words = ["--models", f"{cells}:BothWays,{cells}:Plain", "--tasks", "copy", "--T", "5", "--seeds", "1"]
    result = cli("compare", *words, "--steps", "2", "--runs-dir", str(tmp_path / "runs"))
    assert "`forward` is overridden" in result.stderr and result.exit_code in (1, 2), result.output


def test_sizes_reach_a_constructor_by_their_names(cells: Path, tmp_path: Path) -> None:
    words = ["--task", "copy", "--T", "3", "--hidden", "4", "--steps", "2", "--batch-size", "4", "-q"]
    for name in ("Plain", "Turned"):
        result = cli("train", "--model", f"{cells}:{name}", *words, "--runs-dir", str(tmp_path / "runs"))
        assert result.exit_code == 0, result.output
    turned, plain = sorted((r.read_record() for r in all_runs(tmp_path / "runs")), key=lambda r: r.spec.model.name[-1])
    assert turned.parameters == plain.parameters and turned.result.test == plain.result.test


def test_a_static_step_and_plain_sizes_keep_to_the_contract(cells: Path, tmp_path: Path) -> None:
    words = ["--task", "copy", "--T", "3", "--hidden", "4", "--steps", "2", "--batch-size", "4", "-q"]
    result = cli("train", "--model", f"{cells}:Static", *words, "--runs-dir", str(tmp_path / "runs"))
    assert result.exit_code == 0, result.output
