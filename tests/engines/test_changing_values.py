"""A user's step that reads what changes while it trains: the engine follows it, or the run says that it does not."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from stablebench.cli.app import app

HEAD = """
import collections
import functools
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional
from stablebench.models.base import RecurrentModel


class Config:
    gain = 1.0


@dataclass(slots=True)
class Slotted:
    gain: float = 1.0


class Own(RecurrentModel):
    def __init__(self, in_features: int, hidden: int) -> None:
        super().__init__(in_features, hidden)
        self.V = nn.Linear(in_features, hidden)
        self.W = nn.Parameter(torch.eye(hidden))
        self.b = nn.Parameter(torch.zeros(hidden))
        START

    def input_projection(self, x):
        return self.V(x)

    def recurrent_weights(self):
        return TRANSITION

    def step(self, projected, state, recurrent_weights):
        (h,) = state
        W, b = recurrent_weights
        return (torch.tanh(projected + GAIN * (h @ W) + b),)

    def after_update(self):
        MOVE
"""
READ = {
    "deque": (
        "self.r = collections.deque([1.0, 1.0], maxlen=2)",
        "sum(self.r) / 2",
        "self.r.append(0.9 * self.r[0])",
    ),
    "class": ("Config.gain = 1.0", "Config.gain", "Config.gain *= 0.9"),
    "slots": ("self.s = Slotted()", "self.s.gain", "self.s.gain *= 0.9"),
    "long list": ("self.r = [1.0] * 300", "self.r[7]", "self.r[7] *= 0.9"),
    "partial": (
        "self.p = functools.partial(max, 1.0)",
        "self.p(0.0)",
        "self.p = functools.partial(max, 0.9 * self.p(0.0))",
    ),
    "closure": ("self.f = (lambda g: lambda: g)(1.0)", "self.f()", "self.f = (lambda g: lambda: g)(0.9 * self.f())"),
}


def train(folder: Path, text: str, engine: str) -> tuple[int, float, str]:
    path = folder / "own.py"
    path.write_text(text)
    words = ["train", "--model", f"{path}:Own", "--task", "copy", "--T", "5", "--hidden", "8", "--steps", "12"]
    words += ["--set", "optim.lr=0.1", "--set", "train.eval_every=6", "--engine", engine, "--json", "-q"]
    done = CliRunner().invoke(app, [*words, "--runs-dir", str(folder / engine)])
    loss = json.loads(done.stdout)["result"]["test"]["loss"] if done.exit_code == 0 else float("nan")
    return done.exit_code, loss, done.stderr


def source(start: str, gain: str, move: str, recurrent_weights: str = "self.W.T, self.b") -> str:
    text = HEAD.replace("START", start).replace("TRANSITION", recurrent_weights)
    return text.replace("GAIN", gain).replace("MOVE", move)


@pytest.mark.parametrize("kind", READ)
def test_values_that_a_step_reads_are_followed(tmp_path: Path, kind: str) -> None:
    text = source(*READ[kind])
    code, expected, said = train(tmp_path, text, "reference")
    assert code == 0, said
    code, found, said = train(tmp_path, text, "auto")
    assert code == 0, said
    assert found == pytest.approx(expected, rel=1e-5)


def test_what_is_not_followed_fails_the_run(tmp_path: Path) -> None:
    recurrent_weights = "self.W.T, (self.b if len(self.past) > 3 else self.b.detach())"
    text = source("self.past = []", "1.0", "self.past.append(0)", recurrent_weights)
    code, _, said = train(tmp_path, text, "auto")
    assert code == 1 and "does not compute what the reference engine does" in said and "--engine reference" in said
