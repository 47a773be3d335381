"""`tune` as a user types it: the same trials for every model, on validation only, interrupted or not."""

import json
import math
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from stablebench import registry
from stablebench.cli.app import app
from stablebench.cli.ui.progress import CellProgress
from stablebench.data.task import Task
from stablebench.execution.suites import SuiteOverrides, runs_of, suite_of
from stablebench.execution.tuning.cells import TUNING_SEED, chosen, tuned_cells
from stablebench.execution.tuning.study import Study, Trial
from stablebench.execution.validate import check_file
from stablebench.leaderboard.origin import format_origin, recipe_origin
from stablebench.models import registry as model_registry
from stablebench.resources import tuned_dir
from stablebench.runs.progress import Silent
from stablebench.runs.store import RunFolder
from stablebench.schema.recipe import Recipe
from stablebench.schema.strict import load
from stablebench.specs.resolve import RunRequest, resolve
from stablebench.specs.search_space import ANY_TASK, find_space
from stablebench.training.failures import RunFailed
from stablebench.training.run import ExecutionOptions, train

optuna = pytest.importorskip("optuna", reason="the extra `sweep` is not installed")

SUITE = """
summary: two models on a tiny task
tasks:
  - task: copy
    T: 5
    overrides: {task.S: 2, train.batch_size: 4, train.steps: 20, train.eval_every: 5}
models: [rnn, exprnn]
seeds: [0, 1]
equal: [updates, batch, units]
overrides: {model.hidden: 4}
"""

OWN_MODEL = '''
import torch
from stablebench.models.base import RecurrentModel


class Leaky(RecurrentModel):
    """h_t = tanh(V x_t + h_(t-1) / 2)."""

    def __init__(self, in_features: int, hidden: int) -> None:
        super().__init__(in_features, hidden)
        self.V = torch.nn.Linear(in_features, hidden)

    def input_projection(self, x):
        return self.V(x)

    def step(self, projected, state, recurrent_weights):
        return (torch.tanh(projected + state[0] / 2),)
'''


def suite_file(folder: Path, text: str = SUITE) -> Path:
    path = folder / "tiny.yaml"
    path.write_text(text)
    return path


def arguments(folder: Path, *more: str, text: str = SUITE) -> list[str]:
    places = ["--runs-dir", str(folder / "runs"), "-o", str(folder / "tuned")]
    return ["tune", str(suite_file(folder, text)), *places, "-q", *more]


def tune(folder: Path, *more: str, text: str = SUITE) -> Result:
    return CliRunner().invoke(app, arguments(folder, *more, text=text))


def trials_of(folder: Path) -> dict[str, Any]:
    """Return the trials by model, without what a clock decides."""
    told = {path.name: json.loads(path.read_text()) for path in sorted(folder.glob("tuned/*/*.trials.json"))}
    for document in told.values():
        for trial in document["trials"]:
            del trial["seconds"]
    return told


@pytest.fixture(scope="module")
def tuned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder in which two models were tuned with two trials each."""
    folder = tmp_path_factory.mktemp("tuned")
    result = tune(folder, "--trials", "2")
    assert result.exit_code == 0, result.output
    return folder


def test_models_have_equal_trials_and_none_saw_the_test_split(tuned: Path) -> None:
    told = trials_of(tuned)
    assert {name: len(document["trials"]) for name, document in told.items()} == {
        "exprnn.trials.json": 2,
        "rnn.trials.json": 2,
    }
    records = [RunFolder(path.parent).read_record() for path in tuned.glob("runs/tuning/copy/*/*/record.json")]
    assert len(records) == 4
    assert all(record.result.test is None and record.spec.seed == TUNING_SEED for record in records)
    draws = [[trial["values"]["optim.lr"] for trial in document["trials"]] for document in told.values()]
    assert draws[0] == draws[1]  # equal ranges, equal draws


def test_a_run_that_is_not_tested_asks_for_no_test_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = Task.pieces

    def pieces(self: Task, split: Any) -> Any:
        assert split != "test"
        return whole(self, split)

    monkeypatch.setattr(Task, "pieces", pieces)
    settings = {"task.S": 2, "train.steps": 4, "train.eval_every": 2, "model.hidden": 4}
    run = resolve(RunRequest("rnn", "copy", T=5, settings=settings, options={"engine": "reference"}))
    outcome = train(run, ExecutionOptions(tmp_path, test=False), Silent())
    assert outcome.record.status == "finished" and outcome.record.result.test is None
    with pytest.raises(RunFailed):
        train(run.seeded(1), ExecutionOptions(tmp_path), Silent())


def test_the_recipe_is_valid_and_gives_its_best_trial(tuned: Path) -> None:
    for model in ("rnn", "exprnn"):
        path = tuned / "tuned" / "copy-T5" / f"{model}.yaml"
        assert check_file(path) == []
        recipe = load(path, Recipe)
        assert (recipe.trials, recipe.tuned_by) == (2, "us") and "test" not in (recipe.result or "test")
        told = trials_of(tuned)[f"{model}.trials.json"]
        best = min((t for t in told["trials"] if t["status"] == "finished"), key=lambda t: t["validation"])
        assert told["chosen"] == best["number"]
        name, suite = suite_of(str(tuned / "tiny.yaml"), SuiteOverrides(models=[model], recipes=tuned / "tuned"))
        runs = runs_of(suite, SuiteOverrides(recipes=tuned / "tuned"))
        trial = next(
            record
            for path in tuned.glob(f"runs/tuning/copy/{model}/*/record.json")
            if (record := RunFolder(path.parent).read_record()).spec.optim.lr == best["values"]["optim.lr"]
        )
        assert {run.spec.spec_hash() for run in runs} == {trial.spec_hash}
        assert [run.spec.seed for run in runs] == [0, 1] and name.endswith("tiny.yaml")


def test_of_equal_trials_the_first_at_the_target_is_chosen(tuned: Path) -> None:
    _, suite = suite_of(str(tuned / "tiny.yaml"), SuiteOverrides(models=["rnn"]))
    (cell,) = tuned_cells(suite, SuiteOverrides(), tuned / "tuned", tuned / "runs" / "tuning")
    record = RunFolder(next(tuned.glob("runs/tuning/copy/rnn/*"))).read_record()

    def chosen_of(*rows: tuple[float, int | None]) -> int:
        trials = [Trial(n, {}, "finished", value) for n, (value, _) in enumerate(rows)]
        held = [record.result.model_copy(update={"steps_to_target": steps}) for _, steps in rows]
        return chosen(
            cell, trials, {n: record.model_copy(update={"result": each}) for n, each in enumerate(held)}
        ).number

    assert chosen_of((0.5, 10), (0.1, 20), (0.1, 15), (0.1, None)) == 2
    assert chosen_of((0.5, None), (0.5, None)) == 0


def test_trials_are_laid_over_the_card_not_over_a_recipe(tmp_path: Path) -> None:
    _, suite = suite_of("core", SuiteOverrides(models=["dizzy"], tasks=["copy/t100"]))
    (cell,) = tuned_cells(suite, SuiteOverrides(), tmp_path, tmp_path)
    recipe = registry.recipe("copy", "dizzy")
    assert recipe is not None and recipe.params["silent"] == [0] and recipe.optim["warmup"] == 30
    assert cell.base.spec.model.params["silent"] is None and cell.base.spec.optim.warmup == 0


def test_a_leaderboard_of_tuned_recipes_says_so(tuned: Path) -> None:
    places = ["--recipes", str(tuned / "tuned"), "--runs-dir", str(tuned / "runs")]
    result = CliRunner().invoke(app, ["compare", str(tuned / "tiny.yaml"), *places, "--columns", "all", "-q"])
    assert result.exit_code == 0, result.output
    assert result.output.count("tuned (2 trials)") == 2
    record = RunFolder(next(tuned.glob("runs/copy/rnn/*-s0"))).read_record()
    origin = recipe_origin(record)
    assert (origin.source, origin.trials) == ("tuned", 2) and format_origin(origin).startswith("tuned (2 trials)")


def test_what_has_no_recipe_is_left_out_and_said(tuned: Path, tmp_path: Path) -> None:
    (tmp_path / "copy-T5").mkdir()
    for name in ("rnn.yaml", "rnn.trials.json"):
        shutil.copy(tuned / "tuned" / "copy-T5" / name, tmp_path / "copy-T5" / name)
    command = ["compare", str(tuned / "tiny.yaml"), "--dry-run", "--recipes"]
    result = CliRunner().invoke(app, [*command, str(tmp_path)])
    assert "no recipe for 1 of 2 models and tasks" in result.output and "exprnn" not in result.stdout
    result = CliRunner().invoke(app, [*command, str(tmp_path / "none")])
    assert result.exit_code == 2 and "no suite of this name was tuned (core)" in result.output
    (tmp_path / "none").mkdir()
    result = CliRunner().invoke(app, [*command, str(tmp_path / "none")])
    assert result.exit_code == 2 and "`tune` writes them" in result.output
    result = CliRunner().invoke(app, [*command, str(tmp_path), "--T", "7"])
    assert result.exit_code == 2 and "--T and --recipes" in result.output


def test_again_changes_nothing_and_overwrites_nothing(tuned: Path) -> None:
    before = {path: path.read_bytes() for path in tuned.glob("tuned/*/*")}
    assert tune(tuned, "--trials", "2").exit_code == 0
    assert {path: path.read_bytes() for path in tuned.glob("tuned/*/*")} == before
    result = tune(tuned, "--trials", "1")
    assert result.exit_code == 2 and "it is the best of 2 trials, and 1 are asked for" in result.output
    assert {path: path.read_bytes() for path in tuned.glob("tuned/*/*")} == before


def test_recipes_alone_are_not_searched_again(tuned: Path, tmp_path: Path) -> None:
    """Where recipes were copied or committed alone; unless another search is asked for, or `--force` is given."""
    shutil.copytree(tuned / "tuned", tmp_path / "tuned")
    assert tune(tmp_path, "--trials", "2").exit_code == 0
    assert not (tmp_path / "runs").exists() or not list((tmp_path / "runs").glob("**/record.json"))
    assert trials_of(tmp_path) == trials_of(tuned)
    wider = SUITE.replace("train.steps: 20", "train.steps: 25")
    assert wider != SUITE
    other = tune(tmp_path, "--trials", "2", text=wider)
    assert other.exit_code == 2 and "it is of another search: updates 20, here 25." in other.output
    assert not list(tmp_path.glob("runs/**/record.json")) and trials_of(tmp_path) == trials_of(tuned)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("model.hidden: 4", "model.hidden: 5", "units 4, here 5"),
        ("train.batch_size: 4", "train.batch_size: 5", "batch 4, here 5"),
        ("task.S: 2", "task.S: 3", "other values of the task, the model or the optimiser"),
        ("model.hidden: 4}", "model.hidden: 4, optim.weight_decay: 0.1}", "other values of the task, the model or"),
    ],
)
def test_recipes_of_another_search_are_not_taken(tuned: Path, tmp_path: Path, old: str, new: str, said: str) -> None:
    shutil.copytree(tuned / "tuned", tmp_path / "tuned")
    before = {path: path.read_bytes() for path in tmp_path.glob("tuned/*/*")}
    for more in ((), ("--no-run",)):
        result = tune(tmp_path, "--trials", "2", *more, text=SUITE.replace(old, new))
        assert result.exit_code == 2 and said in result.output, result.output
    assert not list(tmp_path.glob("runs/**/record.json"))
    assert {path: path.read_bytes() for path in tmp_path.glob("tuned/*/*")} == before


def test_files_of_earlier_versions_have_no_hash_and_are_compared(tuned: Path, tmp_path: Path) -> None:
    shutil.copytree(tuned / "tuned", tmp_path / "tuned")
    for path in tmp_path.glob("tuned/*/*.trials.json"):
        document = json.loads(path.read_text())
        del document["base"], document["task_params"]
        path.write_text(json.dumps(document))
    assert tune(tmp_path, "--trials", "2").exit_code == 0 and not list(tmp_path.glob("runs/**/record.json"))
    wider = tune(tmp_path, "--trials", "2", text=SUITE.replace("hidden: 4", "hidden: 5"))
    assert wider.exit_code == 2 and "units 4, here 5" in wider.output


def test_files_that_are_not_of_tune_are_refused_first(tuned: Path, tmp_path: Path) -> None:
    """Before any trial runs, and by whatever reads recipes."""
    shutil.copytree(tuned / "tuned", tmp_path / "tuned")
    recipe, trials = (tmp_path / "tuned" / "copy-T5" / f"rnn{end}" for end in (".yaml", ".trials.json"))
    good = recipe.read_bytes(), trials.read_bytes()

    def refused(said: str) -> None:
        for command in (arguments(tmp_path, "--trials", "2"), compare_arguments(tmp_path)):
            result = CliRunner().invoke(app, command)
            assert result.exit_code == 2 and said in result.output, (command, result.output)
        assert not list(tmp_path.glob("runs/**/record.json"))

    trials.write_bytes(b"\xff\xfe")
    refused("not a file of `tune`")
    trials.write_text('{"trials": []}')
    refused("It is not a file of `tune`")
    trials.unlink()
    refused("rnn.trials.json")
    trials.write_bytes(good[1])
    recipe.write_bytes(b"\xff\xfe")
    refused("rnn.yaml")
    recipe.write_bytes(good[0].replace(b"model: rnn", b"model: gru"))
    refused("for the model gru, not rnn")
    recipe.write_bytes(good[0].replace(b"trials: 2", b"trials: 3"))
    refused("it counts 3 trials, and rnn.trials.json has 2")


@pytest.mark.parametrize(
    ("end", "change", "said"),
    [
        (".trials.json", lambda text: text.replace('"model": "rnn"', '"model": "exprnn"'), "the trials of exprnn, not"),
        (".trials.json", lambda text: text.replace('"copy-T5"', '"copy-T6"'), "the trials of copy-T6, not of copy-T5"),
        (".trials.json", lambda text: text.replace('"chosen": ', '"chosen": 7'), "its space is not what the trial"),
        (".yaml", lambda text: re.sub(r"\n  lr: .*", r"\n  lr: 0.5", text), "optim.lr 0.5; the trial that"),
        (".yaml", lambda text: text.replace("name: adam", "name: adam\n  clip_norm: 3.0"), "optim.clip_norm 3.0; the"),
    ],
)
def test_a_recipe_is_its_chosen_trial(
    tuned: Path, tmp_path: Path, end: str, change: Callable[[str], str], said: str
) -> None:
    shutil.copytree(tuned / "tuned", tmp_path / "tuned")
    path = tmp_path / "tuned" / "copy-T5" / f"rnn{end}"
    text = path.read_text()
    path.write_text(change(text))
    assert path.read_text() != text
    for command in (arguments(tmp_path, "--trials", "2"), compare_arguments(tmp_path)):
        result = CliRunner().invoke(app, command)
        assert result.exit_code == 2 and said in result.output, (command, result.output)
    assert not list(tmp_path.glob("runs/**/record.json"))


def test_files_of_earlier_versions_get_what_they_lack(tuned: Path, tmp_path: Path) -> None:
    for name in ("tuned", "runs"):
        shutil.copytree(tuned / name, tmp_path / name)
    before = {path: path.read_bytes() for path in tmp_path.glob("tuned/*/*")}
    for path in tmp_path.glob("tuned/*/*.trials.json"):
        first, rest = path.read_text().split("\n", 1)
        document = json.loads(first + "]}")
        path.write_text(json.dumps(document | {"base": None, "task_params": None})[:-2] + "\n" + rest)
    assert tune(tmp_path, "--trials", "2").exit_code == 0
    assert {path: path.read_bytes() for path in tmp_path.glob("tuned/*/*")} == before


def compare_arguments(folder: Path, *more: str) -> list[str]:
    places = ["--recipes", str(folder / "tuned"), "--runs-dir", str(folder / "runs")]
    return ["compare", str(suite_file(folder)), *places, "--quiet", *more]


@pytest.mark.parametrize(
    ("options", "mark", "departures"),
    [
        ([], "", []),
        (["--steps", "25"], "*", ["train.steps"]),
        (["--set", "task.S=3"], "*", ["task.S"]),
        (["--batch-size", "5", "--hidden", "5"], "*", ["model.hidden", "train.batch_size"]),
        (["--set", "optim.weight_decay=0.1"], "*", ["optim.weight_decay"]),
        (["--models", "rnn[activation=relu]"], "*", ["model.activation"]),
        (["--models", "rnn[activation=tanh]"], "", []),  # the value that the search had
    ],
)
def test_what_was_not_tuned_as_it_runs_is_marked(
    tuned: Path, tmp_path: Path, options: list[str], mark: str, departures: list[str]
) -> None:
    shutil.copytree(tuned / "tuned", tmp_path / "tuned")
    command = compare_arguments(tmp_path, "--seeds", "1", "--json", *options)
    result = CliRunner().invoke(app, [*command, *([] if "--models" in options else ["--models", "rnn"])])
    assert result.exit_code == 0, result.output
    (row,) = json.loads(result.stdout)["tables"][0]["rows"]
    assert (row["recipe"]["source"], row["recipe"]["trials"]) == ("tuned", 2)
    assert (row["marks"], row["recipe"]["departures"]) == (mark, departures)


def test_more_trials_replace_the_best_of_fewer(tuned: Path, tmp_path: Path) -> None:
    for name in ("tuned", "runs"):
        shutil.copytree(tuned / name, tmp_path / name)
    result = tune(tmp_path, "--trials", "3")
    assert result.exit_code == 0, result.output
    assert all(len(document["trials"]) == 3 for document in trials_of(tmp_path).values())
    shutil.copytree(tuned / "tuned", tmp_path / "again")
    recipe = tmp_path / "again" / "copy-T5" / "rnn.yaml"
    recipe.write_text(recipe.read_text() + "# mine\n")
    mine = recipe.read_bytes()
    kept = tune(tmp_path, "--trials", "3", "-o", str(tmp_path / "again"))
    assert kept.exit_code == 1 and "--force overwrites it" in kept.output and recipe.read_bytes() == mine


def test_a_journal_whose_plan_is_none_is_refused(tuned: Path, tmp_path: Path) -> None:
    shutil.copytree(tuned / "runs", tmp_path / "runs")
    for journal in tmp_path.glob("runs/tuning/journals/*.journal"):
        line = {"op_code": 2, "worker_id": "x", "study_id": 0, "user_attr": {"plan": 5}}
        journal.write_text(f"{journal.read_text()}{json.dumps(line)}\n")
    result = tune(tmp_path, "--trials", "3")
    assert result.exit_code == 2 and "not a journal of a sweep (its plan is 5)" in result.output, result.output


def test_a_file_where_recipes_go_is_refused_first(tmp_path: Path) -> None:
    (tmp_path / "tuned").write_text("mine")
    result = tune(tmp_path, "--trials", "2")
    assert result.exit_code == 2 and "tuned is a file" in result.output
    assert not (tmp_path / "runs").exists() and (tmp_path / "tuned").read_text() == "mine"


def test_a_search_of_another_process_is_waited_for(tuned: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It comes last; once that process has ended, all searches have, and the exit code says so."""
    _, suite = suite_of(str(tuned / "tiny.yaml"), SuiteOverrides())
    cell = tuned_cells(suite, SuiteOverrides(), tuned / "tuned", tuned / "runs" / "tuning")[0]
    begun, noted = Event(), Event()
    notes: list[str] = []

    def hold() -> None:
        with Study(cell.journal, cell.plan):
            begun.set()
            assert noted.wait(60)
            time.sleep(0.3)  # until after this process has come back to it

    def note(self: CellProgress, text: str) -> None:
        notes.append(text)
        noted.set()

    monkeypatch.setattr(CellProgress, "note", note)
    with ThreadPoolExecutor(1) as pool:
        other = pool.submit(hold)
        assert begun.wait(60)
        result = tune(tuned, "--trials", "2")
        other.result()
    assert result.exit_code == 0, result.output
    assert notes[0] == "rnn on copy T 5: another process is searching; it is waited for at the end"
    assert len(notes) == 3 and notes[-1].startswith("[2/2] rnn on copy T 5: 2 trials")


@pytest.mark.slow  # processes that import torch
def test_killed_and_continued_it_has_the_same_trials(tmp_path: Path, tuned: Path) -> None:
    command = [sys.executable, "-m", "stablebench", *arguments(tmp_path, "--trials", "2")]
    process = subprocess.Popen(command, start_new_session=True)
    deadline = time.monotonic() + 300
    while not list(tmp_path.glob("runs/tuning/copy/*/*/record.json")) and time.monotonic() < deadline:
        assert process.poll() is None
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert not trials_of(tmp_path)
    result = tune(tmp_path, "--trials", "2")
    assert result.exit_code == 0, result.output
    assert trials_of(tmp_path) == trials_of(tuned)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ("models: [rnn, mlp, highway]", "no search space of highway, mlp"),
        ("seeds: [0, 20757]", "the suite scores seed 20757"),
        ("equal: [units]", "must have `equal: [updates, ...]`"),
    ],
)
def test_a_suite_that_cannot_be_tuned_alike_is_refused(tmp_path: Path, changed: str, message: str) -> None:
    key = changed.partition(":")[0]
    text = "\n".join(changed if line.startswith(f"{key}:") else line for line in SUITE.splitlines())
    text = (
        text.replace("task: copy\n    T: 5", "task: double_moon").replace("task.S: 2, ", "") if "mlp" in text else text
    )
    result = tune(tmp_path, text=text)
    assert result.exit_code == 2 and message in result.output, result.output


def test_a_model_of_ones_own_is_tuned_from_a_space_of_ones_own(tmp_path: Path) -> None:
    cell = tmp_path / "mine.py"
    cell.write_text(OWN_MODEL)
    text = SUITE.replace("models: [rnn, exprnn]", f"models: [{cell}:Leaky]")
    result = tune(tmp_path, "--no-run", text=text)
    assert result.exit_code == 2 and "no search space of" in result.output and "--spaces DIR" in result.output
    result = tune(tmp_path, "--spaces", str(tmp_path / "none"), text=text)
    assert result.exit_code == 2 and "there is no such folder" in result.output
    (tmp_path / "spaces").mkdir()
    space = "summary: rate\nsource: ours\nspace: {optim.lr: {low: 1.0e-4, high: 3.0e-2, log: true}}\n"
    (tmp_path / "spaces" / "Leaky.yaml").write_text(space)
    result = tune(tmp_path, "--trials", "1", "--spaces", str(tmp_path / "spaces"), text=text)
    assert result.exit_code == 0, result.output
    assert load(tmp_path / "tuned" / "copy-T5" / "Leaky.yaml", Recipe).trials == 1
    places = ["--recipes", str(tmp_path / "tuned"), "--runs-dir", str(tmp_path / "runs")]
    result = CliRunner().invoke(app, ["compare", str(tmp_path / "tiny.yaml"), *places, "--columns", "all", "-q"])
    assert result.exit_code == 0 and "tuned (1 trial)" in result.output, result.output


def test_the_space_for_any_task_is_what_sweep_takes_last() -> None:
    assert find_space(None, "lstm", "adding")[0] == "lstm/any_task"
    assert find_space(None, "cornn", "adding")[0] == "cornn/adding"


def test_dry_run_says_how_many_trials_and_hours(tmp_path: Path) -> None:
    result = tune(tmp_path, "--trials", "3", "--dry-run", "--json")
    assert result.exit_code == 0, result.output
    told = json.loads(result.stdout)
    assert (told["searches"], told["trials"], told["runs"]) == (2, 6, 10)
    assert told["tuning_core_hours"] >= 0 and not list(tmp_path.glob("runs/*"))


def test_every_recurrent_model_has_a_space_of_its_own(tmp_path: Path) -> None:
    models = model_registry.model_names("recurrent")
    for model in models:
        space = registry.sweep(f"{model}/{ANY_TASK}")
        rate = space.space["optim.lr"]
        assert space.model == model and space.task is None and space.sampler == "random" and rate.log
        assert next(iter(space.space)) == "optim.lr" and None in (space.space["optim.clip_norm"].choices or [])
    rates = {model: registry.sweep(f"{model}/{ANY_TASK}").space["optim.lr"] for model in models}
    usual = rates["lstm"]
    assert {model for model, rate in rates.items() if rate != usual} == {"roarnn", "eyernn"}


def test_core_has_the_recurrent_models_of_version_0_1() -> None:
    """Models that came later are not in it, so that what it ranked and tuned stays comparable."""
    core = registry.suite("core").models
    assert len(core) == 46 and set(core) <= set(model_registry.model_names("recurrent"))


def test_eight_rates_lie_one_in_each_eighth_of_their_range(tmp_path: Path) -> None:
    _, suite = suite_of("core", SuiteOverrides(models=["rnn"], tasks=["copy/t100"]))
    (cell,) = tuned_cells(suite, SuiteOverrides(), tmp_path, tmp_path)
    rate = cell.plan.space.space["optim.lr"]
    assert rate.low is not None and rate.high is not None
    with Study(tmp_path / "journal", cell.plan) as study:
        drawn = [float(str(study.ask().values["optim.lr"])) for _ in range(8)]
    eighths = [int(8 * math.log(value / rate.low) / math.log(rate.high / rate.low)) for value in drawn]
    assert sorted(eighths) == list(range(8))


def test_the_table_has_the_expected_best_of_so_many_trials(tuned: Path) -> None:
    result = tune(tuned, "--no-run", "--json")
    assert result.exit_code == 0, result.output
    table = json.loads(result.stdout)
    assert table["searches"] == len(table["ended"]) == 2
    for each, document in zip(table["ended"], reversed(trials_of(tuned).values()), strict=True):
        values = [trial["validation"] for trial in document["trials"]]
        assert each["best of 1"] == pytest.approx(sum(values) / 2) and each["best of 2"] == min(values)
        assert (each["trials"], each["finished"], each["metric"]) == (2, 2, "loss")


def test_a_folder_without_recipes_has_no_search_yet(tmp_path: Path) -> None:
    result = tune(tmp_path, "--no-run")
    assert result.exit_code == 0 and "0 of 2 searches have ended" in result.output


COMMITTED = sorted((tuned_dir() / "core").glob("*/*.yaml"))


@pytest.mark.parametrize("path", COMMITTED, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_a_committed_recipe_had_the_trials_of_all_others(path: Path) -> None:
    assert check_file(path) == []
    facts = json.loads(path.with_suffix(".trials.json").read_text())
    recipe = load(path, Recipe)
    assert recipe.trials == len(facts["trials"]) == 8 and (facts["seed"], facts["model"]) == (TUNING_SEED, recipe.model)
    rates = [trial["values"]["optim.lr"] for trial in facts["trials"]]
    lstm = json.loads((path.parents[1] / "first_recall-t50" / "lstm.trials.json").read_text())["trials"]
    usual = recipe.model not in ("roarnn", "eyernn")
    assert (rates == [trial["values"]["optim.lr"] for trial in lstm]) == usual


def test_committed_recipes_are_there_by_name(tmp_path: Path) -> None:
    command = ["compare", "core", "--recipes", "core", "--dry-run", "--models", "lstm", "--tasks", "first_recall/t50"]
    result = CliRunner().invoke(app, [*command, "--runs-dir", str(tmp_path), "--json"])
    assert result.exit_code == 0 and json.loads(result.stdout)[0]["updates"] == 600, result.output
