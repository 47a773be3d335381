"""What rounds differently is recorded, and a run is not gone on with, nor called unequal, without it being said."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from stablebench.engines import numerics
from stablebench.errors import UserError
from stablebench.process.settings import prepare_process
from stablebench.runs.progress import Silent, StopAfter
from stablebench.runs.store import RunFolder, run_folder
from stablebench.specs.resolve import Resolved, RunRequest, resolve
from stablebench.training import verify as verification
from stablebench.training.build import build_run
from stablebench.training.run import ExecutionOptions, train


def small(**settings: Any) -> Resolved:
    values = {"train.eval_every": 4, "train.batch_size": 4, "model.hidden": 4, "train.steps": 8}
    return resolve(RunRequest("rnn", "copy", T=5, settings=values | {"task.S": 2, "engine": "reference"} | settings))


def begun(resolved: Resolved, runs_dir: Path) -> RunFolder:
    prepare_process(resolved.spec.threads, resolved.spec.precision)
    folder = run_folder(runs_dir, resolved.spec)
    build_run(resolved, folder, reporter=StopAfter(4)).run()
    return folder


KNOBS = [
    ("MKL_CBWR", "AVX2"),
    ("MKL_ENABLE_INSTRUCTIONS", "AVX2"),
    ("MKL_DEBUG_CPU_TYPE", "5"),
    ("ONEDNN_MAX_CPU_ISA", "AVX2"),
    ("DNNL_MAX_CPU_ISA", "SSE41"),
    ("ONEDNN_DEFAULT_FPMATH_MODE", "BF16"),
    ("ATEN_CPU_CAPABILITY", "avx2"),
    ("GLIBC_TUNABLES", "glibc.cpu.hwcaps=-AVX2"),
]


@pytest.mark.parametrize(("name", "value"), KNOBS)
@pytest.mark.parametrize("when", ["then", "now"])
def test_a_setting_that_rounds_differently_is_refused_and_named(
    name: str, value: str, when: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    resolved = small()
    for known, _ in KNOBS:
        monkeypatch.delenv(known, raising=False)
    if when == "then":
        monkeypatch.setenv(name, value)
    folder = begun(resolved, tmp_path)
    if when == "then":
        assert folder.read_record().environment.rounding[name] == value
        monkeypatch.delenv(name)
    else:
        monkeypatch.setenv(name, value)
    line = f"{name}: {value} then, not set now" if when == "then" else f"{name}: not set then, {value} now"
    with pytest.raises(UserError, match="would not give the same numbers") as error:
        train(resolved, ExecutionOptions(tmp_path), Silent())
    assert f"({line})" in str(error.value)
    assert line in verification.verify(resolved, folder.read_record(), folder, 4).environment
    record = train(resolved, ExecutionOptions(tmp_path, force=True), Silent()).record
    assert record.status == "finished" and record.resumed_elsewhere == [f"step 4: {line}"]


def test_torchs_instruction_set_is_refused_and_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    resolved = small()
    folder = begun(resolved, tmp_path)
    before = torch.backends.cpu.get_cpu_capability()
    assert folder.read_record().environment.rounding["cpu_capability"] == before
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "OLD")
    line = f"cpu_capability: {before} then, OLD now"
    with pytest.raises(UserError, match=line):
        train(resolved, ExecutionOptions(tmp_path), Silent())
    assert line in verification.verify(resolved, folder.read_record(), folder, 4).environment


def test_torch_takes_what_variable_says_and_record_has_it() -> None:
    """Torch takes what its variable says and the record has it."""
    code = "from stablebench.engines import numerics; print(numerics.settings())"
    environment = os.environ | {"ATEN_CPU_CAPABILITY": "default"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert "'cpu_capability': 'DEFAULT'" in done.stdout or "NO AVX" in done.stdout


def test_threads_are_recorded_where_torch_has_another_number(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Threads are recorded where torch has another number and not refused."""
    resolved = small()
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("MKL_NUM_THREADS", "7")
    ran = begun(resolved, tmp_path).read_record().environment
    assert ran.threads == 1 and "OMP_NUM_THREADS" not in ran.rounding and ran.rounding["MKL_NUM_THREADS"] == "7"
    monkeypatch.delenv("MKL_NUM_THREADS")
    assert train(resolved, ExecutionOptions(tmp_path), Silent()).record.resumed_elsewhere == []


def test_tunables_that_are_no_processors_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tunables of the c library that are no processors are left out."""
    monkeypatch.setenv("GLIBC_TUNABLES", "glibc.malloc.check=3")
    assert "GLIBC_TUNABLES" not in numerics.settings()


def test_every_engine_says_what_computed(tmp_path: Path) -> None:
    for engine, backend in (("reference", "reference"), ("fused", "native C")):
        ran = train(small(engine=engine), ExecutionOptions(tmp_path), Silent()).record.environment
        assert (ran.backend, ran.compiler is None) == (backend, engine == "reference")


# -- on another machine -----------------------------------------------------------------------------------------------


class Notes(Silent):
    def __init__(self) -> None:
        self.texts: list[str] = []

    def note(self, text: str) -> None:
        self.texts.append(text)


def test_run_moved_to_where_numbers_differ_is_begun_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that a cluster moves to where numbers differ is begun anew."""
    from stablebench.process import c_library as library

    resolved = small(engine="auto")
    here = begun(resolved, tmp_path / "here")
    assert here.read_record().environment.engine == "fused"
    there = run_folder(tmp_path / "there", resolved.spec)
    shutil.copytree(here.path, there.path)
    monkeypatch.setenv("PATH", "")  # no compiler
    monkeypatch.delenv("CC", raising=False)
    library.compiler.cache_clear()
    try:
        with pytest.raises(UserError, match="engine: fused then, reference now"):
            train(resolved, ExecutionOptions(tmp_path / "there"), Silent())
        notes = Notes()
        record = train(resolved, ExecutionOptions(tmp_path / "there", restart_elsewhere=True), notes).record
        whole = train(resolved, ExecutionOptions(tmp_path / "whole"), Silent()).record
    finally:
        library.compiler.cache_clear()
    assert (record.status, record.environment.engine, record.resumed_at) == ("finished", "reference", [])
    assert record.result.test == whole.result.test and record.resumed_elsewhere == []
    assert "restarted: engine: fused then, reference now" in notes.texts
    assert there.read_record() == record


def test_runs_on_a_cluster_start_again_elsewhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Their options say so: nobody is there to follow the advice of a refusal."""
    from types import SimpleNamespace

    from stablebench.execution.events import RunCallbacks
    from stablebench.execution.ray_executor import _Tasks

    asked: list[ExecutionOptions] = []
    ray = SimpleNamespace(put=asked.append, remote=lambda **_: lambda function: function)
    monkeypatch.setitem(sys.modules, "ray", ray)
    monkeypatch.chdir(tmp_path)
    _Tasks([small()], ExecutionOptions(Path("runs")), RunCallbacks())
    assert asked[0].restart_elsewhere and asked[0].wait and asked[0].runs_dir == tmp_path / "runs"
