"""A class in the script that runs, without a guard: the script runs once, or one message says what to do."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

import stablebench as sb
from stablebench.cli.app import app

HEAD = """
import torch
from torch import nn
import stablebench as sb
with open("times", "a") as file:
    file.write("x")

class Loc(nn.Module):
    def __init__(self, in_features, hidden):
        super().__init__()
        self.cell = nn.GRUCell(in_features, hidden)

    def forward(self, x, h):
        return self.cell(x, h)

def generate(n: int, *, length: int = 6, rng: torch.Generator):
    x = torch.rand(n, length, generator=rng)
    return x, x[:, 0]

"""
SIZES = "T=6, hidden=4, steps=3, batch_size=2"
SAYS = "the script runs again while a class or function of it is loaded: put the call that trains under"


def script(folder: Path, *lines: str) -> subprocess.CompletedProcess[str]:
    """Write script.py, run it, and return how it ended; `times` counts how often its head has run."""
    (folder / "card.yaml").write_text("{generator: script.py:generate, protocol: {batch_size: 2, hidden: 4}}")
    (folder / "script.py").write_text(HEAD + "\n".join(lines) + "\n")
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    command = [sys.executable, "script.py"]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, env=environment, timeout=120)


def times(folder: Path) -> int:
    return len((folder / "times").read_text())


def invoke(*words: str | Path) -> Result:
    return CliRunner().invoke(app, [str(word) for word in words])


def test_a_class_of_the_script_is_trained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The run is that of the class in a file of its own; its copy of the script is not run beyond the class."""
    ended = script(tmp_path, f"print(sb.train(Loc, 'copy', {SIZES}).test['loss'])", "open('end', 'a').write('x')")
    assert ended.returncode == 0 and times(tmp_path) == 1, ended.stderr
    monkeypatch.chdir(tmp_path)
    (run,) = sb.list_runs("runs")
    assert (run.folder / "code" / "script.py").read_bytes() == (tmp_path / "script.py").read_bytes()
    Path("cells.py").write_text(HEAD)
    alone = sb.train("cells.py:Loc", "copy", runs_dir="alone", T=6, hidden=4, steps=3, batch_size=2)
    assert alone.test == run.test and float(ended.stdout) == run.test["loss"]
    Path("times").unlink()
    monkeypatch.setenv("STABLEBENCH_STATE", str(tmp_path / "another machine"))
    assert invoke("verify", run.folder).exit_code == 2
    assert invoke("verify", run.folder, "--model", run.folder / "code" / "script.py:Loc").exit_code == 0
    assert invoke("train", "--resume", run.folder, "--steps", "5", "-q").exit_code == 0
    assert times(tmp_path) == 1 and Path("end").read_text() == "x"  # in this process, once; the run's end was not


@pytest.mark.parametrize(
    "line",
    [
        "sb.probe(Loc, task='copy', T=6, hidden=4)",
        f"sb.train('gru', 'card.yaml', {SIZES.replace('T=6, ', '')})",
        f"sb.evaluate(sb.train(Loc, 'copy', {SIZES})); sb.train(Loc, 'copy', seed=1, {SIZES}).network()",
        f"class Small(Loc): pass\nsb.train(Small, 'copy', {SIZES})",
        f"def wide(in_features, hidden): return Loc(in_features, hidden)\nsb.train(wide, 'copy', {SIZES})",
    ],
)
def test_calls_of_one_process_run_the_script_once(line: str, tmp_path: Path) -> None:
    ended = script(tmp_path, line)
    assert ended.returncode == 0 and times(tmp_path) == 1, ended.stderr


@pytest.mark.parametrize(
    "call", [f"sb.compare([Loc, 'gru'], 'copy', seeds=2, {SIZES})", "sb.compare(['gru', 'rnn'], 'card.yaml', steps=3)"]
)
def test_processes_that_would_run_all_of_it_again_are_not_begun(call: str, tmp_path: Path) -> None:
    """Also where the script makes little of errors."""
    ended = script(tmp_path, "try:", f"    print({call})", "except ValueError: pass", "print('went on')")
    assert ended.returncode == 1 and times(tmp_path) == 2
    assert ended.stderr.count(SAYS) == 1 and "RecursionError" not in ended.stderr and "went on" not in ended.stdout
    assert not list((tmp_path / "runs").rglob("record.json"))
    guarded = script(tmp_path, "if __name__ == '__main__':", f"    print({call})")
    assert guarded.returncode == 0 and "failed" not in guarded.stdout, guarded.stderr
    assert len(list((tmp_path / "runs").rglob("record.json"))) in (2, 4)


@pytest.mark.parametrize(
    "words",
    [
        ["train", "--model", "script.py:Loc", "--task", "copy"],
        ["compare", "--model", "script.py:Loc,gru", "--task", "copy"],
        ["train", "--model", "gru", "--task", "card.yaml"],
    ],
)
@pytest.mark.parametrize("call", ["sb.train(Loc, 'copy')", "sb.compare([Loc], 'copy')", "sb.train('gru', 'copy')"])
def test_a_script_that_is_named_to_a_command_does_not_train(
    words: list[str], call: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("card.yaml").write_text("generator: script.py:generate")
    Path("script.py").write_text(f"{HEAD}\ntry:\n    {call}\nexcept Exception:\n    pass\n# {tmp_path}\n")
    ended = invoke(*words)
    assert ended.exit_code == 2 and ended.stderr.count(SAYS) == 1 and ended.stderr.count("Error: ") == 1
    assert times(tmp_path) == 1 and not Path("runs").exists()


@pytest.mark.parametrize(
    "change",
    [
        "open('script.py', 'a').write('# edited')",
        "exec(compile('class Loc(Loc):\\n    def forward(self, x, h): return h', '<stdin>', 'exec'))",
    ],
)
def test_a_class_that_has_changed_is_not_taken(change: str, tmp_path: Path) -> None:
    ended = script(tmp_path, change, f"sb.train(Loc, 'copy', {SIZES})")
    assert ended.returncode == 1 and ended.stderr.count(SAYS) == 1 and times(tmp_path) == 2
