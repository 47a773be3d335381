"""Runs share a GPU as their estimated memory allows; here on a CPU, with the free memory stated."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from small_runs import Heard, cells

from stablebench.data.task import sizes_of
from stablebench.execution import gpu_memory as gpu_share
from stablebench.execution.gpu_memory import GpuMemoryBudget, run_bytes
from stablebench.execution.local import run_locally
from stablebench.models.build import build_network
from stablebench.specs.resolve import Resolved, RunRequest, resolve
from stablebench.training.run import ExecutionOptions

GIB = 2**30


def run_of(model: str, task: str = "adding", /, **settings: Any) -> Resolved:
    return resolve(RunRequest(model, task, settings={key.replace("__", "."): value for key, value in settings.items()}))


@pytest.mark.parametrize("model", ["rnn", "lstm", "cornn", "roarnn", "exprnn", "lmu", "bn_lstm", "skip_gru"])
def test_what_a_pass_keeps_is_extrapolated_to_the_byte(model: str) -> None:
    run = run_of(model, "copy", task__S=2, task__length=20, model__hidden=8, model__layers=2)
    sizes = sizes_of(run.card, run.spec.task.params)
    network = build_network(run.spec, run.card, sizes)
    estimated = gpu_share._taken(network, sizes.inputs, sizes.steps, with_drives=True)(7)  # pyright: ignore[reportPrivateUsage]
    whole = torch.zeros(7, sizes.steps, dtype=torch.int64)
    assert estimated == gpu_share._counted(network, whole, True)  # pyright: ignore[reportPrivateUsage]


def test_an_estimate_is_what_its_formula_says() -> None:
    kept: dict[str, Any] = {"task__length": 1000, "model__hidden": 64, "train__batch_size": 256}
    adam, sgd = (run_of("rnn", **kept, optim__name=name) for name in ("adam", "sgd"))
    sizes = sizes_of(adam.card, adam.spec.task.params)
    parameters = sum(p.nbytes for p in build_network(adam.spec, adam.card, sizes).parameters())
    assert run_bytes(adam) - run_bytes(sgd) == 2 * parameters
    states = 1000 * 64 * 256 * 4
    long = run_bytes(sgd) - run_bytes(run_of("rnn", **kept | {"task__length": 2}, optim__name="sgd"))
    assert 6 * states < long < 6.5 * states  # states kept for the gradient, drives, states: each twice; and inputs
    fused = run_of("rnn", **kept, optim__name="sgd", engine="fused")
    short = run_of("rnn", **kept | {"task__length": 2}, optim__name="sgd", engine="fused")
    assert 1.5 * states < run_bytes(fused) - run_bytes(short) < 1.7 * states
    again = run_of("rnn", **kept, train__recompute_every=32)
    assert run_bytes(again) < run_bytes(adam) - 5 * states
    double = run_of("rnn", **kept, precision="float64")
    assert run_bytes(double) - run_bytes(adam) == pytest.approx(run_bytes(adam) - run_bytes(run_of("rnn")), rel=0.1)


def test_a_deep_network_keeps_more_the_deeper_it_is() -> None:
    shallow, deep = (run_of("roafnn", "double_moon", model__layers=n, model__hidden=64) for n in (10, 1000))
    batch, layer = shallow.spec.train.batch_size, 64 * 4
    assert run_bytes(deep) - run_bytes(shallow) > 2 * 990 * batch * layer


def test_runs_fit_until_nine_tenths_of_free_memory_are_given_out() -> None:
    """Runs fit until nine tenths of the free memory are given out."""
    run = run_of("rnn")
    room = GpuMemoryBudget(round(2.5 * run_bytes(run) / 0.9))
    assert room.fits(run, []) and room.fits(run, [run]) and not room.fits(run, [run, run])
    assert GpuMemoryBudget(1).fits(run, [])  # alone it is tried
    assert GpuMemoryBudget(None).fits(run, [run] * 1000)


def test_cells_begin_as_they_fit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        GpuMemoryBudget, "now", lambda runs: GpuMemoryBudget(2 * GIB)
    )  # a cell takes 0.75 GiB and little more
    heard, running = Heard(), [0]
    told = heard.listener()

    def start(index: int) -> None:
        told.on_start(index)
        running.append(len(heard.started) - len(heard.ends))

    code = run_locally(cells(0, 1, 2), ExecutionOptions(tmp_path), 3, replace(told, on_start=start))
    assert code == 0 and heard.statuses() == ["finished"] * 3
    assert max(running) == 2
    assert heard.notes[2] == ["waits for memory: it takes about 0.8 GiB of the GPU, which had 2.0 GiB free for all"]
