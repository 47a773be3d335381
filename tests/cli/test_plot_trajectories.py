"""`stablebench plot trajectories`: the numbers behind the figure, and what is refused."""

import csv
import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from stablebench.cli.app import app
from stablebench.data.batch import Batch
from stablebench.data.tasks import lorenz96
from stablebench.models.network import Network
from stablebench.models.recurrent.rnn import Rnn
from stablebench.report.figures.lorenz96 import predicted


def invoke(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, list(arguments))
    return result.exit_code, result.output


def rows_of(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(path.read_text().splitlines()))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """An empty cache folder, and few trajectories."""
    found = tmp_path_factory.mktemp("lorenz")
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setenv("STABLEBENCH_CACHE", str(found / "cache"))
        monkeypatch.setattr(lorenz96, "COUNTS", {"train": 256, "test": 3})
        yield found


@pytest.fixture(scope="module")
def run(folder: Path) -> Path:
    what = ["--model", "rnn", "--task", "lorenz96/f8", "--hidden", "5", "--steps", "2", "--batch-size", "2"]
    more = ["--set", "task.length=60", "--set", "train.eval_every=2", "--engine", "reference", "--quiet"]
    code, output = invoke("train", *what, *more, "--runs-dir", str(folder / "runs"))
    assert code == 0, output
    (found,) = folder.glob("runs/lorenz96/rnn/*")
    return found


def test_data_of_both_forces_are_drawn_and_written(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lorenz96, "COUNTS", {"train": 1, "test": 3})
    path = folder / "both.svg"
    code, output = invoke("plot", "trajectories", "--task", "lorenz96", "-o", str(path))
    assert code == 0, output
    assert path.stat().st_size > 1000 and "<svg" in path.read_text()
    rows = rows_of(folder / "both.csv")
    assert list(rows[0]) == ["name", "time", "x1", "x2", "x3", "x4", "x5"] and len(rows) == 4000
    for i, F in enumerate((0.9, 8.0)):
        part = rows[2000 * i : 2000 * (i + 1)]
        assert {row["name"] for row in part} == {f"F = {F:g}"}
        start = F - 0.5 + np.random.default_rng(1).random((3, 5))[0]  # how the test trajectories are begun
        solved = lorenz96.trajectories(start[None], F, 300)[0]
        found = np.array([[float(row[f"x{j + 1}"]) for j in range(5)] for row in part[:300]])
        assert np.abs(found - solved).max() < 1e-5  # seven digits of float32 are written
        assert [float(row["time"]) for row in part[:300:100]] == [0.0, 1.0, 2.0]


def test_a_run_is_drawn_with_its_error_over_time(run: Path, folder: Path) -> None:
    path = folder / "run.png"
    which = ["--trajectory", "1", "--variables", "2", "5"]
    code, output = invoke("plot", "trajectories", str(run), *which, "-o", str(path))
    assert code == 0, output
    assert path.read_bytes().startswith(b"\x89PNG")
    rows = rows_of(folder / "run.csv")
    assert len(rows) == 35 and float(rows[0]["time"]) == 0.25 and float(rows[-1]["time"]) == pytest.approx(0.59)
    targets = lorenz96.load("test", F=8.0, length=60).targets[1].numpy()
    found = np.array([[float(row[f"x{j + 1}"]) for j in range(5)] for row in rows])
    assert np.abs(found - targets).max() < 1e-5
    code, output = invoke("evaluate", str(run), "--engine", "reference")
    assert code == 0, output
    nrmse = float(next(line for line in output.splitlines() if line.startswith("nrmse")).split()[1])
    squares = [lorenz96.load("test", F=8.0, length=60).targets.double().square().sum((0, 2))]
    errors = np.array([float(row["nrmse"]) for row in rows])
    # the error of all points is that of each, weighted by the targets' squares
    weights = squares[0].numpy()
    assert math.sqrt((errors**2 * weights).sum() / weights.sum()) == pytest.approx(nrmse, rel=1e-4)


def test_error_over_time_is_the_papers_formula_at_every_point() -> None:
    """RMSE divided by the root mean square of the targets, of a network that repeats its input."""
    layer = Rnn(2, 2, activation="identity")
    network = Network([layer], 2, readout="every", input="values")
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.zero_()
        layer.V.copy_(torch.eye(2))
        network.head.weight.copy_(torch.eye(2))
    torch.manual_seed(0)
    x, y = torch.randn(2, 40, 6, 2)
    times = torch.arange(6.0)
    found = predicted(network, [Batch(x[:25], y[:25]), Batch(x[25:], y[25:])], 30, times, "here")
    for t in range(6):
        rmse = ((x[:, t] - y[:, t]) ** 2).mean().sqrt()
        assert found.nrmse[t].item() == pytest.approx((rmse / (y[:, t] ** 2).mean().sqrt()).item(), rel=1e-5)
    assert found.pooled == pytest.approx((((x - y) ** 2).mean().sqrt() / (y**2).mean().sqrt()).item(), rel=1e-5)
    assert torch.equal(found.true.states, y[30].double())
    assert torch.allclose(found.predicted, x[30].double(), atol=1e-6)


def test_wrong_requests_are_refused(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for arguments, message in {
        (): "plot trajectories needs one of RUN and --task",
        (str(run), "--task", "lorenz96"): "plot trajectories needs one of RUN and --task",
        ("--task", "copy"): "plot trajectories draws the states of lorenz96, got the task copy",
        ("--task", "lorenz96/f9"): "has no variant 'f9'",
        ("--task", "lorenz97"): "No task named 'lorenz97'. Did you mean lorenz96?",
        ("--task", "lorenz96", "--trajectory", "3"): "--trajectory: there are 3 test trajectories, from 0 on, got 3",
        (str(run), "--trajectory", "3"): "--trajectory: there are 3 test trajectories, from 0 on, got 3",
        ("--task", "lorenz96", "--variables", "1", "6"): "`--variables` must be <= 5",
        ("--task", "lorenz96", "-o", "a.gif"): "must end in .png, .svg, .pdf",
    }.items():
        monkeypatch.setattr(lorenz96, "COUNTS", {"train": 1 if "--task" in arguments else 256, "test": 3})
        code, output = invoke("plot", "trajectories", *arguments)
        assert code == 2 and message in output and "Traceback" not in output, (arguments, output)
