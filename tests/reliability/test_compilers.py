"""A compiler that fails: the engine that was named is the one that computed, and a run ends when it is told to."""

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from compilers import FAILING, script, taken
from tiny_runs import run, tiny
from typer.testing import CliRunner

from stablebench.cli.app import app
from stablebench.engines import select
from stablebench.engines.fused import engine as fused
from stablebench.errors import UserError
from stablebench.leaderboard.board import build as build_leaderboard
from stablebench.process import c_library as library
from stablebench.process.c_compiler import CompilationInterrupted, CompilerError
from stablebench.runs.progress import Silent, StopAfter
from stablebench.training import verify as verification
from stablebench.training.run import ExecutionOptions, train


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The libraries that a working compiler has made: each is compiled once for all tests."""
    return tmp_path_factory.mktemp("compiled")


class Notes(Silent):
    def __init__(self) -> None:
        self.texts: list[str] = []

    def note(self, text: str) -> None:
        self.texts.append(text)


@pytest.mark.parametrize("how", FAILING)
def test_compiler_that_fails_is_found_out_before_engine_is_named(
    how: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A compiler that fails is found out before the engine is named."""
    notes = Notes()
    with taken(script(tmp_path / "bin" / "mock", FAILING[how]), tmp_path / "cache", monkeypatch):
        record = train(tiny(engine="auto", **{"train.steps": 8}), ExecutionOptions(tmp_path / "runs"), notes).record
    ran = record.environment
    assert (record.status, ran.engine, ran.backend, ran.compiler) == ("finished", "reference", "reference", None)
    said = next(text for text in notes.texts if text.startswith("the reference engine runs this model"))
    assert "mock" in said and "\n" not in said
    assert not list((tmp_path / "cache").rglob("*.so"))


@pytest.mark.parametrize(
    ("how", "reason"),
    [
        ("refuses without the word", "no licence"),
        ("says nothing", "it ended with exit code 1"),
        ("prints bytes that are no text", "licence \ufffd\ufffd gone"),
        ("is killed", "killed by SIGKILL"),
        ("writes no file", "exit code 0 and wrote no library"),
        ("writes an empty file", "exit code 0 and wrote no library"),
        ("writes garbage", "cannot be loaded"),
        ("has no room", "No space left on device"),
    ],
)
def test_the_reason_of_a_failed_compilation_is_kept(
    how: str, reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with taken(script(tmp_path / "mock", FAILING[how]), tmp_path / "cache", monkeypatch):
        for _ in range(2):
            with pytest.raises(CompilerError) as error:
                library.load("int nothing;")
            assert reason in str(error.value)


def test_fused_without_a_working_compiler_is_refused(
    tmp_path: Path, compiled: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither a new run nor the rest of one that a compiler has begun is computed otherwise without a word."""
    resolved, broken = tiny(engine="fused"), script(tmp_path / "mock", "exit 1")
    with taken(None, compiled, monkeypatch):
        begun = _begin(resolved, tmp_path / "working")
    ran = begun.read_record().environment
    assert (ran.engine, ran.backend) == ("fused", "native C") and ran.compiler is not None
    with taken(broken, tmp_path / "cache", monkeypatch):
        for name in ("new", "working"):
            with pytest.raises(UserError, match="--engine fused cannot run this model: .*exit code 1. Take --engine"):
                run(resolved, tmp_path / name)


def test_run_that_0_1_0_made_in_torch_calls_is_not_gone_on_with(
    tmp_path: Path, compiled: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its record lists, ranks and is evaluated, and its first updates are made again; no engine can go on with it."""
    resolved = tiny(engine="fused")
    with taken(None, compiled, monkeypatch), monkeypatch.context() as patch:
        right = select._choice
        in_torch_calls = {"name": "fused-torch", "backend": "torch calls"}
        patch.setattr(select, "_choice", lambda *of: dataclasses.replace(right(*of), **in_torch_calls))
        begun = _begin(resolved, tmp_path / "runs")
        record = run(resolved, tmp_path / "ended").read_record()
    with taken(None, compiled, monkeypatch):
        with pytest.raises(UserError, match="would not give the same numbers .*engine: fused-torch then, fused now"):
            run(resolved, tmp_path / "runs")
        verdict = verification.verify(resolved, begun.read_record(), begun, 5)
    assert any(line.startswith("engine: ") for line in verdict.environment)
    assert build_leaderboard("leaderboard", [record]).tables[0].rows[0].engine == "fused-torch"
    path = str(next((tmp_path / "ended").rglob("record.json")).parent)
    for command in (["evaluate", path], ["list", "runs", "--runs-dir", str(tmp_path / "ended")]):
        result = CliRunner().invoke(app, command)
        assert result.exit_code == 0, result.output


def _begin(resolved: Any, runs_dir: Path, steps: int = 6) -> Any:
    """Run the first updates, up to a checkpoint."""
    from stablebench.process.settings import prepare_process
    from stablebench.runs.store import run_folder
    from stablebench.training.build import build_run

    prepare_process(resolved.spec.threads, resolved.spec.precision)
    folder = run_folder(runs_dir, resolved.spec)
    build_run(resolved, folder, reporter=StopAfter(steps)).run()
    return folder


def test_another_compiler_is_refused_by_name(tmp_path: Path, compiled: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    resolved = tiny(engine="fused")
    with taken(None, compiled, monkeypatch):
        begun = _begin(resolved, tmp_path / "runs")
    compiler = begun.read_record().environment.compiler
    assert compiler is not None and compiler.keys() == {"name", "version", "flags", "instructions"}
    assert "/" not in compiler["name"] and "-march=native" in compiler["flags"]
    other = script(tmp_path / "other", 'exec {real} "$@"')
    with taken(other, tmp_path / "cache", monkeypatch):
        with pytest.raises(UserError, match="compiler name: .* then, other now; compiler version: .* then, mock 1.0"):
            run(resolved, tmp_path / "runs")
        verdict = verification.verify(resolved, begun.read_record(), begun, 5)
    assert verdict.is_equal and any(line.startswith("compiler version: ") for line in verdict.environment)
    with taken(other, tmp_path / "cache", monkeypatch):
        again = run(resolved, tmp_path / "runs", force=True).read_record()
    assert any("compiler name: " in line for line in again.resumed_elsewhere)


def test_other_flags_are_refused_by_name(tmp_path: Path, compiled: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    resolved = tiny(engine="fused")
    with taken(None, compiled, monkeypatch):
        _begin(resolved, tmp_path / "runs")
        flags = library.flags()
        monkeypatch.setattr(library, "flags", lambda: (*flags, "-ffp-contract=off", "-O0"))
        with pytest.raises(UserError, match="compiler flags: .* then, .*-ffp-contract=off.* now"):
            run(resolved, tmp_path / "runs")


def test_rotations_without_a_compiler_are_recorded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """DizzyRNN compiles its rotations also where the reference engine runs its steps."""
    resolved = tiny("dizzy", engine="reference")
    with taken(None, tmp_path / "cache", monkeypatch):
        begun = _begin(resolved, tmp_path / "runs")
    ran = begun.read_record().environment
    assert ran.backend == "reference, rotations in native C" and ran.compiler is not None
    with taken(script(tmp_path / "mock", "exit 1"), tmp_path / "cache", monkeypatch):
        with pytest.raises(UserError, match="backend: reference, rotations in native C then, .* torch calls now"):
            run(resolved, tmp_path / "runs")
    assert "Rotations are computed with torch's operations" in caplog.text


def test_program_that_fails_to_compile_in_mid_run_gives_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A program that fails to compile in mid run gives way and is said."""
    resolved, notes = tiny(engine="fused"), Notes()
    whole = run(tiny(engine="reference"), tmp_path / "reference").read_record()
    failing_from(monkeypatch, 3, CompilerError("mock failed: no licence"))
    record = train(resolved, ExecutionOptions(tmp_path / "runs"), notes).record
    assert (record.status, record.environment.engine) == ("finished", "reference")
    assert (record.environment.backend, record.environment.compiler) == ("reference", None)
    assert record.resumed_elsewhere == ["step 2: engine: fused then, reference now (mock failed: no licence)"]
    warnings = [text for text in notes.texts if text.startswith("warning: the fused engine failed")]
    assert len(warnings) == 1 and "no licence" in warnings[0]
    assert record.result.test is not None and whole.result.test is not None
    assert record.result.test["loss"] == pytest.approx(whole.result.test["loss"], rel=1e-3)


def test_signal_amid_a_compilation_ends_with_a_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A signal amid a compilation in mid run ends it with a checkpoint."""
    resolved = tiny(engine="fused")
    whole = run(resolved, tmp_path / "whole").read_record()

    def told_to_end() -> BaseException:
        os.kill(os.getpid(), signal.SIGTERM)
        return CompilationInterrupted()

    failing_from(monkeypatch, 5, told_to_end)
    ended = train(resolved, ExecutionOptions(tmp_path / "runs"), Silent())
    assert (ended.exit_code, ended.record.status, ended.record.step) == (143, "interrupted", 4)
    monkeypatch.undo()
    again = run(resolved, tmp_path / "runs").read_record()
    assert again.result.test == whole.result.test and again.resumed_at == [4]


def failing_from(
    monkeypatch: pytest.MonkeyPatch, update: int, error: BaseException | Callable[[], BaseException]
) -> None:
    """Let the step of a training update be one that is compiled anew, which fails."""
    backend, calls = fused._backend, [0]

    def new(planned: Any, layout: Any, dtype: Any, *more: Any) -> Any:
        calls[0] += planned.traced is not None and _in_an_update()
        if calls[0] == update:
            calls[0] += 1
            raise error if isinstance(error, BaseException) else error()
        return backend(planned, layout, dtype, *more)

    monkeypatch.setattr(fused, "_backend", new)


def _in_an_update() -> bool:
    frame: Any = sys._getframe()
    while frame is not None:
        if frame.f_code.co_name == "_update":
            return True
        frame = frame.f_back
    return False


# -- a compiler that hangs -------------------------------------------------------------------------------------------


def test_compiler_that_hangs_is_ended_with_children_at_deadline(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A compiler that hangs is ended with its children at the deadline."""
    children = tmp_path / "children"
    mock = script(tmp_path / "mock", f"sleep 600 & echo $$ $! > {children}; wait")
    monkeypatch.setenv("STABLEBENCH_COMPILE_TIMEOUT", "0.6")
    began, notes = time.monotonic(), Notes()
    with taken(mock, tmp_path / "cache", monkeypatch):
        record = train(tiny(engine="auto", **{"train.steps": 8}), ExecutionOptions(tmp_path / "runs"), notes).record
        for _ in range(3):  # it is not waited for again
            with pytest.raises(CompilerError, match="did not end within 0.6 s; STABLEBENCH_COMPILE_TIMEOUT"):
                library.load("int other;")
    assert time.monotonic() - began < 30
    assert (record.environment.engine, record.status) == ("reference", "finished")
    assert any("did not end within 0.6 s" in text for text in notes.texts)
    assert not any(_is_running(int(pid)) for pid in children.read_text().split())


def test_compiler_that_hangs_when_asked_its_version_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A compiler that hangs when asked for its version is left for another."""
    mock = tmp_path / "mock"
    mock.write_text("#!/bin/sh\nexec sleep 600\n")
    mock.chmod(0o755)
    monkeypatch.setenv("STABLEBENCH_COMPILE_TIMEOUT", "0.3")
    with taken(mock, tmp_path / "cache", monkeypatch):
        assert library.compiler()[0] != str(mock)
    assert f"{mock} did not end within 0.3 s" in caplog.text


@pytest.mark.parametrize("value", ["0", "-1", "soon", "nan", "inf"])
def test_a_deadline_that_is_none_is_refused(value: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STABLEBENCH_COMPILE_TIMEOUT", value)
    with taken(None, tmp_path / "cache", monkeypatch):
        with pytest.raises(UserError, match="STABLEBENCH_COMPILE_TIMEOUT must be a number of seconds > 0"):
            library.load("int nothing;")


HEEDING_CTRL_C = """
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job, as this may be, ignores it
from stablebench.cli.app import main
main()
"""


@pytest.mark.parametrize(("signum", "code"), [(signal.SIGTERM, -signal.SIGTERM), (signal.SIGINT, 130)])
def test_a_signal_ends_a_process_whose_compiler_hangs(signum: int, code: int, tmp_path: Path) -> None:
    children = tmp_path / "children"
    mock = script(tmp_path / "mock", f"sleep 600 & echo $$ $! > {children}; wait")
    asked = ["--model", "rnn", "--task", "copy", "--T", "5", "--steps", "5", "--runs-dir", str(tmp_path / "runs")]
    process = subprocess.Popen(
        [sys.executable, "-c", HEEDING_CTRL_C, "train", *asked],
        env=os.environ | {"CC": str(mock), "STABLEBENCH_CACHE": str(tmp_path / "cache")},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        until = time.monotonic() + 120
        while not (children.exists() and len(children.read_text().split()) == 2):
            assert time.monotonic() < until and process.poll() is None
            time.sleep(0.05)
        process.send_signal(signum)
        assert process.wait(20) == code
    finally:
        process.kill()
        process.wait()
    assert not any(_is_running(int(pid)) for pid in children.read_text().split())
    assert not list(tmp_path.rglob("stablebench-building-*"))


def _is_running(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"


# -- what the record and the checkpoint of an earlier version say ----------------------------------------------------


def test_a_record_without_the_fields_loads_and_is_gone_on_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from stablebench.runs import checkpoint
    from stablebench.runs.checkpoint import Checkpoint

    resolved = tiny(engine="reference")
    begun = _begin(resolved, tmp_path / "runs")
    record = json.loads(begun.record_path.read_text())
    found = checkpoint.load(begun.checkpoints()[0])
    for environment in (record["environment"], found.state["environment"]):
        for name in ("backend", "compiler", "rounding"):
            del environment[name]
    begun.record_path.write_text(json.dumps(record))
    for path in begun.checkpoints():
        path.unlink()
    checkpoint.save(begun.checkpoint_path(found.step), Checkpoint(found.tensors, found.state))
    assert begun.read_record().environment.backend is None
    verdict = verification.verify(resolved, begun.read_record(), begun, 5)
    assert verdict.is_equal and not verdict.environment
    assert run(resolved, tmp_path / "runs").read_record().resumed_elsewhere == []
