"""What a run on a task of one's own promises: its hash, whose code runs, and that its data are the same."""

import json
import shutil
from pathlib import Path

import pytest
from own_files import CARD, GENERATOR, arrays, as_in_a_new_process, cli, run_of, train, write_npz, write_task

from stablebench.errors import UserError
from stablebench.execution.events import RunCallbacks
from stablebench.execution.local import run_locally
from stablebench.runs.store import run_folder
from stablebench.schema.run_spec import TaskSpec
from stablebench.specs.own_task import card_of_spec
from stablebench.specs.resolve import RunRequest, resolve
from stablebench.training.run import ExecutionOptions


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder that commands are typed in; no code has been named on this machine."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("STABLEBENCH_STATE", str(tmp_path / "state"))
    write_task(tmp_path)
    write_npz(tmp_path / "seqs.npz")
    return tmp_path


def test_a_changed_generator_is_another_run(here: Path) -> None:
    first = train("my_task.yaml")
    assert train("my_task.yaml")["started"] == first["started"]  # it is not run again
    write_task(here, code=GENERATOR.replace("GAIN = 1.0", "GAIN = 2.0"))
    assert train("my_task.yaml")["spec_hash"] != first["spec_hash"]
    write_task(here, code="from helper import GAIN\n" + GENERATOR.replace("GAIN = 1.0\n", ""))
    hashes = set()
    for gain in (1.0, 2.0):
        (here / "helper.py").write_text(f"GAIN = {gain}\n")
        hashes.add(train("my_task.yaml")["spec_hash"])
    assert len(hashes) == 2 and first["spec_hash"] not in hashes


def test_changed_data_are_another_run(here: Path) -> None:
    first = train("seqs.npz")
    x = arrays()["x"]
    x[3, 2, 1] += 1e-9
    write_npz(here / "seqs.npz", x=x)
    assert train("seqs.npz")["spec_hash"] != first["spec_hash"]


@pytest.mark.parametrize(
    ("more", "is_another"),
    [
        ("summary: said otherwise\n", False),
        ("changelog: ['1: first']\n", False),
        ("variants: {t9: {length: 9}}\n", False),
        ("loss: mse\nmetric: nrmse\n", True),
        ("baselines: [{value: 0.5}]\n", True),
        ("version: 2\n", True),
    ],
)
def test_what_of_a_card_decides_a_run(more: str, is_another: bool, here: Path) -> None:
    first = train("my_task.yaml")
    write_task(here, CARD + more)
    assert (train("my_task.yaml")["spec_hash"] != first["spec_hash"]) == is_another


def test_where_the_files_lie_changes_nothing(here: Path) -> None:
    first = train("my_task.yaml")
    (here / "below").mkdir()
    write_task(here / "below")
    moved = train("below/my_task.yaml")
    assert moved["spec_hash"] == first["spec_hash"] and moved["started"] == first["started"]


def test_the_code_of_a_stranger_s_run_is_not_run(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run folder from elsewhere runs nothing because it is read; its own copy runs once it is named."""
    marker = here / "it_ran"
    write_task(here, code=f"open({str(marker)!r}, 'w').close()\n" + GENERATOR)
    run = run_of(train("my_task.yaml"))
    for name in ("my_task.yaml", "my_task.py"):
        (here / name).unlink()
    marker.unlink()
    monkeypatch.setenv("STABLEBENCH_STATE", str(here / "another user"))
    for words in (["evaluate", run], ["verify", run], ["train", "--resume", run], ["probe-gradients", run]):
        as_in_a_new_process()
        result = cli(*words)
        card = run / "code" / "task-card" / "card.yaml"
        assert result.exit_code == 2 and f"add --task {card}" in result.stderr, result.output
    for words in (["list", "runs"], ["show", "run", run], ["report", "runs", "-o", "page.html"], ["validate", here]):
        as_in_a_new_process()
        assert cli(*words).exit_code == 0
    assert not marker.exists()
    as_in_a_new_process()
    named = cli("evaluate", run, "--task", card)
    assert named.exit_code == 0 and marker.exists(), named.output
    as_in_a_new_process()
    assert cli("evaluate", run).exit_code == 0


def test_a_copy_that_was_tampered_with_is_refused(here: Path) -> None:
    run = run_of(train("my_task.yaml"))
    card = run / "code" / "task-card"
    for name, old, new in (("card.yaml", "test: 300", "test: 200"), ("my_task.py", "GAIN = 1.0", "GAIN = 3.0")):
        text = (card / name).read_text()
        (card / name).write_text(text.replace(old, new))
        as_in_a_new_process()
        result = cli("evaluate", run)
        said = "is not the card of this run" if name == "card.yaml" else "which is only run when it is named"
        assert result.exit_code == 2 and said in result.stderr, result.output
        (card / name).write_text(text)
    (card / "origin.json").write_text("{}")
    as_in_a_new_process()
    result = cli("evaluate", run)
    assert result.exit_code == 2 and "the run's copy of its task's card is damaged" in result.stderr
    as_in_a_new_process()
    assert cli("evaluate", run, "--task", "my_task.yaml").exit_code == 0


def test_another_card_that_is_named_for_a_run_is_refused(here: Path) -> None:
    run = run_of(train("my_task.yaml"))
    write_task(here, code=GENERATOR.replace("GAIN = 1.0", "GAIN = 2.0"))
    as_in_a_new_process()
    other = cli("evaluate", run, "--task", "my_task.yaml")
    assert other.exit_code == 2 and "are not those of this run; leave --task out" in other.stderr
    registered = json.loads(
        cli("train", "--model", "rnn", "--task", "copy", "--T", "3", "--steps", "2", "--json", "-q").stdout
    )
    folder = Path("runs/copy/rnn") / f"{registered['spec_hash']}-s0"
    refused = cli("evaluate", folder, "--task", "my_task.yaml")
    assert refused.exit_code == 2 and "the run has its own task, copy" in refused.stderr


def test_data_that_changed_or_moved_are_said_to_have(here: Path) -> None:
    run = run_of(train("seqs.npz"))
    shutil.move(here / "seqs.npz", here / "kept.npz")
    as_in_a_new_process()
    gone = cli("evaluate", run)
    assert gone.exit_code == 2 and f"{here / 'seqs.npz'}: there is no such file" in gone.stderr, gone.output
    as_in_a_new_process()
    named = cli("evaluate", run, "--task", "kept.npz")
    assert named.exit_code == 0, named.output
    write_npz(here / "seqs.npz", y=(arrays()["y"] + 1) % 3)
    as_in_a_new_process()
    changed = cli("evaluate", run)
    assert changed.exit_code == 2 and "the file changed since this run" in changed.stderr


def test_a_process_that_begins_later_runs_what_was_asked_for(here: Path) -> None:
    settings = {"model.hidden": 5, "train.steps": 6, "train.batch_size": 4, "engine": "reference"}
    expected = train("my_task.yaml")["result"]["test"]
    own, data = (resolve(RunRequest("rnn", task, settings=settings)) for task in ("my_task.yaml", "seqs.npz"))
    write_task(here, code=GENERATOR.replace("GAIN = 1.0", "GAIN = 2.0"))
    write_npz(here / "seqs.npz", y=(arrays()["y"] + 1) % 3)
    said: list[str] = []
    ends = []
    told = RunCallbacks(on_update=lambda _, what: said.append(str(what)), on_end=ends.append)
    assert run_locally([own, data], ExecutionOptions(here / "later"), 1, told) == 0
    assert [end.status for end in sorted(ends, key=lambda end: end.index)] == ["finished", "failed"]
    assert run_folder(here / "later", own.spec).read_record().result.test == expected
    assert any("my_task.py changed since the run was asked for" in line for line in said)
    assert any("seqs.npz: the file changed since this run was asked for" in end.message for end in ends)


def test_runs_of_a_changed_task_are_tables_of_their_own(here: Path) -> None:
    train("my_task.yaml", "--seed", "0")
    write_task(here, code=GENERATOR.replace("GAIN = 1.0", "GAIN = 2.0"))
    train("my_task.yaml", "--seed", "1")
    page = cli("report", "runs", "-o", "page.html")
    assert page.exit_code == 0
    board = cli("compare", "--models", "rnn", "--tasks", "my_task.yaml", "--seeds", "2", "--no-run", "--json", "-q")
    assert board.exit_code == 0
    from stablebench import leaderboard
    from stablebench.runs.run_paths import runs_within

    tables = leaderboard.build("all", [run.read_record() for run in runs_within(Path("runs"))]).tables
    assert len(tables) == 2 and len({table.task for table in tables}) == 2, [table.task for table in tables]


def test_a_spec_alone_loads_no_card() -> None:
    as_in_a_new_process()
    spec = TaskSpec(name="my_task", version=1, params={}, source="0" * 64, file="my_task.yaml")
    with pytest.raises(UserError, match=r"a card of your own, which was not loaded; name it: --task my_task\.yaml"):
        card_of_spec(spec)
