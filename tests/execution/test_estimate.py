"""What cells would take is told from a few updates, and nothing is kept."""

import time
from pathlib import Path
from typing import Any

import pytest

from stablebench import registry
from stablebench.execution import estimate as budget
from stablebench.execution.estimate import estimates
from stablebench.specs.resolve import Resolved, RunRequest, resolve

SLOW_CELL = '''
import time
from torch import nn
from stablebench.models.base import RecurrentModel

class Sleeper(RecurrentModel):
    """A cell that takes 20 ms a forward pass at least."""

    def __init__(self, in_features, hidden):
        super().__init__(in_features, hidden)
        self.V = nn.Linear(in_features, hidden)

    def input_projection(self, x):
        time.sleep(0.02)
        return self.V(x)

    def recurrent_weights(self):
        return None

    def step(self, projected, state, recurrent_weights):
        return ((projected + state[0]).tanh(),)
'''


def cell(model: str = "rnn", settings: dict[str, Any] | None = None) -> Resolved:
    values = {"task.S": 2, "train.batch_size": 4, "model.hidden": 4, "train.steps": 1000, "train.eval_every": 100}
    return resolve(RunRequest(model, "copy", T=5, settings=values | (settings or {})))


def test_cells_that_differ_in_their_seed_alone_are_timed_once() -> None:
    cells = [run.seeded(seed) for run in (cell(), cell(settings={"model.hidden": 5})) for seed in range(3)]
    small, large = estimates(cells, cells[2:4], seconds=0.05)
    assert (small.hidden, small.runs, small.missing) == (4, 3, 1)
    assert (large.hidden, large.runs, large.missing) == (5, 3, 1)
    assert small.parameters is not None and large.parameters is not None and small.parameters < large.parameters
    assert small.run_s is not None and small.missing_s == small.run_s


def test_a_run_takes_its_updates_and_its_evaluations(tmp_path: Path) -> None:
    file = tmp_path / "sleeper.py"
    file.write_text(SLOW_CELL)
    run = cell(f"{file}:Sleeper", {"engine": "reference"})
    (found,) = estimates([run], [run], seconds=0.3)
    assert found.update_s is not None and found.evaluations_s is not None and found.run_s is not None
    assert 0.02 <= found.update_s < 0.1
    assert found.evaluations_s >= 0.02 * (10 + 1)  # ten looks at the validation examples, one at the test examples
    assert found.run_s >= 1000 * found.update_s + found.evaluations_s


def test_the_estimate_is_near_what_the_run_takes(tmp_path: Path) -> None:
    file = tmp_path / "sleeper.py"
    file.write_text(SLOW_CELL)
    run = cell(f"{file}:Sleeper", {"engine": "reference", "train.steps": 40, "train.eval_every": 20})
    (found,) = estimates([run], [run], seconds=0.3)
    began = time.perf_counter()
    budget._trained(run, tmp_path, None, seconds=60)
    took = time.perf_counter() - began
    assert found.run_s == pytest.approx(took, rel=1.0)


def test_what_cannot_be_run_here_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STABLEBENCH_CACHE", str(tmp_path / "cache"))
    (tmp_path / "data").mkdir()
    run = resolve(RunRequest("rnn", "psmnist", settings={"model.hidden": 4}))
    (found,) = estimates([run], [run], data_dir=tmp_path / "data")
    assert found.problem is not None and str(tmp_path / "data") in found.problem and found.missing_s is None


def test_a_run_that_diverges_in_its_first_update_says_so(tmp_path: Path) -> None:
    file = tmp_path / "sleeper.py"
    file.write_text(SLOW_CELL.replace("tanh()", "log()"))  # of a negative number, so not a number
    run = cell(f"{file}:Sleeper", {"engine": "reference"})
    (found,) = estimates([run], [run], seconds=0.01)
    assert found.problem == "it diverged in its first update"


def test_every_suite_says_what_it_takes() -> None:
    silent = [name for name in registry.suite_names() if not registry.suite(name).core_hours]
    assert silent == []
