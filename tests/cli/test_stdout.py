"""What a model prints, by whatever way, is no part of a command's result."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

NOISY = """
import ctypes
import os
import sys

import torch
from torch import nn
from stablebench.models.base import RecurrentModel

print("imported")


class Noisy(RecurrentModel):
    def __init__(self, in_features: int, hidden: int) -> None:
        super().__init__(in_features, hidden)
        print("built")
        self.V = nn.Linear(in_features, hidden)
        self.W = nn.Parameter(torch.eye(hidden))

    def input_projection(self, x):
        print("shape", tuple(x.shape))
        sys.stdout.write("written\\n")
        os.write(1, b"raw\\n")
        ctypes.CDLL(None).puts(b"of a library")
        os.system("echo of a process")
        return self.V(x)

    def recurrent_weights(self):
        return self.W.T

    def step(self, projected, state, recurrent_weights):
        (h,) = state
        return (torch.tanh(projected + h @ recurrent_weights),)
"""
SMALL = "--task copy --T 3 --hidden 4 --batch-size 4 --set train.eval_every=2".split()


@pytest.fixture
def noisy(tmp_path: Path) -> Path:
    (tmp_path / "noisy.py").write_text(NOISY)
    return tmp_path


def run(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "stablebench", *words]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done


def test_document_on_stdout_is_one_document(noisy: Path) -> None:
    """A document on stdout is one document whatever a model prints."""
    trained = run(noisy, "train", "--model", "noisy.py:Noisy", *SMALL, "--steps", "2", "--json")
    assert json.loads(trained.stdout)["status"] == "finished"
    for said in ("imported", "built", "shape", "written", "raw", "of a library", "of a process"):
        assert said in trained.stderr
    folder = next((noisy / "runs").glob("*/*/*"))
    scored = run(noisy, "evaluate", str(folder), "--model", "noisy.py:Noisy", "--json")
    assert json.loads(scored.stdout)["evaluation"]
    compared = ["compare", "--models", "noisy.py:Noisy", "--tasks", "copy", *SMALL[2:], "--steps", "2", "--seeds", "2"]
    assert json.loads(run(noisy, *compared, "--json").stdout)["tables"]  # in processes of their own
    assert run(noisy, *compared, "--format", "csv", "--no-run").stdout.startswith("task")


def test_without_json_stdout_has_the_results_alone(noisy: Path) -> None:
    done = run(noisy, "probe-gradients", "--model", "noisy.py:Noisy", *SMALL[:6], "--what", "flow")
    assert "shape" in done.stderr and "shape" not in done.stdout and "of a library" not in done.stdout
    assert "Noisy" in done.stdout


def test_help_is_printed_on_stdout(tmp_path: Path) -> None:
    assert run(tmp_path, "--help").stdout.startswith("Usage") and run(tmp_path, "train", "--help").stdout
    assert run(tmp_path, "--version").stdout.startswith("stablebench ")
