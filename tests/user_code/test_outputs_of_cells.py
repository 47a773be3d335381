"""`--model FILE:CLASS` of a cell whose output, or whose width, is easily mistaken: against the loop over the cell."""

from pathlib import Path
from typing import Any

import pytest
import torch
from own_models import as_in_a_new_process, cli, write
from torch import Tensor

import stablebench as sb
from stablebench.models import registry as model_registry
from stablebench.models.recurrent_model import run_steps

CELLS = """
import torch
from torch import nn


class Base(nn.Module):
    def __init__(self, in_features, hidden):
        super().__init__()
        self.V, self.W = nn.Linear(in_features, hidden), nn.Linear(hidden, hidden)
        self.skip, self.drop = nn.Linear(in_features, hidden), nn.Dropout(0.9)
        for part in self.skip.parameters():
            nn.init.zeros_(part)

    def next(self, x, h):
        return torch.tanh(self.V(x) + self.W(h))


class Same(Base):
    def forward(self, x, h):
        h = self.next(x, h)
        return h, h


class Dropped(Base):
    def forward(self, x, h):
        h = self.next(x, h)
        return self.drop(h), h


class Skips(Base):
    def forward(self, x, h):
        h = self.next(x, h)
        return h + self.skip(x), h


class Largest(Base):
    def forward(self, x, h):
        h = self.next(x, h)
        return h.max(1, keepdim=True).values, h


class OneUnit(nn.Module):
    def __init__(self, in_features, hidden):
        super().__init__()
        self.net = nn.Linear(in_features, 1)

    def forward(self, x, h):
        return 0.9 * h + self.net(x)


class SaysSo(OneUnit):
    def initial_state(self, batch):
        return torch.zeros(batch, 1)


class Delay(nn.Module):
    "Of any width, so that the run's is right."

    def __init__(self, in_features, hidden):
        super().__init__()
        self.net = nn.Linear(in_features, 1)

    def forward(self, x, h):
        return torch.cat([self.net(x), h[:, :-1]], dim=1)
"""
SIZES: dict[str, Any] = {"T": 5, "hidden": 6, "steps": 6, "batch_size": 4, "lr": 0.01, "threads": 1}


@pytest.fixture(autouse=True)
def _cells(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    as_in_a_new_process()
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    write(tmp_path, {"cells.py": CELLS})


def _built(name: str, hidden: int = 4) -> Any:
    entry = model_registry.model_entry(f"cells.py:{name}")
    return entry.build(3, hidden, entry.resolve({}), horizon=5)


def _loop(cell: Any, x: Tensor) -> Tensor:
    outputs, h = [], torch.zeros(len(x), 4)
    for x_t in x.unbind(1):
        out, h = cell(x_t, h)
        outputs.append(out)
    return torch.stack(outputs, dim=1)


@pytest.mark.parametrize(
    ("name", "sizes"), [("Same", (4,)), ("Dropped", (4, 4)), ("Skips", (4, 4)), ("Largest", (4, 1))]
)
def test_it_is_trained_as_the_loop_over_the_cell(name: str, sizes: tuple[int, ...]) -> None:
    model = _built(name)
    cell, x = model.cell.one.owner, torch.randn(2, 5, 3)
    assert model.state_sizes == sizes and model.cell.own_states == 1
    results = []
    for run in (lambda x: _loop(cell, x), lambda x: model.layer_output(run_steps(model, x)[0], x)):
        torch.manual_seed(0)
        outputs = run(x)
        wanted = [p for n, p in cell.named_parameters() if name == "Skips" or not n.startswith("skip")]
        results.append([outputs, *torch.autograd.grad(outputs.square().sum(), wanted)])
    for computed, right in zip(results[1], results[0], strict=True):
        torch.testing.assert_close(computed, right)


def test_what_is_zero_at_first_is_trained() -> None:
    run = sb.train("cells.py:Skips", "copy", **SIZES)
    trained = [value for name, value in run.network().state_dict().items() if "skip.weight" in name]
    assert len(trained) == 1 and trained[0].abs().min() > 0


def test_one_unit_is_not_the_width_of_the_run() -> None:
    refused = cli("train", "--model", "cells.py:OneUnit", "--task", "copy", "--T", "5", "--hidden", "6")
    assert refused.exit_code == 2 and "would all be the same: it has one." in refused.output, refused.output
    model = _built("SaysSo")
    x = torch.randn(2, 5, 3)
    assert model.state_sizes == (1,) and model.out_features == 1
    weights = torch.tensor([0.9**lag for lag in range(4, -1, -1)])
    expected = (model.cell.one.owner.net(x)[:, :, 0] * weights).sum(1, keepdim=True)
    torch.testing.assert_close(run_steps(model, x, outputs="last")[0], expected)
    assert _built("Delay").state_sizes == (4,)


def test_dh_T_is_of_the_cell_s_own_states() -> None:
    """What is carried along is an output: a run of such a cell has the Jacobian of one whose output is its state."""
    probes = []
    for name in ("Same", "Skips", "Dropped"):
        torch.manual_seed(0)
        what = "jacobian,lyapunov,spectra,memory,dimension"
        probes.append(sb.probe(f"cells.py:{name}", task="copy", T=20, hidden=6, what=what))
    same, *others = probes
    for other in others:
        assert other.log_singular_values.shape == (1, 6)
        assert other.log_singular_values == pytest.approx(same.log_singular_values, rel=1e-9)
        assert other.lyapunov_exponents == pytest.approx(same.lyapunov_exponents, rel=1e-6)
        assert other.verdict == same.verdict
        assert other.participation_ratio == pytest.approx(same.participation_ratio, rel=1e-9)
        for a, b in zip(other.measured.spectra.steps, same.measured.spectra.steps, strict=True):
            torch.testing.assert_close(a.eigenvalues.abs(), b.eigenvalues.abs())
        for a, b in zip(other.measured.memory.steps, same.measured.memory.steps, strict=True):
            assert a.capacity == pytest.approx(b.capacity, rel=1e-6)
