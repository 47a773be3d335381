"""A signal during a run that is only a part of a command ends the command, and what was not measured is not kept."""

import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tiny_runs import run, tiny

from stablebench.execution.estimate import estimates
from stablebench.execution.probe_study.one_run import CACHE, StudyOptions, measured
from stablebench.process.signals import pass_on
from stablebench.report.claims import QUICK, measure_all
from stablebench.runs.store import RunFolder
from stablebench.training import loop
from stablebench.training.verify import verify

Part = Callable[[RunFolder, Path], Any]
PARTS: dict[str, Part] = {
    "claims": lambda folder, runs: list(measure_all(["rnn"], QUICK, runs, lambda text: None)),
    "verify": lambda folder, runs: verify(tiny(), folder.read_record(), folder, 24),
    "estimate": lambda folder, runs: list(estimates([tiny(), tiny("lstm")], [], seconds=0.01)),
    "probe-study": lambda folder, runs: measured(folder, StudyOptions(early=0.5), lambda *code: None),
}


@pytest.mark.parametrize(("signum", "ends"), [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, SystemExit)])
@pytest.mark.parametrize("part", PARTS.values(), ids=PARTS)
def test_it_ends_the_command(
    part: Part, signum: int, ends: type[BaseException], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = run(tiny(), tmp_path / "runs")
    report, came = loop.TrainingLoop._report, []

    def signalled(self: loop.TrainingLoop, loss: Any) -> bool:
        if self.state.step == 2:
            came.append(self.parts.spec.model.name)
            signal.raise_signal(signum)
        return report(self, loss)

    monkeypatch.setattr(loop.TrainingLoop, "_report", signalled)
    with pytest.raises(ends) as ended:
        part(folder, tmp_path / "runs")
    assert len(came) == 1  # nothing was run after it
    assert getattr(ended.value, "code", 143) == 143
    assert not (folder.path / CACHE).exists()


def test_a_run_that_no_signal_ended_lets_the_command_go_on() -> None:
    for code in (0, 1, 3):
        pass_on(code)
