"""What `probe-study` reads from each measure, what it leaves out, and what becomes of a measure that fails."""

import json
import math
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
from typer.testing import CliRunner, Result

from stablebench.cli.app import app
from stablebench.errors import StablebenchError
from stablebench.execution.probe_study import many_runs
from stablebench.execution.probe_study.many_runs import CostlyFirst, measure_all
from stablebench.execution.probe_study.measures import READERS, SCALARS, WITH_SINGULAR_VALUES, stability_edge
from stablebench.execution.probe_study.one_run import CACHE, MAX_STATE, StudyOptions, measured, stored
from stablebench.probes.curvature import Curvature
from stablebench.probes.dimension import StateDimension
from stablebench.probes.gradient_flow import GradientFlow
from stablebench.probes.learnability import Learnability
from stablebench.probes.lyapunov import LyapunovSpectrum
from stablebench.probes.probe import Probing
from stablebench.probes.schur_ablation import SchurAblation
from stablebench.probes.sensitivity import Sensitivity
from stablebench.runs.progress import StopAfter
from stablebench.runs.store import RunFolder, all_runs
from stablebench.schema.optim import GroupSpec, OptimSpec

SGD = OptimSpec(name="sgd", lr=0.5)


def free(*_: object) -> None:
    """Load no code."""


def invoke(*arguments: str | Path | int) -> Result:
    return CliRunner().invoke(app, [str(a) for a in arguments])


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a store with a run of 6 states and one of 12."""
    folder = tmp_path_factory.mktemp("runs")
    words = ["--task", "first_recall", "--T", 6, "--steps", 20, "--hidden", 6, "--runs-dir", folder, "--quiet"]
    for model in ("rnn", "lstm"):
        assert invoke("train", "--model", model, *words).exit_code == 0
    return folder


@pytest.fixture
def store(trained: Path) -> Iterator[Path]:
    """Return the store, with nothing measured."""
    yield trained
    for path in trained.rglob(CACHE):
        path.unlink()


def study(store: Path, *words: str | int) -> tuple[Any, str]:
    result = invoke("probe-study", "--runs-dir", store, "--json", "--workers", 1, "--quiet", *words)
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout), result.stderr


def test_the_edge_of_stability_is_that_of_the_optimiser() -> None:
    """2/lr on a quadratic: gradient descent and its momentum, run until they settle or blow up off it."""
    assert stability_edge(SGD) == 4
    for optim in (
        SGD,
        SGD.model_copy(update={"momentum": 0.9}),
        OptimSpec(name="sgd", lr=0.5, momentum=0.9, nesterov=True),
    ):
        edge = stability_edge(optim)
        assert edge is not None
        for factor, stays in ((0.9, True), (1.1, False)):
            x = torch.ones(1, requires_grad=True)
            descent = torch.optim.SGD([x], lr=optim.lr, momentum=optim.momentum or 0.0, nesterov=optim.nesterov)
            for _ in range(200):
                descent.zero_grad()
                (factor * edge * x * x / 2).sum().backward()
                descent.step()
            assert (x.abs().item() < 1) is stays
    assert all(stability_edge(OptimSpec(name=name)) is None for name in ("adam", "rmsprop", "adagrad"))
    assert stability_edge(SGD.model_copy(update={"groups": {"recurrent": GroupSpec(lr=0.1)}})) is None


def test_scalars_of_curvature() -> None:
    found = READERS["curvature"](Curvature(8.0, 0.1, 0.5, 50.0, 8), SGD)
    assert found == pytest.approx(
        {
            "hessian_largest": math.log10(8),
            "gauss_newton_largest": -1,
            "edge_of_stability": math.log10(2),
            "noise_scale": 2,
        }
    )
    decayed = READERS["curvature"](Curvature(8.0, 0.0, -0.5, 50.0, 8), SGD.model_copy(update={"weight_decay": 4.0}))
    assert decayed["edge_of_stability"] == pytest.approx(math.log10(3))  # weight decay is curvature, too
    assert (decayed["gauss_newton_largest"], decayed["noise_scale"]) == (-math.inf, None)
    assert READERS["curvature"](Curvature(8.0, 0.1, 0.5, 50.0, 8), OptimSpec())["edge_of_stability"] is None


def test_scalars_of_learnability() -> None:
    signal = torch.tensor([0.5, 0.01, 0.0, math.nan])
    found = Learnability("last", 8, (0, 1, 2, 3), signal, torch.full((4,), 1e-3), torch.zeros(4))
    values = READERS["learnability"](found, SGD)
    assert values == pytest.approx({"gradient_signal": 0.51 / 4, "learnable_window": 2 / 4})  # lag 1 needs 99 sequences
    silent = Learnability("last", 8, (0, 1), torch.zeros(2), torch.ones(2), torch.zeros(2))
    assert READERS["learnability"](silent, SGD)["learnable_window"] == 0


def test_scalars_of_the_other_measures() -> None:
    squares = torch.arange(1.0, 101.0).square().expand(2, 3, 100)
    assert READERS["sensitivity"](Sensitivity(squares, 5, False), SGD) == pytest.approx(
        {"sensitivity_last": 2, "sensitivity_power": 1}
    )
    exponents = torch.tensor([[0.4, 0.2, -0.5, -0.4]]).sort(descending=True).values
    lyapunov = READERS["lyapunov"](LyapunovSpectrum(exponents, 0.01, 100), SGD)
    assert lyapunov["metric_entropy"] == pytest.approx(0.6)
    assert lyapunov["kaplan_yorke"] == pytest.approx(3 + 0.2 / 0.5)
    assert READERS["dimension"](StateDimension(torch.tensor([2.0] * 3 + [0.0])), SGD) == pytest.approx(
        {"participation_ratio": 3, "effective_rank": 3}
    )
    flows = [GradientFlow("last", math.log(10) * torch.tensor([[left, 0.0]])) for left in (-1.0, -3.0)]
    schur = READERS["schur"](SchurAblation(0.25, 1, 0.0, 0.0, *flows), SGD)
    assert schur == pytest.approx({"non_normal_share": 0.25, "schur_gradient": 2})


def test_each_measure_gives_the_scalars_that_are_listed_for_it(store: Path) -> None:
    given = {name: {one.name for one in SCALARS if one.measure == name} for name in READERS}
    assert all(given.values()) and sum(map(len, given.values())) == len(SCALARS) == len({one.name for one in SCALARS})
    _, probes = measured(next(iter(all_runs(store))), StudyOptions(), free)
    assert list(probes.initial) == [one.name for one in SCALARS]


def test_singular_values_of_wide_states_are_left_out(store: Path) -> None:
    document, said = study(store, "--max-state", 11)
    assert (document["without_singular_values"], document["max_state"]) == (["lstm, 12 states"], 11)
    assert said.count("without singular values: lstm, 12 states") == 1 and "rnn" not in said
    rows = {row["scalar"]: row["runs"] for row in document["tasks"][0]["correlations"] if row["when"] == "early"}
    of_jacobian = {one.name for one in SCALARS if one.measure in WITH_SINGULAR_VALUES} - {"kaplan_yorke"}
    assert {rows[name] for name in of_jacobian} == {1}
    assert {rows[one] for one in ("gradient_left", "sensitivity_last", "hessian_largest", "effective_rank")} == {2}
    assert study(store, "--max-state", 12)[0]["without_singular_values"] == []  # measured again: it is another study
    assert invoke("probe-study", "--runs-dir", store, "--max-state", 0).exit_code == 2


def test_the_limit_of_width_is_part_of_what_is_stored(store: Path) -> None:
    folder = next(iter(all_runs(store)))
    measured(folder, StudyOptions(), free)
    assert stored(folder, StudyOptions()) is not None
    assert stored(folder, StudyOptions(max_state=MAX_STATE + 1)) is None


def test_a_measure_that_fails_takes_no_other_with_it(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = Probing.measured

    def failing(self: Probing, name: Any, which: Any) -> Any:
        if name == "curvature":
            raise NotImplementedError("no second derivative\nof this")
        return own(self, name, which)

    monkeypatch.setattr(Probing, "measured", failing)
    document, said = study(store)
    failed = [{"model": m, "measure": "curvature", "why": "no second derivative", "runs": 1} for m in ("lstm", "rnn")]
    assert document["failed"] == failed and document["left_out"] == {}
    assert said.count("without curvature: rnn, no second derivative\n") == 1
    shown = {row["scalar"] for row in document["tasks"][0]["correlations"]}
    of_curvature = {one.name for one in SCALARS if one.measure == "curvature"}
    assert not shown & of_curvature
    assert shown >= {one.name for one in SCALARS} - of_curvature - {"kaplan_yorke"}


def test_states_that_leave_float64_keep_what_was_measured_before(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = []

    class Once(Probing):
        def __init__(self, *given: Any, **named: Any) -> None:
            made.append(1)
            if len(made) == 2:
                raise StablebenchError("The state grows beyond float64 at step 3 of 6; there is no gradient.")
            super().__init__(*given, **named)

    monkeypatch.setattr("stablebench.execution.probe_study.measures.Probing", Once)
    _, probes = measured(next(iter(all_runs(store))), StudyOptions(), free)
    assert probes.early is None and probes.initial["gradient_left"] is not None
    assert "beyond float64" in probes.failed["all measures after the updates"]


def test_an_interrupted_study_keeps_what_it_has(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C during updates that are made again: that run is not stored with fewer of them, those before it are."""
    own, counted = StopAfter.update, []

    def update(self: StopAfter, progress: Any) -> bool:
        counted.append(progress.step)
        if len(counted) == 2:  # the first of the second run's
            os.kill(os.getpid(), signal.SIGINT)
        return own(self, progress)

    monkeypatch.setattr(StopAfter, "update", update)
    result = invoke("probe-study", "--runs-dir", store, "--workers", 1)
    assert result.exit_code == 130 and "Stopped." in result.stderr
    assert len(list(store.rglob(CACHE))) == 1
    assert study(store)[0]["tasks"][0]["runs"] == 2 and len(counted) == 3  # the first run's update is not made again


def test_runs_measured_at_once_are_those_measured_one_by_one(store: Path) -> None:
    runs = [(folder.path, folder.read_record()) for folder in all_runs(store)]
    notes: list[str] = []
    at_once = measure_all(runs, StudyOptions(), 2, notes.append, free)
    assert notes[-1] == "2 of 2 runs measured" and len(list(store.rglob(CACHE))) == 2
    for path in store.rglob(CACHE):
        path.unlink()
    assert measure_all(runs, StudyOptions(), 1, None, free) == at_once


def killed_after_another(folder: RunFolder, *_: object) -> None:
    """End the process of one run as the kernel does where memory runs out, once the other run was measured."""
    if folder.read_record().called == "lstm":
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and not list(folder.path.parents[2].rglob(CACHE)):
            time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGKILL)


def test_a_process_that_is_killed_is_said_in_one_message(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was measured by then is kept, and nothing lies in the folder of temporary files."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    runs = [(folder.path, folder.read_record()) for folder in all_runs(store)]
    with pytest.raises(StablebenchError, match="was ended from outside, perhaps for want of memory") as ended:
        measure_all(runs, StudyOptions(), 2, None, killed_after_another)
    assert ended.value.exit_code == 1 and len(list(store.rglob(CACHE))) == 1
    assert not list(tmp_path.glob("stablebench-study-*"))


@pytest.mark.parametrize(("signum", "code"), [(signal.SIGHUP, 129), (signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_leaves_no_process_and_no_folder(signum: int, code: int, store: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "stablebench", "probe-study", "--runs-dir", str(store), "--workers", "2"]
    study = psutil.Popen(
        command, env=os.environ | {"TMPDIR": str(tmp_path)}, stderr=subprocess.PIPE, text=True, preexec_fn=usual_signals
    )
    workers: list[psutil.Process] = []
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and len(workers) < 2:
        time.sleep(0.05)
        workers = [child for child in study.children() if "spawn_main" in " ".join(child.cmdline())]
    time.sleep(0.5)
    study.send_signal(signum)
    said = study.communicate(timeout=60)[1]
    assert study.returncode == code and "Traceback" not in said
    assert not psutil.wait_procs(workers, timeout=10)[1] and not list(tmp_path.glob("stablebench-study-*"))


def usual_signals() -> None:
    for signum in (signal.SIGINT, signal.SIGHUP):
        signal.signal(signum, signal.SIG_DFL)


def test_nothing_is_started_for_runs_that_were_measured(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runs = [(folder.path, folder.read_record()) for folder in all_runs(store)]
    first = measure_all(runs, StudyOptions(), 1, None, free)
    monkeypatch.setattr(many_runs, "_one", None)
    monkeypatch.setattr(many_runs, "ProcessPoolExecutor", None)
    assert measure_all(runs, StudyOptions(), 2, None, free) == first


def test_costly_runs_are_begun_first(store: Path) -> None:
    record = next(iter(all_runs(store))).read_record()
    runs = {}
    for i, (name, parameters) in enumerate([("a", 10), ("b", 1000), ("c", 100)] * 2):
        runs[i] = Path(str(i)), record.model_copy(update={"parameters": parameters, "wall_s": 1.0 + i / 100})
        runs[i][1].call(name)
    order = CostlyFirst(runs)
    firsts = [order.next() for _ in range(3)]
    assert [runs[i][1].called for i in firsts] == ["b", "c", "a"]  # one of each, by what can be guessed
    for i, seconds in zip(firsts, (1.0, 2.0, 3.0), strict=True):
        order.took(i, seconds)
    rest = [order.next() for _ in range(3)]
    assert [runs[i][1].called for i in rest] == ["a", "c", "b"]  # then by what the first ones took
    assert sorted(firsts + rest) == list(range(6))


def test_a_store_that_cannot_be_written_is_studied(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError("read-only")

    monkeypatch.setattr("stablebench.execution.probe_study.one_run.write_atomically", full)
    assert study(store)[0]["tasks"][0]["runs"] == 2
    assert stored(RunFolder(next(iter(all_runs(store))).path), StudyOptions()) is None
