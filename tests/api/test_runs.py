"""`sb.train`, `evaluate`, `load`, `list_runs` and `compare` make what the command line makes."""

import importlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

import stablebench as sb
from stablebench.cli.app import app

CELL = """
import torch
from torch import nn
from stablebench import RecurrentModel

class MyCell(RecurrentModel):
    def __init__(self, in_features, hidden, *, leak=0.1):
        super().__init__(in_features, hidden)
        self.leak = leak
        self.V = nn.Linear(in_features, hidden)
        self.W = nn.Parameter(nn.init.orthogonal_(torch.empty(hidden, hidden)))

    def step(self, x, state, weights):
        (h,) = state
        return ((1 - self.leak) * h + self.leak * torch.tanh(self.V(x) + h @ self.W.T),)
"""
SIZES: dict[str, Any] = {"T": 6, "hidden": 4, "steps": 3, "batch_size": 2}
WORDS = "--T 6 --hidden 4 --steps 3 --batch-size 2"


def call(words: str) -> Any:
    result = CliRunner().invoke(app, words.split())
    assert result.exit_code == 0, result.stderr
    return json.loads(result.stdout)


def test_a_run_is_that_of_the_command_line(tmp_path: Path) -> None:
    """Same spec hash, same folder, same numbers; what one has run, the other does not run again."""
    run = sb.train("roarnn", "copy", runs_dir=tmp_path / "a", seed=1, set={"model.rho": 0.5}, **SIZES)
    by_command = call(
        f"train --model roarnn --task copy {WORDS} --seed 1 --set model.rho=0.5 --json -q --runs-dir {tmp_path / 'b'}"
    )
    assert run.spec_hash == by_command["spec_hash"] and run.status == "finished"
    assert run.test == by_command["result"]["test"]
    record = json.loads(run.record.model_dump_json())
    assert record["spec"] == by_command["spec"] and record["origin"] == by_command["origin"]
    again = sb.train("roarnn", "copy", runs_dir=tmp_path / "b", seed=1, set={"model": {"rho": 0.5}}, **SIZES)
    assert again.record.started == by_command["started"]
    assert [entry["step"] for entry in run.curve() if "step" in entry]
    assert repr(run).startswith("<Run roarnn on copy seed 1: finished after 3 steps, test ")


def test_a_run_is_loaded_listed_and_evaluated(tmp_path: Path) -> None:
    run = sb.train("lstm", "copy", runs_dir=tmp_path, **SIZES)
    loaded = sb.load(run.folder)
    assert loaded == run and [found.folder for found in sb.list_runs(tmp_path)] == [run.folder]
    scored = sb.evaluate(run, T=9)
    assert 9 in scored.params.values() and set(scored.metrics) == set(run.test)
    by_command = call(f"evaluate {run.folder} --T 9 --json")
    assert scored.metrics == by_command["evaluation"]["metrics"]
    assert sb.evaluate(loaded).metrics == run.test
    assert sum(p.numel() for p in run.network().parameters()) == run.record.parameters


def test_a_run_goes_on_for_longer_as_by_the_command_line(tmp_path: Path) -> None:
    run = sb.train("rnn", "copy", runs_dir=tmp_path / "a", **SIZES)
    call(f"train --model rnn --task copy {WORDS} -q --json --runs-dir {tmp_path / 'b'}")
    longer = sb.train(resume=run, steps=5)
    by_command = call(f"train --resume last --steps 5 --json -q --runs-dir {tmp_path / 'b'}")
    assert longer.folder != run.folder and longer.record.step == 5 and longer.record.extended
    assert longer.test == by_command["result"]["test"] != run.test
    written = (longer.folder / "record.json").stat().st_mtime_ns
    sb.train(resume=longer.folder)  # it has ended: nothing is run
    assert (longer.folder / "record.json").stat().st_mtime_ns == written
    again = sb.train(resume=longer.folder, rerun=True)
    assert again.test == longer.test and (again.folder / "record.json").stat().st_mtime_ns > written
    with pytest.raises(sb.UserError, match="lr, task, model: a run is resumed with its own spec"):
        sb.train("lstm", "copy", resume=run, lr=0.1)
    with pytest.raises(sb.UserError, match="must be more than the 3 updates"):
        sb.train(resume=run, steps=2)


def test_a_run_is_evaluated_at_several_lengths(tmp_path: Path) -> None:
    run = sb.train("lstm", "copy", runs_dir=tmp_path, **SIZES)
    scored = sb.evaluate(run, lengths=[12, 9])
    by_command = call(f"evaluate {run.folder} --lengths 12,9 --json")["lengths"]
    assert list(scored) == [9, 12]
    assert {str(n): one.metrics for n, one in scored.items()} == {n: one["metrics"] for n, one in by_command.items()}
    assert scored[9].metrics != scored[12].metrics
    for lengths, T, message in [([5], 5, "leave T out"), ([], None, "at least one"), ([0], None, "lengths: ")]:
        with pytest.raises(sb.UserError, match=message):
            sb.evaluate(run, lengths=lengths, T=T)  # type: ignore[call-overload]


def test_the_process_is_as_before(tmp_path: Path) -> None:
    torch.set_num_threads(2)
    torch.set_flush_denormal(False)
    random = torch.get_rng_state()
    sb.train("rnn", "copy", runs_dir=tmp_path, precision="float64", threads=1, **SIZES)
    assert torch.get_num_threads() == 2 and torch.get_default_dtype() == torch.float32
    assert torch.equal(torch.get_rng_state(), random)
    assert (torch.tensor([1e-30]) * 1e-12).item() != 0


def test_a_class_is_trained_as_its_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my_cell.py").write_text(CELL)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    from my_cell import MyCell  # pyright: ignore[reportMissingImports]

    by_class = sb.train(MyCell, "copy", runs_dir="a", **SIZES)
    by_name = sb.train("my_cell.py:MyCell", "copy", runs_dir="b", **SIZES)
    assert by_class.spec_hash == by_name.spec_hash and by_class.test == by_name.test
    assert sb.probe(by_class, what="jacobian").verdict == sb.probe(MyCell, task="copy", T=6, hidden=4).verdict
    made = type("Typed", (MyCell,), {"__module__": "__main__"})
    with pytest.raises(sb.UserError, match="Typed"):
        sb.train(made, "copy", **SIZES)


def test_what_a_notebook_imports_between_runs_is_no_models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my_cell.py").write_text(CELL)
    (tmp_path / "notebook_tools.py").write_text("")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    first = sb.train("my_cell.py:MyCell", "copy", **SIZES)
    importlib.import_module("notebook_tools")
    second = sb.train("my_cell.py:MyCell", "copy", seed=1, **SIZES)
    assert str(tmp_path / "notebook_tools.py") not in [*first.record.uncovered, *second.record.uncovered]


def test_a_leaderboard_is_that_of_the_command_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From a script without a guard, whose processes must not run it again."""
    (tmp_path / "my_cell.py").write_text(CELL)
    script = (
        "import stablebench as sb\n"
        "board = sb.compare(['my_cell.py:MyCell', 'lstm'], 'copy', seeds=2, T=6, hidden=4, steps=3, batch_size=2)\n"
        "print(board.render('json')); print(repr(board)); print(board.to_latex())\n"
    )
    (tmp_path / "script.py").write_text(script)
    done = subprocess.run([sys.executable, "script.py"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0 and "MyCell" in done.stdout and r"\toprule" in done.stdout, done.stderr
    assert "--columns" not in done.stdout and 'with render(columns=["all"]) or names: ' in done.stdout
    monkeypatch.chdir(tmp_path)
    words = f"compare --models my_cell.py:MyCell,lstm --tasks copy --seeds 2 {WORDS} --no-run --json"
    by_command = call(words)
    made = json.loads(done.stdout[: done.stdout.index("\n}\n") + 3])
    assert made["tables"] == by_command["tables"] and len(made["runs"]) == 4


def test_whole_numbers_of_numpy_and_torch_are_taken(tmp_path: Path) -> None:
    """In every place that takes one, with the hash of Python's own."""
    run = sb.train("lstm", "copy", runs_dir=tmp_path, **SIZES)
    wrapped: dict[str, Any] = {name: np.int64(value) for name, value in SIZES.items()} | {"T": torch.tensor(6)}
    given: dict[str, Any] = {"seed": np.uint8(0), "lr": np.float32(0.5), "set": {"task.S": np.int32(3)}}
    again = sb.train("lstm", "copy", runs_dir=tmp_path, **wrapped, **given)
    plain = sb.train("lstm", "copy", runs_dir=tmp_path, **SIZES, lr=0.5, set={"task.S": 3})
    assert sb.train("lstm", "copy", runs_dir=tmp_path, **wrapped).folder == run.folder
    assert again.folder == plain.folder != run.folder
    assert sb.evaluate(run, T=cast(int, np.int64(9))).metrics == sb.evaluate(run, lengths=9)[9].metrics
    assert list(sb.evaluate(run, lengths=np.array([9, 8]), threads=np.int64(1))) == [8, 9]
    sizes: Any = {"samples": np.int64(1), "T": np.int64(6), "hidden": np.int64(4), "what": "jacobian"}
    assert sb.probe("lstm", task="copy", **sizes).verdict
    several: dict[str, Any] = {"seeds": np.int64(1), "workers": np.int64(1), "lengths": 9}
    board = sb.compare(["lstm"], "copy", runs_dir=tmp_path / "ranked", **several, **wrapped)
    assert board.board.runs and len(board.board.runs) == 1
    several = {"seeds": np.arange(1), "no_run": True}
    assert sb.compare(["lstm"], "copy", runs_dir=tmp_path / "ranked", **several, **SIZES).board.runs


def test_a_file_is_a_path_too(tmp_path: Path) -> None:
    np.savez(tmp_path / "seqs.npz", x=np.random.default_rng(0).normal(size=(40, 5, 1)), y=np.arange(40) % 2)
    sizes: dict[str, Any] = {"hidden": 4, "steps": 2, "batch_size": 2, "runs_dir": str(tmp_path / "runs")}
    run = sb.train("gru", tmp_path / "seqs.npz", **sizes)
    assert sb.train("gru", str(tmp_path / "seqs.npz"), **sizes).folder == run.folder
    longer = sb.train(resume=run, task=tmp_path / "seqs.npz", steps=3, runs_dir=tmp_path / "runs")
    assert longer.record.step == 3
    for tasks in (tmp_path / "seqs.npz", [tmp_path / "seqs.npz"]):
        assert sb.compare("gru", tasks, **sizes).board.runs


def test_wrong_options_are_refused(tmp_path: Path) -> None:
    for function, arguments, options, message in [
        (sb.train, ("lstn", "copy"), {}, "Did you mean lstm"),
        (sb.train, ("lstm",), {}, "task is missing"),
        (sb.train, ("lstm", "copy"), {"step": 3}, "step: unknown option. Did you mean steps"),
        (sb.train, ("lstm", "copy"), {"steps": 0}, "steps"),
        (sb.train, ("lstm", "copy"), {"lr": float("nan")}, "lr"),
        (sb.train, ("lstm", "copy"), {"lr": -1.0}, "lr"),
        (sb.train, ("lstm", "copy"), {"seed": -1}, "seed"),
        (sb.train, ("lstm", "copy"), {"engine": "fast"}, "engine"),
        (sb.train, ("lstm", "copy"), {"set": "model.rho=1"}, "set: must be a dict"),
        (sb.train, ("lstm", "copy"), {"probe": "evry=3"}, "evry"),
        (sb.evaluate, (tmp_path,), {}, "record.json"),
        (sb.evaluate, (tmp_path,), {"splitt": "test"}, "unknown"),
        (sb.load, (tmp_path,), {}, "record.json"),
        (sb.load, (None,), {}, "run: must be a path or a name, got None"),
        (sb.load, ("last",), {"runs_dir": None}, "runs_dir: must be"),
        (sb.evaluate, (3,), {}, "run: must be a path or a name, got 3"),
        (sb.evaluate, (tmp_path,), {"lengths": 0}, "lengths: must be"),
        (sb.evaluate, (tmp_path,), {"lengths": 1.5}, "lengths: must be"),
        (sb.evaluate, (tmp_path,), {"lengths": True}, "lengths: must be"),
        (sb.list_runs, (None,), {}, "folder: must be"),
        (sb.train, ("lstm", Path("nope.yaml")), {}, "nope.yaml: there is no such file"),
        (sb.train, ("lstm", 3), {}, "task: must be a name"),
        (sb.train, ("lstm", "copy"), {"T": np.float64(6.5)}, "T: must be a whole number"),
        (sb.train, ("lstm", "copy"), {"T": True}, "T: must be a whole number"),
        (sb.train, ("lstm", "copy"), {"T": np.arange(2)}, "T: must be a whole number"),
        (sb.train, ("lstm", "copy"), {"data_dir": 3}, "data_dir: must be"),
        (sb.train, (), {"resume": 3}, "resume: must be a path or a name, got 3"),
        (sb.compare, (["lstm"], 3), {}, "tasks: must be names"),
        (sb.compare, (["lstm"], ["copy"]), {"seeds": np.float64(1.5)}, "seeds: must be"),
        (sb.compare, (3, ["copy"]), {}, "models: must be"),
        (sb.list_runs, (tmp_path / "no",), {}, "no such folder"),
        (sb.compare, (["lstn"], ["copy"]), {}, "Did you mean lstm"),
        (sb.compare, ("smoke",), {}, r"smoke is a suite: compare\(suite='smoke'\)"),
        (sb.evaluate, (tmp_path,), {"length": 20}, "length: unknown. Options: T, lengths, split, data_dir"),
        (sb.compare, (["lstm"], ["copi"]), {}, "Did you mean copy"),
        (sb.compare, (["lstm"],), {"suite": "quik"}, "Did you mean quick"),
        (sb.compare, (["lstm"], ["copy"]), {"seeds": 0}, "seeds: must be"),
        (sb.compare, (["lstm"], ["copy"]), {"seed": 3}, "seed: unknown option. Did you mean"),
        (sb.compare, (["lstm"], ["copy"]), {"budget": "long"}, "budget: must be"),
        (sb.compare, (["lstm"], ["copy"]), {"workers": 0, "runs_dir": tmp_path}, "workers: must be"),
    ]:
        with pytest.raises(sb.UserError, match=message):
            function(*arguments, **options)
