"""A signal that comes while a command is being loaded ends it at once, quietly, with the shell's exit code."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from stablebench.cli.shared import early_signals

SMALL = ["--model", "rnn", "--task", "copy", "--T", "5", "--steps", "100000", "--set", "task.S=2"]


def catches(pid: int, signum: int) -> bool:
    """Return whether a process has a handler for a signal."""
    (line,) = [x for x in Path(f"/proc/{pid}/status").read_text().splitlines() if x.startswith("SigCgt")]
    return bool(int(line.split()[1], 16) >> (signum - 1) & 1)


def _usual() -> None:
    for signum in (signal.SIGINT, signal.SIGHUP):  # a shell's background ignores the one, `nohup` the other
        signal.signal(signum, signal.SIG_DFL)


def signalled(arguments: list[str], signum: int, delay_s: float) -> tuple[int, str, str]:
    """Send a command a signal some time after its first module was loaded; return exit code, stdout and stderr."""
    process = subprocess.Popen(
        [sys.executable, "-m", "stablebench", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=_usual,
    )
    while not catches(process.pid, signal.SIGTERM):
        assert process.poll() is None
        time.sleep(0.001)
    time.sleep(delay_s)
    process.send_signal(signum)
    out, said = process.communicate(timeout=120)
    return process.returncode, out, said


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux's /proc")
@pytest.mark.parametrize("delay_s", [0.0, 0.02, 0.1, 0.4])
@pytest.mark.parametrize(("signum", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_a_signal_amid_imports_ends_a_command_quietly(signum: int, code: int, delay_s: float, tmp_path: Path) -> None:
    found, _, said = signalled(["train", *SMALL, "--quiet", "--runs-dir", str(tmp_path)], signum, delay_s)
    assert found == code and said in ("", "Stopped.\n"), said


@pytest.mark.slow
@pytest.mark.parametrize(("signum", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
@pytest.mark.parametrize("command", ["train", "evaluate", "compare", "report", "show", "sweep"])
def test_moments_of_the_first_second(command: str, signum: int, code: int, tmp_path: Path) -> None:
    arguments: dict[str, list[str]] = {
        "train": [*SMALL, "--quiet", "--runs-dir", str(tmp_path)],
        "evaluate": [str(tmp_path)],
        "compare": ["--models", "rnn", "--tasks", "copy", "--quiet", "--runs-dir", str(tmp_path)],
        "report": ["--runs-dir", str(tmp_path)],
        "show": ["model", "rnn"],
        "sweep": ["--space", "roarnn/rho", "--trials", "1", "--model", "roarnn", "--task", "copy", "--quiet"],
    }
    for tenth in range(5):
        found, _, said = signalled([command, *arguments[command]], signum, tenth / 5)
        ended = found in (0, 1, 2)  # by itself, before the signal came
        closing = found == -signal.SIGTERM  # the command was done, and Python has put the system's own handling back
        assert ended or closing or found == code, (found, said)
        assert "Traceback" not in said and "Exception ignored" not in said, said


@pytest.fixture
def handler(monkeypatch: pytest.MonkeyPatch) -> Callable[[int, Any], Any]:
    def left(code: int) -> None:
        raise InterruptedError(code)

    monkeypatch.setattr(early_signals, "_leave", left)
    monkeypatch.setattr(early_signals, "_began", True)
    return early_signals._end


def test_amid_an_import_the_process_is_left(
    handler: Callable[[int, Any], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Amid an import the process is left and elsewhere an error is raised."""
    importing = SimpleNamespace(f_code=SimpleNamespace(co_filename="<frozen importlib._bootstrap>"), f_back=None)
    below = SimpleNamespace(f_code=SimpleNamespace(co_filename="torch/__init__.py"), f_back=importing)
    with pytest.raises(InterruptedError, match="130"):
        handler(signal.SIGINT, cast(Any, below))
    with pytest.raises(KeyboardInterrupt):
        handler(signal.SIGINT, sys._getframe())
    with pytest.raises(SystemExit, match="143"):
        handler(signal.SIGTERM, sys._getframe())
    monkeypatch.setattr(early_signals, "_began", False)
    with pytest.raises(InterruptedError, match="143"):
        handler(signal.SIGTERM, sys._getframe())


def test_interrupt_for_want_of_threads_is_said_as_that(
    handler: Callable[[int, Any], Any], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """An interrupt that a library sends for want of threads is said as that."""

    def refuse(*_: Any) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(early_signals, "_began", False)
    monkeypatch.setattr(early_signals._thread, "start_new_thread", refuse)
    with pytest.raises(InterruptedError, match="1"):
        handler(signal.SIGINT, sys._getframe())
    assert capfd.readouterr().err.startswith("Error: The limit on processes and threads is reached")


@pytest.mark.parametrize(
    ("started", "is_it"),
    [
        ("/venv/bin/stablebench", True),
        ("/site-packages/stablebench/__main__.py", True),
        ("/site-packages/pytest/__main__.py", False),
        ("script.py", False),
        ("-c", False),
    ],
)
def test_only_the_command_itself_takes_the_signals_over(
    started: str, is_it: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", [started])
    assert early_signals._is_command() is is_it
    before = {signum: signal.getsignal(signum) for signum in (signal.SIGINT, signal.SIGTERM)}
    try:
        early_signals.watch_if_command()
        assert (signal.getsignal(signal.SIGTERM) == early_signals._end) is is_it
    finally:
        for signum, previous in before.items():
            signal.signal(signum, previous)
    assert os.getpid()
