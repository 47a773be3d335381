"""Training under both engines: the cells of the suite `smoke`, and what the command line says."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from typer.testing import CliRunner

from stablebench import registry
from stablebench.cli.app import app
from stablebench.execution.suites import SuiteOverrides, runs_of
from stablebench.models.build import build_network
from stablebench.models.network import AnyNetwork
from stablebench.runs.progress import Progress, Silent
from stablebench.specs.request import Resolved
from stablebench.training import build
from stablebench.training.run import ExecutionOptions, train

COMPARED = 20
"""Updates whose losses must agree; later on rounding grows as training itself does."""


def smoke_cells() -> list[Resolved]:
    return runs_of(registry.suite("smoke"), SuiteOverrides())


class Losses(Silent):
    def __init__(self) -> None:
        self.values: list[float] = []

    def update(self, progress: Progress) -> bool:
        self.values.append(progress.loss)
        return True


def losses_and_status(cell: Resolved, engine: str, steps: int | None, folder: Path) -> tuple[list[float], str]:
    budget = cell.spec.train if steps is None else cell.spec.train.model_copy(update={"steps": steps})
    spec = cell.spec.model_copy(update={"engine": engine, "train": budget})
    losses = Losses()
    record = train(Resolved(spec, cell.card, cell.origin), ExecutionOptions(folder), losses).record
    assert record.environment.engine == engine
    return losses.values, record.status


def nudged(*arguments: Any, **named: Any) -> AnyNetwork:
    """Return the network with every weight one unit in the last place away."""
    network = build_network(*arguments, **named)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.mul_(1 + torch.finfo(torch.float32).eps)
    return network


def largest_difference(a: list[float], b: list[float]) -> float:
    return max(abs(x - y) / max(1.0, abs(y)) for x, y in zip(a[:COMPARED], b[:COMPARED], strict=True))


@pytest.mark.parametrize("steps", [COMPARED, pytest.param(None, marks=pytest.mark.smoke, id="all")])
@pytest.mark.parametrize("cell", smoke_cells(), ids=lambda cell: f"{cell.spec.task.name}-{cell.spec.model.name}")
def test_both_engines_train_alike(
    cell: Resolved, steps: int | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reference, its_status = losses_and_status(cell, "reference", steps, tmp_path / "reference")
    fused, status = losses_and_status(cell, "fused", steps, tmp_path / "fused")
    assert status == its_status
    difference = largest_difference(fused, reference)
    if (
        difference > 1e-4
    ):  # where modReLU jumps, rounding alone parts the losses: no engine can come closer than it does
        monkeypatch.setattr(build, "build_network", nudged)
        by_rounding, _ = losses_and_status(cell, "reference", COMPARED, tmp_path / "nudged")
        assert difference <= 3 * largest_difference(by_rounding, reference)


USER_MODEL = '''
import torch
from stablebench.models.base import RecurrentModel


class Mine(RecurrentModel):
    """h_t = {update}."""

    def __init__(self, in_features, hidden):
        super().__init__(in_features, hidden)
        self.W = torch.nn.Linear(hidden, hidden)
        self.U = torch.nn.Linear(in_features, hidden)

    def input_projection(self, x):
        return self.U(x)

    def step(self, projected, state, recurrent_weights):
        (h,) = state
        return ({update},)
'''


def user_run(folder: Path, update: str, *more: str) -> tuple[int, str, str]:
    path = folder / "mine.py"
    path.write_text(USER_MODEL.format(update=update))
    small = ["--task", "copy", "--T", "5", "--hidden", "6", "--steps", "3", "--batch-size", "4"]
    arguments = ["train", "--model", f"{path}:Mine", *small, "--runs-dir", str(folder / "runs"), "--json", *more]
    result = CliRunner().invoke(app, arguments)
    return result.exit_code, result.stdout, result.stderr


def test_a_users_own_file_gains_too(tmp_path: Path) -> None:
    code, out, said = user_run(tmp_path, "torch.tanh(self.W(h) + projected)")
    assert code == 0 and json.loads(out)["environment"]["engine"] == "fused"
    assert "fused engine" in said


def test_what_cannot_be_fused_runs_with_reference_and_says_why(tmp_path: Path) -> None:
    """What cannot be fused runs with the reference and says why."""
    update = "torch.softmax(self.W(h) + projected, -1)"
    code, out, said = user_run(tmp_path, update)
    assert code == 0 and json.loads(out)["environment"]["engine"] == "reference"
    assert "reference engine" in said and "`softmax` is not known" in said
    assert "(mine.py:19)" in said
    code, out, said = user_run(tmp_path, update, "--engine", "fused")
    assert code == 2 and "--engine fused cannot run this model" in said and "Traceback" not in said


@pytest.mark.parametrize(
    ("update", "reason"),
    [
        ("torch.tanh(self.W(h) + projected) / h.shape[1]", "the attribute `shape` of a tensor is not known"),
        ("torch.tanh(self.W(h) + projected) if h.sum() > 0 else projected", "cannot be used as inputs to control flow"),
        ("self.W(h) + projected + torch.ones(6)", "no argument, parameter or buffer"),
        ("(self.W(h) + projected).add_(projected)", "`add_` changes a tensor in place"),
    ],
)
def test_the_line_that_cannot_be_fused_is_named(tmp_path: Path, update: str, reason: str) -> None:
    code, _, said = user_run(tmp_path, update)
    line = next(line for line in said.splitlines() if "the reference engine runs this model" in line)
    assert code == 0 and reason in line and line.endswith("(mine.py:19)")


def test_recomputing_is_a_choice_of_the_run(tmp_path: Path) -> None:
    code, out, _ = user_run(tmp_path, "torch.tanh(self.W(h) + projected)", "--recompute-every", "4")
    record = json.loads(out)
    assert code == 0 and record["spec"]["train"]["recompute_every"] == 4
    code, plain, _ = user_run(tmp_path, "torch.tanh(self.W(h) + projected)")
    assert code == 0 and json.loads(plain)["spec_hash"] != record["spec_hash"]
    torch.testing.assert_close(json.loads(plain)["result"]["test"], record["result"]["test"], rtol=1e-4, atol=1e-5)
    code, _, said = user_run(tmp_path, "torch.tanh(h)", "--recompute-every", "0")
    assert code == 2 and "`--recompute-every` must be >= 1, got 0" in said
