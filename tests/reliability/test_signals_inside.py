"""A signal during a run that is only a part of a command ends the command, and what was not measured is not kept."""

import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tiny_runs import run, tiny
from typer.testing import CliRunner

import stablebench as sb
from stablebench.cli.app import app
from stablebench.errors import StablebenchError
from stablebench.execution import workers
from stablebench.execution.estimate import estimates
from stablebench.execution.events import RunCallbacks
from stablebench.execution.local import run_locally
from stablebench.execution.probe_study.one_run import CACHE, StudyOptions, measured
from stablebench.process.signals import pass_on
from stablebench.report.claims import QUICK, measure_all
from stablebench.runs.store import RunFolder, all_runs
from stablebench.training import loop
from stablebench.training.run import ExecutionOptions
from stablebench.training.verify import verify

Part = Callable[[RunFolder, Path], Any]
PARTS: dict[str, Part] = {
    "claims": lambda folder, runs: list(measure_all(["rnn"], QUICK, runs, lambda text: None)),
    "verify": lambda folder, runs: verify(tiny(), folder.read_record(), folder, 24),
    "estimate": lambda folder, runs: list(estimates([tiny(), tiny("lstm")], [], seconds=0.01)),
    "probe-study": lambda folder, runs: measured(folder, StudyOptions(early=0.5), lambda *code: None),
}
SIGNALS = [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, SystemExit)]


def signalled_at(moment: str, signum: int, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Let a signal come once in every run that begins; return the models of those runs, which the caller counts."""
    came: list[str] = []
    report, finished, close = loop.TrainingLoop._report, loop.write_record, loop.Curve.close

    def during(self: loop.TrainingLoop, loss: Any) -> bool:
        if self.state.step == 2 and moment in ("update", "failure"):
            came.append(self.parts.spec.model.name)
            signal.raise_signal(signum)
            if moment == "failure":
                raise StablebenchError("it failed, too")
        return report(self, loss)

    def recorded(parts: Any, status: Any, **how: Any) -> Any:
        record = finished(parts, status, **how)
        if moment == "record":
            came.append(parts.spec.model.name)
            signal.raise_signal(signum)
        return record

    def closed(self: loop.Curve) -> None:
        close(self)
        if moment == "curve":
            came.append("")
            signal.raise_signal(signum)

    monkeypatch.setattr(loop.TrainingLoop, "_report", during)
    monkeypatch.setattr(loop, "write_record", recorded)
    monkeypatch.setattr(loop.Curve, "close", closed)
    return came


@pytest.mark.parametrize("moment", ["update", "failure", "record", "curve"])
@pytest.mark.parametrize(("signum", "ends"), SIGNALS)
@pytest.mark.parametrize("part", PARTS.values(), ids=PARTS)
def test_it_ends_the_command(
    part: Part, signum: int, ends: type[BaseException], moment: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """During an update, during one that fails, and after the last one: as the record is written, or after it."""
    folder = run(tiny(), tmp_path / "runs")
    came = signalled_at(moment, signum, monkeypatch)
    with pytest.raises(ends) as ended:
        part(folder, tmp_path / "runs")
    assert len(came) == 1  # nothing was run after it
    assert getattr(ended.value, "code", 143) == 143
    assert not (folder.path / CACHE).exists()


@pytest.mark.parametrize("moment", ["record", "curve"])
def test_a_run_that_a_signal_came_too_late_for_is_finished(
    moment: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The exit code is the signal's, so that a script stops; the same command finds it finished, and runs nothing."""
    came = signalled_at(moment, signal.SIGTERM, monkeypatch)
    words = "train --model rnn --task copy --T 6 --hidden 4 --steps 3 --batch-size 2 --runs-dir".split()
    ended = CliRunner().invoke(app, [*words, str(tmp_path)])
    assert ended.exit_code == 143 and len(came) == 1
    assert "a signal came as it ended: it is finished" in ended.output and "--resume" not in ended.output
    again = CliRunner().invoke(app, [*words, str(tmp_path)])
    assert again.exit_code == 0 and "Already finished" in again.output and len(came) == 1


def test_trainings_of_a_script_end_with_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    came = signalled_at("record", signal.SIGINT, monkeypatch)
    with pytest.raises(KeyboardInterrupt):
        for model in ("rnn", "gru"):
            sb.train(model, "copy", T=6, hidden=4, steps=3, batch_size=2, runs_dir=tmp_path)
    assert came == ["rnn"] and [folder.read_record().status for folder in all_runs(tmp_path)] == ["finished"]


def test_a_run_that_no_signal_ended_lets_the_command_go_on() -> None:
    for code in (0, 1, 3):
        pass_on(code)


def test_runs_at_once_end_with_a_signal_at_their_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    left = workers.Processes.__exit__

    def leave(self: workers.Processes, *how: Any) -> None:
        signal.raise_signal(signal.SIGTERM)
        left(self, *how)

    monkeypatch.setattr(workers.Processes, "__exit__", leave)
    assert run_locally([], ExecutionOptions(tmp_path), 1, RunCallbacks()) == 143
