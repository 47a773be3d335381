"""`compare --live`: what the table says of runs that wait, run and end."""

import io
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console

from stablebench.cli.ui import suite_progress
from stablebench.cli.ui.progress import shortened
from stablebench.cli.ui.suite_progress import LiveTable
from stablebench.execution.events import RunEnd
from stablebench.runs.progress import Progress


def view(
    cells: int, monkeypatch: pytest.MonkeyPatch, height: int = 30, width: int = 120
) -> tuple[LiveTable, dict[str, float]]:
    clock = {"now": 0.0}
    monkeypatch.setattr(suite_progress, "time", SimpleNamespace(monotonic=lambda: clock["now"]))

    def made(seed: int) -> Any:
        task = SimpleNamespace(name="copy", variant="t100")
        spec = SimpleNamespace(
            task=task, model=SimpleNamespace(label="[rnn]"), seed=seed, train=SimpleNamespace(steps=100)
        )
        return SimpleNamespace(spec=spec, label=f"[rnn] on copy/t100 seed {seed}")

    console = Console(file=io.StringIO(), width=width, height=height)
    return LiveTable([made(i) for i in range(cells)], cells + 2, console), clock


def at(step: int, speed: float = 10.0) -> Progress:
    return Progress(step, 100, 0.5, "accuracy", 0.25, 0.1, speed)


def drawn(shown: LiveTable, height: int = 30, width: int = 120) -> str:
    console = Console(file=io.StringIO(), width=width, height=height)
    console.print(shown.view())
    return console.file.getvalue()  # pyright: ignore


def test_runs_that_wait_run_and_end(monkeypatch: pytest.MonkeyPatch) -> None:
    shown, _ = view(4, monkeypatch)
    assert "2 of 6 runs done, 0 running, ? left" in drawn(shown)
    for i in range(3):
        shown.start(i)
    shown.report(0, at(40))
    shown.report(1, "resumed at step 10")
    shown.end(RunEnd(2, "failed", "out of memory"))
    lines = drawn(shown).splitlines()
    assert "3 of 6 runs done, 1 failed, 2 running" in lines[0]
    (first,) = [line for line in lines if "[rnn] on copy/t100 seed 0" in line]
    assert all(word in first for word in ("40/100", "0.5", "accuracy 0.25", "0:06"))
    for seed, word in ((1, "starting"), (2, "failed"), (3, "waiting")):
        assert any(f"seed {seed}" in line and word in line for line in lines)
    assert any("seed 1: resumed at step 10" in line for line in lines)
    assert shown.failures == [("[rnn] on copy/t100 seed 2", "out of memory")]


def test_the_time_left_is_that_of_all_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    shown, clock = view(5, monkeypatch)
    assert shown.seconds_left() == float("inf")
    shown.start(0)
    shown.start(1)
    clock["now"] = 10.0
    shown.end(RunEnd(0, "finished", "test accuracy 1"))  # took 10 s
    shown.report(1, at(50, speed=5.0))  # 10 s so far, 10 s left: 20 in all
    # three wait at a mean of 15 s, and 10 s are left of the one that runs; two run at once
    assert shown.seconds_left() == pytest.approx((10 + 3 * 15) / 2)
    for i in (1, 2, 3, 4):
        shown.start(i)
        shown.end(RunEnd(i, "finished", "test accuracy 1"))
    assert shown.seconds_left() == 0.0


def test_more_runs_than_lines_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    shown, _ = view(50, monkeypatch, height=14)
    shown.start(49)
    text = drawn(shown)
    assert len(text.splitlines()) <= 14 and "seed 49" in text.splitlines()[2] and "and 40 more" in text


@pytest.mark.parametrize(("width", "label"), [(80, "[rnn] on copy/t100 seed 0"), (40, "[rnn] on… seed 0")])
def test_narrow_terminal_tells_runs_apart(monkeypatch: pytest.MonkeyPatch, width: int, label: str) -> None:
    """A narrow terminal has what tells runs apart and how far they are."""
    shown, _ = view(3, monkeypatch, width=width)
    for i in range(3):
        shown.start(i)
    shown.report(0, at(40))
    shown.end(RunEnd(1, "diverged", "the loss is nan in update 12, and so on, and so on, and so on"))
    shown.end(RunEnd(2, "finished", "test accuracy 0.5, loss 0.1"))
    lines = drawn(shown, width=width).splitlines()
    assert all(len(line) <= width for line in lines)
    (first,) = [line for line in lines if label in line]
    assert all(word in first for word in (("40/100" if width == 80 else "40%"), "0.25", "0:06"))
    assert sum("diverged" in line for line in lines) >= 2 and sum("finished" in line for line in lines) == 1


def test_a_line_of_progress_keeps_what_matters_most() -> None:
    progress = at(40)
    whole = "step 40/100  loss 0.5  validation accuracy 0.25 (baseline 0.1)  10 steps/s  0:06 left"
    assert progress.line() == progress.line(len(whole)) == whole
    assert progress.line(len(whole) - 1) == "step 40/100  loss 0.5  validation accuracy 0.25  10 steps/s  0:06 left"
    assert progress.line(34) == "step 40/100  loss 0.5  0:06 left"
    assert progress.line(12) == "0:06 left"


def test_a_label_loses_its_middle() -> None:
    assert shortened("lstm on copy/t400 seed 12", 11) == "lstm …ed 12"
    assert shortened("short", 5) == "short"
