"""Tasks and data of a user's own, written into a folder, and commands that run on them."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from typer.testing import CliRunner, Result

from stablebench.cli.app import app
from stablebench.data.source import own_sources
from stablebench.models import registry as model_registry
from stablebench.models.user_code import loading
from stablebench.specs import own_card, own_task

GENERATOR = """
import torch
GAIN = 1.0
def generate(n, *, length=6, rng):
    x = torch.rand(n, length, generator=rng)
    return x, GAIN * x.sum(1)
"""
CARD = "generator: my_task.py:generate\nprotocol: {steps: 6, batch_size: 4, hidden: 5, validation: 20, test: 300}\n"
SMALL = "--hidden 5 --steps 6 --batch-size 4 --engine reference --runs-dir runs".split()


def write_task(folder: Path, card: str = CARD, code: str = GENERATOR) -> None:
    """Write a card and its generator."""
    (folder / "my_task.yaml").write_text(card)
    (folder / "my_task.py").write_text(code)


def arrays(rows: int = 60, classes: int = 3) -> dict[str, Any]:
    """Return sequences (rows, 7, 2) and the classes that they are of, which a mean tells apart."""
    rng = np.random.default_rng(0)
    y = np.arange(rows) % classes
    return {"x": rng.normal(size=(rows, 7, 2)) + y[:, None, None], "y": y}


def write_npz(path: Path, **changes: Any) -> None:
    """Write `arrays` with some of them replaced, or left out where the value is None."""
    content = {name: value for name, value in (arrays() | changes).items() if value is not None}
    np.savez(path, **content)


def cli(*words: str | Path) -> Result:
    """Run a command in this process."""
    return CliRunner().invoke(app, [*map(str, words)])


def train(task: str, *words: str) -> dict[str, Any]:
    """Train a small model on a task as a new process does, and return its record."""
    as_in_a_new_process()
    result = cli("train", "--model", "rnn", "--task", task, *SMALL, "--json", "-q", *words)
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def run_of(record: dict[str, Any]) -> Path:
    """Return the folder of a run that `train` made."""
    spec = record["spec"]
    return Path("runs") / spec["task"]["name"] / "rnn" / f"{record['spec_hash']}-s{spec['seed']}"


def as_in_a_new_process() -> None:
    """Forget what was loaded."""
    for known in (own_sources, own_task._named, own_task._loaded, loading._loaded, model_registry._loaded_code):
        known.clear()
    own_card._constant.cache_clear()
