"""A functools.partial of a class stands for the class with arguments."""

import functools
import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from typer.testing import CliRunner

import stablebench as sb
from stablebench.api.asked import model_name
from stablebench.cli.app import app
from stablebench.errors import UserError

CODE = """
import functools
import torch
from torch import nn


class Leaky(nn.Module):
    def __init__(self, in_features, hidden, leak=0.5, form="plain"):
        super().__init__()
        self.leak, self.V, self.W = leak, nn.Linear(in_features, hidden), nn.Linear(hidden, hidden)

    def forward(self, x, h):
        return (1 - self.leak) * h + self.leak * torch.tanh(self.V(x) + self.W(h))


slow = functools.partial(Leaky, leak=0.1)
"""


@pytest.fixture
def cells(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "partial_cells.py").write_text(CODE)
    spec = importlib.util.spec_from_file_location("partial_cells", tmp_path / "partial_cells.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["partial_cells"] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules["partial_cells"]


def test_arguments_become_those_of_the_name(cells: Any) -> None:
    assert model_name(functools.partial(cells.Leaky, leak=0.1, form="a b")) == (
        'partial_cells.py:Leaky[leak=0.1,form="a b"]'
    )
    assert model_name(functools.partial(cells.Leaky)) == "partial_cells.py:Leaky"


def test_a_run_has_the_arguments_in_its_spec(cells: Any) -> None:
    asked: dict[str, Any] = {"T": 4, "steps": 2, "hidden": 3, "seed": 1}
    partial = sb.train(functools.partial(cells.Leaky, leak=0.1), "first_recall", **asked)
    plain = sb.train(cells.Leaky, "first_recall", **asked)
    named = sb.train("partial_cells.py:Leaky[leak=0.1]", "first_recall", **asked)
    assert partial.record.spec.model.params["leak"] == 0.1 and plain.record.spec.model.params["leak"] == 0.5
    assert partial.record.spec_hash == named.record.spec_hash != plain.record.spec_hash


def test_what_cannot_be_stored_is_refused(cells: Any) -> None:
    for partial, why in (
        (functools.partial(cells.Leaky, 3), "must have names"),
        (functools.partial(cells.Leaky, leak=torch.ones(2)), "numbers, texts, lists or None"),
        (functools.partial(cells.Leaky, leak=float("nan")), "numbers, texts, lists or None"),
    ):
        with pytest.raises(UserError, match=why):
            model_name(partial)


def test_a_partial_named_on_the_command_line_says_what_to_name(cells: Any) -> None:
    words = ["train", "--model", "partial_cells.py:slow", "--task", "first_recall", "--T", "4", "--steps", "1"]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 2 and "partial_cells.py:Leaky[leak=0.1]" in result.stderr
