"""Every command on a task of the user's own."""

import json
from pathlib import Path

import numpy as np
import pytest
from own_files import CARD, SMALL, arrays, as_in_a_new_process, cli, run_of, train, write_npz, write_task

from stablebench.specs.own_task import card_named


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder that commands are typed in, with a generator's card and a data file's."""
    monkeypatch.chdir(tmp_path)
    write_task(tmp_path)
    write_npz(tmp_path / "seqs.npz")
    (tmp_path / "data.yaml").write_text("data: seqs.npz\nsplit: {test: 0.25, seed: 3}\n")
    return tmp_path


def test_a_generator_is_trained_with_a_computed_baseline() -> None:
    record = train("my_task.yaml")
    assert record["status"] == "finished" and record["metric"] == "mse" and record["spec"]["task"]["name"] == "my_task"
    card, _ = card_named("my_task.yaml")
    # the variance of a sum of six uniform numbers is 6 / 12; 30 examples estimate it
    assert record["baseline"] == card.baseline("mse", {"length": 6}) == pytest.approx(0.5, rel=0.5)
    longer = train("my_task.yaml", "--T", "24")
    assert longer["spec"]["task"]["params"] == {"length": 24} and longer["spec"]["horizon"] == 24
    assert longer["baseline"] == pytest.approx(2.0, rel=0.5) and longer["spec_hash"] != record["spec_hash"]


def test_a_data_file_is_trained_by_its_card_or_alone() -> None:
    record = train("data.yaml")
    assert set(record["result"]["test"]) == {"loss", "accuracy", "scaled_accuracy"}
    assert record["selection"].endswith("part of its own")
    card, _ = card_named("data.yaml")
    assert (card.protocol.train, card.protocol.validation, card.protocol.test) == (36, 9, 15)
    shares = np.bincount(arrays()["y"][card_rows("data.yaml")])
    assert record["baseline"] == pytest.approx(shares.max() / shares.sum())
    alone = train("seqs.npz")
    assert alone["spec"]["task"] | {"source": None} == {
        **{"name": "seqs", "version": 1, "variant": None, "params": {}, "source": None, "file": "seqs.npz"}
    }
    assert alone["spec"]["task"]["source"] != record["spec"]["task"]["source"]


def card_rows(task: str) -> list[int]:
    from stablebench.data.source import own_sources

    return own_sources[card_named(task)[0].source or ""].rows["test"].tolist()


@pytest.mark.parametrize(
    ("file", "name"),
    [("Größe 2.npz", "grosse_2"), ("My Data-2.npz", "my_data_2"), ("7.npz", "task_7"), ("度.npz", "task")],
)
def test_a_data_file_without_a_card_is_named_after_itself(file: str, name: str, here: Path) -> None:
    write_npz(here / file)
    assert train(file)["spec"]["task"]["name"] == name


def test_a_file_s_settings_came_from_the_option_that_names_it() -> None:
    result = cli("train", "--model", "rnn", "--task", "data.yaml", *SMALL, "--dry-run")
    origins = {line.split()[0]: line.split("your ")[-1] for line in result.stdout.splitlines() if "your " in line}
    assert {origins["task.source"], origins["task.file"]} == {"--task"}, result.output
    assert "model.source" not in origins


def test_examples_of_a_file_are_not_sought_at_a_publisher() -> None:
    result = cli("data", "export", "seqs.npz", "-o", "out")
    assert result.exit_code == 2 and "in the file that the task names" in result.stderr, result.output
    assert "publishers" in cli("data", "export", "digits", "-o", "out").stderr


def test_it_learns_what_is_in_the_file() -> None:
    result = cli(
        *("train", "--model", "gru", "--task", "data.yaml", "--steps", "120", "--lr", "0.02", "--hidden", "8"),
        *("--batch-size", "16", "--json", "-q"),
    )
    record = json.loads(result.stdout)
    assert record["result"]["test"]["accuracy"] > 0.8 > record["baseline"]


def test_evaluate_verify_and_resume_work_from_the_run(here: Path) -> None:
    record = train("my_task.yaml")
    run = run_of(record)
    for name in ("my_task.yaml", "my_task.py"):
        (here / name).unlink()
    scored = [cli("evaluate", run, "--json"), cli("evaluate", run, "--T", "9", "--json")]
    assert scored[0].exit_code == scored[1].exit_code == 0, scored[0].output + scored[1].output
    score = json.loads(scored[0].stdout)["evaluation"]
    assert score["metrics"]["mse"] == pytest.approx(record["result"]["test"]["mse"], rel=1e-6)
    longer = json.loads(scored[1].stdout)["evaluation"]
    assert longer["params"] == {"length": 9} and longer["baselines"]["mse"] != score["baselines"]["mse"]
    for words in (["verify", run], ["probe-gradients", run, "--what", "flow", "-q"], ["show", "run", run]):
        as_in_a_new_process()
        result = cli(*words)
        assert result.exit_code == 0, result.output
    as_in_a_new_process()
    longer_run = cli("train", "--resume", run, "--steps", "9", "-q", "--json")
    assert longer_run.exit_code == 0 and json.loads(longer_run.stdout)["step"] == 9, longer_run.output


def test_an_interrupted_run_is_resumed(here: Path) -> None:
    from stablebench.runs.store import RunFolder

    record = train("data.yaml")
    folder = RunFolder(run_of(record))
    folder.write_record(folder.read_record().model_copy(update={"status": "interrupted"}))
    as_in_a_new_process()
    resumed = cli("train", "--resume", folder.path, "-q", "--json")
    assert resumed.exit_code == 0, resumed.output
    assert json.loads(resumed.stdout)["result"]["test"] == record["result"]["test"]


def test_compare_ranks_models_on_both_and_on_a_registered_task() -> None:
    words = [*SMALL, "--json", "--workers", "1", "-q"]
    result = cli("compare", "--models", "rnn,gru", "--tasks", "my_task.yaml,seqs.npz,first_recall/t20", *words)
    assert result.exit_code == 0, result.output
    tables = {table["task"]: table for table in json.loads(result.stdout)["tables"]}
    assert set(tables) == {"my_task", "seqs", "first_recall/t20"}
    assert all(len(table["rows"]) == 2 and table["baseline"] is not None for table in tables.values())
    again = cli("compare", "--models", "rnn,gru", "--tasks", "my_task.yaml", *SMALL, "--dry-run", "--json")
    assert again.exit_code == 0 and not any(run["to run"] for run in json.loads(again.stdout)), again.output
    page = cli("report", "runs", "-o", "page.html")
    assert page.exit_code == 0 and "--task my_task.yaml" in Path("page.html").read_text(), page.output


def test_a_suite_names_files_by_their_places_from_its_own(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (here / "my_cell.py").write_text(
        "from stablebench.models.recurrent.rnn import Rnn\n\n\nclass MyCell(Rnn):\n    '''An Elman network.'''\n"
    )
    (here / "my_suite.yaml").write_text(
        "summary: mine\ntasks: [my_task.yaml, {task: seqs.npz, models: rnn}, first_recall/t20]\n"
        "models: rnn, my_cell.py:MyCell\nseeds: 0-1\nmodel_overrides: {'my_cell.py:MyCell': {optim.lr: 0.01}}\n"
        "overrides: {train.steps: 4, model.hidden: 4, train.batch_size: 4, train.eval_every: 2}\n"
    )
    elsewhere = here / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    assert cli("validate", here / "my_suite.yaml").exit_code == 0
    result = cli("compare", here / "my_suite.yaml", "--workers", "1", "--json", "-q")
    assert result.exit_code == 0, result.output
    rows = {table["name"]: table["rows"] for table in json.loads(result.stdout)["tables"]}
    assert {name: sorted(row["model"] for row in own) for name, own in rows.items()} == {
        "my_task": ["MyCell", "rnn"],
        "seqs": ["rnn"],
        "first_recall": ["MyCell", "rnn"],
    }
    assert all(list(row["seeds"]) == ["0", "1"] for own in rows.values() for row in own)
    (here / "my_suite.yaml").write_text("summary: x\ntasks: [my_tsk.yaml]\nmodels: rnn\nseeds: 2\n")
    wrong = cli("validate", here / "my_suite.yaml")
    assert wrong.exit_code == 2 and "there is no file my_tsk.yaml, from the suite's folder or from here" in wrong.stderr


def test_sweep_tune_and_recipes_beside_the_card(here: Path) -> None:
    (here / "space.yaml").write_text("space:\n  optim.lr: {choices: [0.001, 0.01]}\n")
    words = ["--model", "rnn", "--task", "my_task.yaml", *SMALL]
    swept = cli("sweep", *words, "--trials", "2", "--space", "space.yaml", "-q", "--json", "-o", "recipes/rnn.yaml")
    assert swept.exit_code == 0, swept.output
    assert cli("validate", "recipes/rnn.yaml").exit_code == 0
    best = min(json.loads(swept.stdout)["trials"], key=lambda trial: trial["value"])["values"]["optim.lr"]
    as_in_a_new_process()
    planned = json.loads(cli("train", "--model", "rnn", "--task", "my_task.yaml", "--dry-run", "--json").stdout)
    assert planned["spec"]["optim"]["lr"] == best
    assert planned["origin"]["optim.lr"] == "--recipe recipes/rnn.yaml"
    (here / "recipes" / "rnn.yaml").write_text("optim: {lr: 0.5}\n")
    planned = json.loads(cli("train", "--model", "rnn", "--task", "my_task.yaml", "--dry-run", "--json").stdout)
    assert planned["spec"]["optim"]["lr"] == 0.5
    assert cli("validate", "recipes/rnn.yaml").exit_code == 0
    (here / "spaces").mkdir()
    (here / "spaces" / "rnn.yaml").write_text("space:\n  optim.lr: {choices: [0.001, 0.01]}\n")
    (here / "suite.yaml").write_text(
        "summary: x\ntasks: my_task.yaml\nmodels: rnn\nseeds: 1\nequal: [updates, batch, units]\n"
        "overrides: {train.steps: 4, model.hidden: 4, train.batch_size: 4, train.eval_every: 2}\n"
    )
    tuned = cli("tune", "suite.yaml", "--trials", "2", "--spaces", "spaces", "-q")
    assert tuned.exit_code == 0 and (here / "tuned" / "suite" / "my_task" / "rnn.yaml").is_file(), tuned.output
    ranked = cli("compare", "suite.yaml", "--recipes", "tuned/suite", "--workers", "1", "--json", "-q")
    assert ranked.exit_code == 0, ranked.output
    assert json.loads(ranked.stdout)["tables"][0]["rows"][0]["recipe"]["trials"] == 2


def test_show_and_validate_say_what_is_there() -> None:
    shown = cli("show", "task", "data.yaml")
    assert shown.exit_code == 0 and "Sizes: 2 features in, 3 classes out, 7 steps" in shown.stdout, shown.output
    assert "best constant answer" in shown.stdout and "train 36, validation 9, test 15" in shown.stdout
    assert cli("show", "task", "seqs.npz").exit_code == 0
    assert cli("validate", "my_task.yaml", "data.yaml").exit_code == 0
    probed = cli(
        "probe-gradients", "--models", "rnn,gru", "--task", "my_task.yaml", "--what", "jacobian", "--hidden", "5"
    )
    assert probed.exit_code == 0 and "length 6" in probed.stdout, probed.output


def test_a_whole_card_has_variants_targets_and_given_baselines(here: Path) -> None:
    more = (
        "task: sums\nversion: 2\nlength: length\nvariants: {t9: {length: 9}}\n"
        "baselines: [{value: 'length / 12'}]\ntarget: 0.01\n"
    )
    (here / "whole.yaml").write_text(CARD + more)
    record = train("whole.yaml/t9")
    assert record["baseline"] == 0.75 and record["target"] == 0.01 and record["target_metric"] == "mse"
    assert record["spec"]["task"]["variant"] == "t9" and record["spec"]["task"]["version"] == 2
    wrong = cli("train", "--model", "rnn", "--task", "whole.yaml/t8")
    assert wrong.exit_code == 2 and "Task sums has no variant 't8'. Its variants: t9." in wrong.stderr


@pytest.mark.parametrize(
    ("card", "message"),
    [
        ("generator: my_task.py\n", "my_task.yaml:1: `generator` must be FILE.py:FUNCTION, got 'my_task.py'."),
        ("generator: my_task.py:make\n", "there is no function `make`; it has generate."),
        ("generator: other.py:generate\n", "other.py: there is no such file."),
        ("data: nothing.npz\n", "nothing.npz: there is no such file."),
        ("data: nothing.txt\n", "`file` must end in .npz, .csv, .parquet, got 'nothing.txt'."),
        ("protocol: {steps: 3}\n", "one of `generator` (my_task.py:generate) and `file` (data.npz) must be given."),
        (CARD + "metrc: mse\n", "my_task.yaml:3: metrc: unknown key. Did you mean metric?"),
        (CARD + "metric: acuracy\n", "Did you mean accuracy?"),
        (CARD + "readout: both\n", "my_task.yaml:3: readout: must be 'last' or 'every', got 'both' (str)."),
        (CARD.replace("steps: 6", "steps: 0"), "my_task.yaml:2: protocol.steps: must be >= 1, got 0 (int)."),
        (CARD + "params: {lenght: 4}\n", "lenght: unknown key. Did you mean length?"),
        (CARD + "params: {length: long}\n", "length: must be a whole number, got 'long' (str)."),
        (CARD + "task: copy\n", "my_task.yaml:3: stablebench has a task copy; give this one another name"),
        (CARD + "baselines: [{value: 'lengths / 12'}]\n", "`lengths` is no numeric parameter"),
        ("data: seqs.npz\nprotocol: {train: 5}\n", "my_task.yaml:2: protocol.train: the file's parts decide it"),
        ("data: seqs.npz\nsplit: {test: 1.5}\n", "my_task.yaml:2: shares.test: must be < 1, got 1.5 (float)."),
        ("data: {file: seqs.npz, params: {a: 1}}\n", "`params` are a generator's; a file has none."),
        ("data: seqs.npz\nloss: cross_entropy\ninput: tokens\n", "must be (rows, time), got shape (60, 7, 2)"),
    ],
)
def test_a_card_s_mistake_is_one_message(card: str, message: str, here: Path) -> None:
    (here / "my_task.yaml").write_text(card)
    for words in (["validate", "my_task.yaml"], ["train", "--model", "rnn", "--task", "my_task.yaml"]):
        as_in_a_new_process()
        result = cli(*words)
        assert result.exit_code == 2 and message in result.stderr, result.output
        assert "Traceback" not in result.output and len(result.stderr) < 700


DRAW = "import torch\ndef generate(n, *, rng):\n    x = torch.rand(n, 3, generator=rng)\n"


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("def generate(n, length=3):\n    pass\n", "must be called as generate(n, *, rng), got generate(n, length=3)"),
        ("def generate(n, *, size, rng):\n    pass\n", "the argument `size` needs a type annotation"),
        (
            "def generate(n, *, rng):\n    return 1\n",
            "must return (inputs, targets), (inputs, targets, lengths) or a Batch",
        ),
        ("def generate(n, *, rng):\n    1 / 0\n", "failed with ZeroDivisionError: division by zero (my_task.py:2)"),
        (
            "import torch\ndef generate(n, *, rng):\n    return torch.rand(n, 3), torch.rand(n)\n",
            "two equal calls differ",
        ),
        (
            DRAW + "    return x, x[:, 0] > 0.5\n",
            "say in the card how many classes the targets have",
        ),
        (
            DRAW + "    return x[1:], x[:, 0]\n",
            "`inputs` must have a row for each of n = 4 examples, got shape (3, 3)",
        ),
        (
            DRAW + "    return x / 0, x[:, 0]\n",
            "`inputs`, row 0: must be finite numbers, got inf at step 0",
        ),
        ("import nonsense_module\n", "importing it failed with ModuleNotFoundError: No module named 'nonsense_module'"),
        ("def generate(:\n", "my_task.py:1"),
    ],
)
def test_a_generator_s_mistake_is_one_message(code: str, message: str, here: Path) -> None:
    (here / "my_task.py").write_text(code)
    result = cli("train", "--model", "rnn", "--task", "my_task.yaml")
    assert result.exit_code == 2 and message in result.stderr and "Traceback" not in result.output, result.output
    assert "--model" not in result.stderr


@pytest.mark.parametrize(
    ("task", "message"),
    [
        ("my_taks.yaml", "there is no such file; `stablebench new task NAME` writes a card"),
        (
            "my_task.py",
            "a task is named by its card: a file my_task.yaml with the line `generator: my_task.py:generate`",
        ),
        ("coppy", "No task named 'coppy'. Did you mean copy?"),
    ],
)
def test_what_is_no_task_is_said_to_be_none(task: str, message: str) -> None:
    for words in (["train", "--model", "rnn", "--task", task], ["compare", "--models", "rnn", "--tasks", task]):
        result = cli(*words)
        assert result.exit_code == 2 and message in result.stderr, result.output


def test_seeds_and_numpy_serve_a_generator(here: Path) -> None:
    (here / "my_task.py").write_text(
        "import numpy as np\n\n\ndef generate(n, length=5, seed=None):\n    rng = np.random.default_rng(seed)\n"
        "    x = rng.integers(0, 4, (n, length))\n    return x, (x == 3).any(1)\n"
    )
    (here / "my_task.yaml").write_text(CARD + "classes: 2\nalphabet: 4\n")
    record = train("my_task.yaml")
    assert record["metric"] == "accuracy" and record["spec"]["task"]["params"] == {"length": 5}
    assert record["baseline"] == pytest.approx(1 - 0.75**5, abs=0.2)
