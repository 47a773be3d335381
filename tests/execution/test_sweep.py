"""`sweep` as a user types it: trials are runs, the same seed the same trials, interrupted or not."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from stablebench.cli.app import app
from stablebench.execution.tuning.study import Plan, Study
from stablebench.execution.validate import check_file
from stablebench.runs.store import RunFolder
from stablebench.schema.recipe import Recipe
from stablebench.schema.strict import load
from stablebench.schema.sweep import Dimension, SweepSpace
from stablebench.specs.resolve import RunRequest, resolve

SPACE = """
summary: rate and batch of a small network
source: ours
space:
  optim.lr: {low: 1.0e-5, high: 1.0, log: true}
  train.batch_size: {low: 2, high: 8, integer: true}
"""
SMALL = ["--model", "rnn", "--task", "copy", "--T", "5", "--set", "task.S=2", "--hidden", "4"]
SMALL += ["--steps", "20", "--set", "train.eval_every=10", "--engine", "reference"]


@pytest.fixture
def without_optuna(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)


@pytest.fixture(autouse=True)
def _optuna(request: pytest.FixtureRequest) -> None:
    if "without_optuna" not in request.fixturenames:
        pytest.importorskip("optuna", reason="the extra `sweep` is not installed")


def arguments(tmp_path: Path, *more: str, space: str = SPACE) -> list[str]:
    (tmp_path / "space.yaml").write_text(space)
    runs = ["--runs-dir", str(tmp_path / "runs"), "--storage", str(tmp_path / "journal")]
    names = [part for pair in zip(SMALL[::2], SMALL[1::2], strict=True) if pair[0] not in more for part in pair]
    return ["sweep", *names, "--space", str(tmp_path / "space.yaml"), *runs, *more]


def sweep(tmp_path: Path, *more: str, space: str = SPACE) -> Result:
    return CliRunner().invoke(app, arguments(tmp_path, *more, space=space))


def told(result: Result) -> dict[str, Any]:
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def seen(document: dict[str, Any]) -> list[Any]:
    return [(t["values"], t["status"], t["value"], t["evaluations"]) for t in document["trials"]]


def test_trials_are_runs_pruning_happens_and_best_becomes_recipe(tmp_path: Path) -> None:
    """Trials are runs pruning happens and the best becomes a recipe."""
    document = told(sweep(tmp_path, "--trials", "6", "--startup", "2", "--json"))
    trials = document["trials"]
    assert [t["number"] for t in trials] == list(range(6))
    statuses = [t["status"] for t in trials]
    assert set(statuses) == {"finished", "pruned"} and statuses[:2] == ["finished"] * 2
    for trial in trials:
        record = RunFolder(tmp_path / "runs" / trial["run"]).read_record()
        assert (record.spec.optim.lr, record.spec.train.batch_size) == tuple(trial["values"].values())
        if trial["status"] == "pruned":
            assert (record.status, record.step) == ("interrupted", trial["evaluations"][-1]["step"])
        else:
            assert record.evaluations[-1].metrics["loss"] == trial["value"]
    best = trials[document["best"]]
    assert best["value"] == min(t["value"] for t in trials if t["status"] == "finished")

    path = Path(document["recipe"])
    assert check_file(path) == []
    recipe = load(path, Recipe)
    assert recipe.tuned_by == "us" and recipe.search is not None and recipe.result is not None
    assert f"6 trials (tpe sampler, seed 0, median pruner; {statuses.count('finished')} finished" in recipe.search
    assert "optim.lr 1e-05 to 1 (log); train.batch_size 2 to 8 (integer)" in recipe.search
    assert "low: 2\n" in path.read_text() and set(recipe.space) == {"optim.lr", "train.batch_size"}
    record = RunFolder(tmp_path / "runs" / best["run"]).read_record()
    assert record.result.test is not None
    assert f"validation loss {best['value']:.4g}, test loss {record.result.test['loss']:.4g}" in recipe.result
    again = RunRequest("rnn", "copy", T=5, settings={"task.S": 2}, options={"engine": "reference"}, recipe=path)
    assert resolve(again).spec.spec_hash() == record.spec_hash and "run with engine reference" in recipe.result


@pytest.mark.slow  # two sweeps of processes that import torch
def test_interrupted_sweep_has_trials_of_uninterrupted_one(tmp_path: Path) -> None:
    """An interrupted sweep has the trials of an uninterrupted one."""
    more = ["--trials", "4", "--startup", "1", "--sampler", "tpe", "--seed", "3", "--json"]
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    whole = told(sweep(tmp_path / "a", *more))
    command = [
        sys.executable,
        "-m",
        "stablebench",
        *arguments(tmp_path / "b", *more, "--set", "train.checkpoint_every=1"),
    ]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
    assert process.stderr is not None
    for line in process.stderr:  # a signal while the second trial runs
        if line.startswith("trial 1:"):
            time.sleep(1.0)
            process.send_signal(signal.SIGTERM)
            break
    process.communicate(timeout=60)
    assert process.returncode in (143, 0)
    assert seen(told(sweep(tmp_path / "b", *more, "--set", "train.checkpoint_every=1"))) == seen(whole)


@pytest.mark.slow
def test_a_killed_sweep_goes_on_with_the_trial_that_ran(tmp_path: Path) -> None:
    more = ["--trials", "2", "--pruner", "none", "--steps", "100000", "--quiet"]
    command = [sys.executable, "-m", "stablebench", *arguments(tmp_path, *more)]
    process = subprocess.Popen(command, start_new_session=True)
    deadline = time.monotonic() + 300
    while not list((tmp_path / "runs").glob("*/*/*/record.json")) and time.monotonic() < deadline:
        assert process.poll() is None
        time.sleep(0.1)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    with (tmp_path / "journal").open("ab") as journal:
        journal.write(b'{"torn')
    plan, trial = _plan_and_first_trial(tmp_path)
    with Study(tmp_path / "journal", plan) as study:
        assert [t.number for t in study.unfinished()] == [0]
        assert study.resume(0).values == trial


@pytest.mark.slow
def test_a_trial_whose_process_is_killed_is_begun_once_more(tmp_path: Path) -> None:
    more = ["--trials", "1", "--steps", "2000", "--set", "train.checkpoint_every=50"]
    command = [sys.executable, "-m", "stablebench", *arguments(tmp_path, *more, "--json")]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 300
    while not (saved := list((tmp_path / "runs").glob("*/*/*/checkpoints/step-*"))) and time.monotonic() < deadline:
        assert process.poll() is None
        time.sleep(0.05)
    holder = json.loads((saved[0].parents[1] / ".holder").read_text())
    os.kill(int(holder["pid"]), signal.SIGKILL)
    stdout, stderr = process.communicate(timeout=300)
    assert process.returncode == 0 and "killed by SIGKILL; restarting it" in stderr, stderr
    (trial,) = json.loads(stdout)["trials"]
    record = RunFolder(tmp_path / "runs" / trial["run"]).read_record()
    assert trial["status"] == "finished" and record.status == "finished" and record.resumed_at[0] >= 50


def _plan_and_first_trial(tmp_path: Path) -> tuple[Plan, dict[str, Any]]:
    record = RunFolder(next((tmp_path / "runs").glob("*/*/*/record.json")).parent).read_record()
    values = {"optim.lr": record.spec.optim.lr, "train.batch_size": record.spec.train.batch_size}
    space = load(tmp_path / "space.yaml", SweepSpace)
    settings = {"train.eval_every": 10, "task.S": 2}
    options = {"train.steps": 100_000, "model.hidden": 4, "engine": "reference"}
    base = resolve(RunRequest("rnn", "copy", T=5, options=options, settings=settings))
    return Plan(space, "loss", base.spec.spec_hash(), base.card.sha256(), pruner="none"), values


def plan(**changed: Any) -> Plan:
    space = SweepSpace(summary="s", source="ours", space={"optim.lr": Dimension(low=0.1, high=1)})
    return Plan(**{"space": space, "metric": "loss", "base": "b", "card": "c"} | changed)


def test_what_trial_n_tries_is_decided_by_seed_and_trials_before(tmp_path: Path) -> None:
    """What trial n tries is decided by the seed and the trials before."""

    def values(name: str, seed: int, sittings: int) -> list[dict[str, Any]]:
        found = []
        for _ in range(sittings):
            with Study(tmp_path / name, plan(seed=seed, startup=2)) as study:
                for _ in range(6 // sittings):
                    trial = study.ask()
                    found.append(trial.values)
                    study.report(trial.number, 1, (float(str(trial.values["optim.lr"])) - 0.4) ** 2)
                    study.tell(trial.number, "finished", (float(str(trial.values["optim.lr"])) - 0.4) ** 2)
        return found

    assert values("a", 0, 1) == values("b", 0, 6) != values("c", 1, 1)


def test_trial_worse_than_the_median_before_ends_early(tmp_path: Path) -> None:
    """A worse trial ends where the median of those before was better."""
    with Study(tmp_path / "journal", plan(startup=2)) as study:
        for value in (0.1, 0.2):
            number = study.ask().number
            assert not study.report(number, 10, value)
            study.tell(number, "finished", value)
        number = study.ask().number
        assert study.report(number, 10, 0.16)  # the median of 0.1 and 0.2 is 0.15, and loss is to be small
        assert study.tell(number, "pruned", None).value == 0.16
        assert not study.report(study.ask().number, 10, 0.14)
        best = study.best()
        assert best is not None and best.number == 0


def test_a_journal_holds_one_sweep_and_one_process_at_a_time(tmp_path: Path) -> None:
    from stablebench.errors import StablebenchError, UserError

    with Study(tmp_path / "journal", plan()), pytest.raises(StablebenchError, match="another process"):
        Study(tmp_path / "journal", plan()).__enter__()
    with pytest.raises(UserError, match="another seed; name another file"), Study(tmp_path / "journal", plan(seed=1)):
        pass
    for other in ('{"no": "journal"}', '{"op_code": 99, "worker_id": "a"}', "[1]", '{"op_code": 4, "worker_id": "a"}'):
        (tmp_path / "other").write_text(f"{other}\n")
        with pytest.raises(UserError, match="not a journal of a sweep"), Study(tmp_path / "other", plan()):
            pass


def test_a_grid_ends_by_itself_and_a_failed_trial_is_said(tmp_path: Path) -> None:
    grid = "summary: s\nsource: o\nsampler: grid\nspace: {model.rho: {choices: [1.0, 10.0]}}\n"
    result = sweep(tmp_path, "--model", "roarnn", "--quiet", space=grid)
    assert result.exit_code == 1, result.output  # rho must be at most the 9 steps
    lines = [line.split() for line in result.stdout.splitlines() if line.split()[0] in "01"]
    assert sorted(line[2] for line in lines) == ["failed", "finished"]


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ([], "--trials is missing"),
        (["--trials", "2", "--lr", "0.1"], "optim.lr: it is searched and also given (option)"),
        (["--trials", "2", "--sampler", "grid"], "must have `choices` or `points`"),
        (["--trials", "2", "-o", "space.yaml"], "this file exists; --force overwrites it"),
        (["--trials", "2", "--model", "rn"], "No model named 'rn'."),
        (["--trials", "2", "--task", "copi"], "No task named 'copi'."),
        (["--trials", "2", "--space", "nowhere.yaml"], "nowhere.yaml: cannot be read"),
        (["--trials", "2"], "needs optuna"),
    ],
)
@pytest.mark.usefixtures("without_optuna")  # what is missing is said last
def test_wrong_input_is_one_message_and_exit_code_2(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, more: list[str], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    result = sweep(tmp_path, *more)
    assert result.exit_code == 2 and message in result.stderr, result.output
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(("model", "task", "message"), [("rn", "copy", "model named 'rn'"), ("rnn", "copi", "copy?")])
def test_an_unknown_name_is_said_before_the_space_that_it_lacks(
    without_optuna: None, model: str, task: str, message: str
) -> None:
    result = CliRunner().invoke(app, ["sweep", "--model", model, "--task", task])
    assert result.exit_code == 2 and message in result.stderr, result.output


def test_a_run_that_the_store_has_is_not_run_again(tmp_path: Path) -> None:
    first = told(sweep(tmp_path, "--trials", "2", "--json"))
    times = {p: p.stat().st_mtime_ns for p in (tmp_path / "runs").glob("*/*/*/record.json")}
    (tmp_path / "journal").unlink()
    assert seen(told(sweep(tmp_path, "--trials", "2", "--json"))) == seen(first)
    assert {p: p.stat().st_mtime_ns for p in (tmp_path / "runs").glob("*/*/*/record.json")} == times


def test_a_dry_run_says_what_would_be_searched_and_what_it_takes(tmp_path: Path) -> None:
    document = told(sweep(tmp_path, "--trials", "7", "--workers", "2", "--dry-run", "--json"))
    assert (
        document["trials"] == 7
        and not document["resumes"]
        and set(document["plan"]["space"])
        == {
            "optim.lr",
            "train.batch_size",
        }
    )
    assert document["estimate"]["steps"] == 20 and document["estimate"]["run_s"] > 0
    text = sweep(tmp_path, "--trials", "7", "--workers", "2", "--dry-run").stdout
    assert "20 a trial, at most 140 in all" in text and "7, 2 at once; sampler tpe, pruner median" in text
    assert "optim.lr 1e-05 to 1 (log); train.batch_size 2 to 8 (integer)" in text
    assert [path.name for path in tmp_path.iterdir()] == ["space.yaml"]


def test_a_folder_is_no_journal(tmp_path: Path) -> None:
    places = ["--storage", str(tmp_path), "--runs-dir", str(tmp_path / "runs")]
    asked = ["--model", "rnn", "--task", "copy", "--T", "5", "--trials", "1", *places]
    result = CliRunner().invoke(app, ["sweep", *asked])
    assert result.exit_code == 2 and "journal is a file, and this is a folder" in result.output, result.output
