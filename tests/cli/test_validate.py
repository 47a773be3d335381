"""`validate`: all problems of all files at once, beyond what a schema sees."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from stablebench.cli.app import app
from stablebench.errors import UserError
from stablebench.execution.validate import check_file, files_in, kind_of
from stablebench.resources import data_root, tasks_dir

RECIPE = """\
task: copy
model: roarnn
source: a test
tuned_by: us
search: none
hidden: 16
params: {rho: 0.5}
optim: {lr: 0.01}
train: {steps: 10}
"""
PUBLISHED = "{key: k, model: m, metric: loss, statistic: mean, value: 1, source: s, where: w, variant: t401}"
SUITE = """\
summary: a test
tasks:
  - {task: copy/t100, overrides: {train.steps: 5}}
models: [rnn]
seeds: [0]
"""


def validate(*paths: Path | str) -> Result:
    return CliRunner().invoke(app, ["validate", *map(str, paths)])


def recipe(folder: Path, text: str, task: str = "copy", model: str = "roarnn") -> Path:
    path = folder / "recipes" / task / f"{model}.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def suite(folder: Path, text: str) -> Path:
    path = folder / "suites" / "mine.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def card(folder: Path, change: tuple[str, str], name: str = "copy") -> Path:
    text = (tasks_dir() / "copy.yaml").read_text()
    assert change[0] in text
    path = folder / "tasks" / f"{name}.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text.replace(*change, 1))
    return path


def test_what_is_shipped_is_counted() -> None:
    result = validate(tasks_dir(), data_root() / "configs")
    assert result.exit_code == 0, result.stderr
    assert result.stdout.endswith("files, no problems.\n")


def test_the_small_files_of_these_tests_hold(tmp_path: Path) -> None:
    assert check_file(recipe(tmp_path, RECIPE)) == []
    assert check_file(suite(tmp_path, SUITE)) == []
    assert check_file(card(tmp_path, ("version: 1", "version: 2"))) == []


def test_all_problems_of_all_files_come_at_once(tmp_path: Path) -> None:
    first = recipe(tmp_path, RECIPE.replace("rho: 0.5", "rho: -1, roh: 2").replace("lr: 0.01", "lr: fast"))
    second = suite(tmp_path, SUITE.replace("rnn", "rnnn").replace("copy/t100", "copi"))
    result = validate(tmp_path)
    assert result.exit_code == 2
    assert result.stdout == ""
    lines = result.stderr.splitlines()
    assert lines[-1] == "5 problems in 2 of 2 files."
    assert [line.partition(": ")[0] for line in lines[:-1]] == [
        f"{first}:7",
        f"{first}:7",
        f"{first}:8",
        f"{second}:3",
        f"{second}:4",
    ]


@pytest.mark.parametrize(
    ("change", "line", "message"),
    [
        (("model: roarnn", "model: rnn"), 2, "model: must be the file's name, 'roarnn', got 'rnn'."),
        (("task: copy", "task: adding"), 1, "task: must be the folder's name, 'copy', got 'adding'."),
        (("rho: 0.5", "roh: 0.5"), 7, "params.roh: unknown key. Did you mean rho? Known keys: "),
        (("rho: 0.5", "rho: 0"), 7, "params.rho: must be > 0, got 0"),
        (("lr: 0.01", "lr: -1"), 8, "optim.lr: must be > 0, got -1"),
        (("lr: 0.01", "rl: 0.01"), 8, "optim.rl: unknown key."),
        (("lr: 0.01", "name: adm"), 8, "Did you mean adam?"),
        (("lr: 0.01", "schedule: {at: [5], unit: epochs, factor: 0.1}"), 8, "has no epochs; give `unit: steps`"),
        (("steps: 10", "epochs: 10"), 9, "train.epochs: the task copy draws new examples for every update"),
        (("steps: 10", "steps: 1, epochs: 1"), 9, "`steps` and `epochs` must not both be given"),
        (("hidden: 16", "hidden: 16\nreproduces: nothing"), 7, "must be the key of a published number"),
        (("hidden: 16", "hidden: 16\nreproduces: roarnn_roarnn_fig2_t40"), 7, "Did you mean roarnn_roarnn_fig2_t400?"),
        (("hidden: 16", "hidden: 16\nwhen: {variant: t401}"), 7, "Did you mean t400? Its variants: t100"),
        (("tuned_by: us", "tuned_by: them"), 4, "tuned_by: must be 'paper' or 'us', got 'them'"),
        (("hidden: 16", "hiden: 16"), 6, "unknown key. Did you mean hidden?"),
    ],
)
def test_a_recipes_problem_is_named(change: tuple[str, str], line: int, message: str, tmp_path: Path) -> None:
    assert change[0] in RECIPE
    path = recipe(tmp_path, RECIPE.replace(*change))
    found = [problem for problem in check_file(path) if message in problem]
    assert found, check_file(path)
    assert found[0].startswith(f"{path}:{line}: ")


def test_a_recipes_variants_are_checked_as_they_come_out(tmp_path: Path) -> None:
    path = recipe(
        tmp_path,
        RECIPE
        + "variants:\n"
        + "  - {when: {length: 200}, params: {rho: -3}}\n"
        + "  - {when: {length: 400}, optim: {momentun: 0.9}}\n"
        + "  - {when: {variant: t99}}\n"
        + "  - {when: {length: 200}}\n",
    )
    found = check_file(path)
    assert len(found) == 4, found
    assert f"{path}:11: variants.0.params.rho: must be > 0" in found[0]
    assert f"{path}:12: variants.1.optim.momentun: unknown key. Did you mean momentum?" in found[1]
    assert f"{path}:13: variants.2.when.variant: the task copy has no variant 't99'." in found[2]
    assert f"{path}:14: variants.3.when: is the same as that of variants.0, which comes first." in found[3]


def test_a_recipe_for_what_does_not_exist(tmp_path: Path) -> None:
    text = RECIPE.replace("task: copy", "task: copi").replace("model: roarnn", "model: roarn")
    found = check_file(recipe(tmp_path, text, "copi", "roarn"))
    assert "No task named 'copi'. Did you mean copy?" in found[0]
    assert "No model named 'roarn'. Did you mean roarnn?" in found[1]


@pytest.mark.parametrize(
    ("change", "line", "message"),
    [
        (("task: copy/t100", "task: copy/t101"), 3, "tasks.0.task: the task copy has no variant 't101'."),
        (("train.steps: 5", "trian.steps: 5"), 3, "Did you mean train?"),
        (("train.steps: 5", "steps: 5"), 3, "tasks.0.overrides.steps: must be one of task.NAME, model.NAME"),
        (("train.steps: 5", "train.steps: 0"), 3, "rnn on copy/t100: train.steps: must be >"),
        (("train.steps: 5", "train.stepz: 5"), 3, "rnn on copy/t100: train.stepz: unknown key"),
        (("train.steps: 5", "model.nothing: 5"), 3, "nothing: unknown key"),
        (("models: [rnn]", "models: [rnn, lstmm]"), 4, "models.1: No model named 'lstmm'. Did you mean lstm?"),
        (("models: [rnn]", "models: []"), 4, "models: "),
        (("seeds: [0]", "seeds: [0, 0]"), 5, "seeds: a seed stands twice."),
        (("seeds: [0]", "seeds: [-1]"), 5, "seeds.0: "),
        (("seeds: [0]", "seeds: [0]\noverrides: {device: cpu}"), 6, "overrides.device: must be one of task.NAME"),
        (
            ("seeds: [0]", "seeds: [0]\nshort_overrides: {train.steps: 0}"),
            6,
            "short_overrides: rnn on copy/t100: train.steps: must",
        ),
        (
            ("seeds: [0]", "seeds: [0]\nshort_overrides: {trian.steps: 5}"),
            6,
            "short_overrides.trian.steps: must be one of",
        ),
        (
            (
                "seeds: [0]",
                "seeds: [0]\nexpected: [{statement: x, task: copy/t100, model: rnn, reaches: 1, where: {hidden: 2}}]",
            ),
            6,
            "expected.0.where.hidden: must be one of",
        ),
        (("seeds: [0]", "seeds: [0]\nmodel_overrides: {gru: {train.steps: 1}}"), 1, "`model_overrides` names models"),
        (("{task: copy/t100, ", "{task: copy/t100, models: [rmn], "), 3, "tasks.0.models.0: No model named 'rmn'"),
        (("{task: copy/t100, ", "{task: copy/t100, T: 7, "), 3, "give one of the two"),
        (("{task: copy/t100, ", "{task: digits, T: 7, "), 3, "has a fixed length"),
    ],
)
def test_a_suites_problem_is_named(change: tuple[str, str], line: int, message: str, tmp_path: Path) -> None:
    assert change[0] in SUITE
    path = suite(tmp_path, SUITE.replace(*change))
    found = [problem for problem in check_file(path) if message in problem]
    assert found, check_file(path)
    assert found[0].startswith(f"{path}:{line}: ")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("task: copy", "task: kopy"), "task: must be the file's name, 'copy', got 'kopy'."),
        (("generator: copy,", "generator: nothing,"), "must name a module of stablebench.data"),
        (("generator: copy,", "generator: psmnist,"), "must have `generate`"),
        (("S: 10,", "Z: 10,"), "data.params.Z: unknown key. Known keys: S, alphabet"),
        (("t200: {length: 200}", "t200: {length: 0}"), "variants.t200.length: must be >"),
        (("t200: {length: 200}", "t200: {lenght: 200}"), "variants.t200.lenght: unknown key. Did you mean length?"),
        (("length: length", "length: lenght"), "length: must be a parameter of copy, got 'lenght'. Did you mean"),
        (("log(alphabet)", "log(alphabets)"), "baselines.0.value: `alphabets` is no numeric parameter"),
        (("(length + 2 * S)", "(length - 100)"), "cannot be computed"),
        (('"1 / alphabet"', '"__import__(1)"'), "baselines.1.value: "),
        (("value: 0.99", 'value: "1 / nothing"'), "target.value: `nothing` is no numeric parameter"),
        (("metric: loss", "metric: los"), "Did you mean loss?"),
        (("readout: every", "readout: evry"), "readout: "),
        (("version: 1", f"version: 1\npublished: [{PUBLISHED}]"), "no variant named 't401'"),
        (("version: 1", "version: 1\nversion: 2"), "the key 'version' stands twice"),
    ],
)
def test_a_cards_problem_is_named(change: tuple[str, str], message: str, tmp_path: Path) -> None:
    path = card(tmp_path, change)
    found = check_file(path)
    assert any(message in problem for problem in found), found
    assert all(problem.startswith(f"{path}:") for problem in found)
    result = validate(path)
    assert result.exit_code == 2
    assert "Traceback" not in result.output


def test_a_file_is_known_by_its_folder_or_by_its_keys(tmp_path: Path) -> None:
    assert kind_of(tmp_path / "recipes" / "copy" / "a.yaml", {}) == "recipe"
    assert kind_of(tmp_path / "suites" / "a.yaml", {}) == "suite"
    assert kind_of(tmp_path / "tasks" / "a.yaml", {}) == "card"
    assert kind_of(tmp_path / "a.yaml", {"task": "a", "data": {}}) == "card"
    assert kind_of(tmp_path / "a.yaml", {"task": "a", "model": "b"}) == "recipe"
    assert kind_of(tmp_path / "a.yaml", {"tasks": [], "models": []}) == "suite"
    assert kind_of(tmp_path / "a.yaml", {"task": "a"}) is None
    (tmp_path / "a.yaml").write_text("colour: red")
    (found,) = check_file(tmp_path / "a.yaml")
    assert "must be a task card" in found


def test_a_users_own_recipe_may_have_any_name(tmp_path: Path) -> None:
    path = tmp_path / "anything.yaml"
    path.write_text(RECIPE)
    assert check_file(path) == []


def test_paths_that_hold_nothing_are_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="no .yaml file"):
        files_in([tmp_path / "empty"])
    with pytest.raises(UserError, match="no such file"):
        files_in([tmp_path / "none"])
    assert validate(tmp_path / "none").exit_code == 2
    assert validate().exit_code == 2


def test_json_has_every_file(tmp_path: Path) -> None:
    good, bad = recipe(tmp_path, RECIPE), suite(tmp_path, SUITE.replace("rnn", "rnnn"))
    result = CliRunner().invoke(app, ["validate", str(tmp_path), "--json"])
    assert result.exit_code == 2
    found = {item["path"]: item["problems"] for item in json.loads(result.stdout)}
    assert found[str(good)] == []
    assert len(found[str(bad)]) == 1


@pytest.mark.parametrize("broken", ["seeds: []", "seeds: [0]\nfeeds: 1", "seeds: [0]\nthreads: many"])
def test_suite_that_schema_refuses_is_looked_up_all_same(broken: str, tmp_path: Path) -> None:
    """A suite that its schema refuses is looked up all the same."""
    text = SUITE.replace("rnn]", "rnnn, lstm, lstm]").replace("copy/t100", "copi").replace("train.steps", "steps")
    path = suite(tmp_path, text.replace("seeds: [0]", f"{broken}\nshort_overrides: {{trian.steps: 1}}"))
    found = check_file(path)
    for message in (
        f"{path}:3: tasks.0.task: No task named 'copi'.",
        f"{path}:3: tasks.0.overrides.steps: must be one of",
        f"{path}:4: models.0: No model named 'rnnn'.",
        f"{path}:4: models.2: lstm stands twice.",
        "short_overrides.trian.steps: must be one of",
    ):
        assert any(message in problem for problem in found), (message, found)
    assert len(found) == 6, found


def test_recipe_that_schema_refuses_is_looked_up_all_same(tmp_path: Path) -> None:
    """A recipe that its schema refuses is looked up all the same."""
    path = recipe(tmp_path, RECIPE.replace("rho: 0.5", "rho: -1").replace("tuned_by: us", "tuned_by: them"))
    found = check_file(path)
    assert len(found) == 2, found
    assert "tuned_by: must be" in found[0] and "params.rho: must be > 0" in found[1]
    text = RECIPE.replace("copy", "copi").replace("model: roarnn", "model: roarn").replace("[", "]")
    found = check_file(recipe(tmp_path, text.replace("hidden: 16", "hidden: wide"), "copi", "roarn"))
    assert [problem.split(": ")[1] for problem in found] == ["task", "model", "hidden"]


def test_only_what_is_shipped_must_say_its_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = recipe(tmp_path, RECIPE.replace("source: a test\ntuned_by: us\nsearch: none\n", ""))
    assert check_file(path) == []
    monkeypatch.setattr("stablebench.resources.recipes_dir", lambda: tmp_path / "recipes")
    assert [problem.split(": ")[1] for problem in check_file(path)] == ["source", "tuned_by"]


def test_an_unknown_key_hides_nothing(tmp_path: Path) -> None:
    text = RECIPE.replace("hidden: 16", "hiden: 16").replace("lr: 0.01", "lr: -1").replace("rho: 0.5", "roh: 0.5")
    found = check_file(recipe(tmp_path, text))
    assert [problem.split(": ")[1] for problem in found] == ["hiden", "params.roh", "optim.lr"]
    text = RECIPE + "variants:\n  - {when: {lenght: 200}}\n  - {when: {lenght: 400}}\n"
    found = check_file(recipe(tmp_path, text))
    assert [problem.split(": ")[1] for problem in found] == ["variants.0.when.lenght", "variants.1.when.lenght"]
    found = check_file(card(tmp_path, ("variants:\n", "colour: red\nvariants:\n  t99: {lenght: 9}\n")))
    assert [problem.split(": ")[1] for problem in found] == ["colour", "variants.t99.lenght"]


@pytest.mark.parametrize(
    ("key", "message"),
    [("train.stepz", "rnn on copy/t200: train.stepz: "), ("model.nothing", "rnn on copy/t200: nothing: ")],
)
def test_a_short_budget_s_problem_is_said_once_for_all_cells(key: str, message: str, tmp_path: Path) -> None:
    text = SUITE.replace("[rnn]", "[rnn, lstm]").replace("tasks:\n", "tasks:\n  - {task: copy/t200}\n")
    path = suite(tmp_path, text + f"short_overrides: {{{key}: 1}}\n")
    (found,) = check_file(path)
    assert found.startswith(f"{path}:7: short_overrides: {message}")


@pytest.mark.parametrize(
    ("task", "model", "message"),
    [
        ("copy", "rnn", "does not run rnn on copy. Did you mean copy/t100? Its tasks: copy/t100."),
        ("copy/t100", "nrnn", "does not run nrnn on copy/t100. Did you mean rnn? Its models there: rnn."),
    ],
)
def test_what_a_suite_runs_is_said_of_a_wrong_expectation(task: str, model: str, message: str, tmp_path: Path) -> None:
    """What a suite runs is said where it does not run what is expected."""
    expected = f"expected: [{{statement: x, task: {task}, model: {model}, reaches: 1}}]\n"
    (found,) = check_file(suite(tmp_path, SUITE + expected))
    assert found.endswith(message)


def test_what_is_no_yaml_file_is_said_to_be_none(tmp_path: Path) -> None:
    path = tmp_path / "my_cell.py"
    path.write_text("class Cell(Base):\n    def f(self): return {1}\n")
    result = validate(path, recipe(tmp_path, RECIPE))
    assert result.exit_code == 2
    assert (
        f"{path}: must be a YAML file (.yaml, .yml): a card, a paper's numbers, a recipe, a suite or a sweep. "
        f"`stablebench check {path}:CLASS` checks a model." in result.stderr
    )
    assert "not valid YAML" not in result.stderr


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("[rnn]", "[rnn, lstm, rnn]"), ":4: models.2: rnn stands twice."),
        (("{task: copy/t100, ", "{task: copy/t100, models: [rnn, rnn], "), ":3: tasks.0.models.1: rnn stands twice."),
        (("{task: copy/t100, ", "{task: copy/t100, models: [], "), ":3: tasks.0.models: must name a model; leave"),
    ],
)
def test_models_that_stand_twice_or_not_at_all_are_named(change: tuple[str, str], message: str, tmp_path: Path) -> None:
    path = suite(tmp_path, SUITE.replace(*change))
    (found,) = check_file(path)
    assert found.startswith(f"{path}{message}")
