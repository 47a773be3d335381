"""Revisions of models: what starts from other numbers is another run, and is not mixed with earlier ones."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from stablebench.cli.app import app
from stablebench.models import registry as model_registry
from stablebench.models.recurrent.rnn import Rnn
from stablebench.models.revisions import model_revision
from stablebench.runs.store import RunFolder, all_runs
from stablebench.schema.run_spec import ModelSpec
from stablebench.specs.resolve import RunRequest, resolve

SMALL = {"model.hidden": 6, "train.steps": 8, "train.batch_size": 4, "train.eval_every": 4, "train.checkpoint_every": 4}
WORDS = [word for key, value in SMALL.items() for word in ("--set", f"{key}={value}")] + ["--T", "5"]


def cli(*words: str) -> Result:
    return CliRunner().invoke(app, list(words))


def spec_hash(model: str, layers: int) -> str:
    return resolve(RunRequest(model, "copy", T=5, options=SMALL | {"model.layers": layers})).spec.spec_hash()


@pytest.fixture
def before(tmp_path: Path) -> RunFolder:
    """Return a run of the first revision."""
    done = cli("train", "--model", "rnn", "--task", "copy", *WORDS, "--runs-dir", str(tmp_path), "-q")
    assert done.exit_code == 0, done.output
    return next(all_runs(tmp_path))


def test_the_first_revision_leaves_the_hash_and_others_change_it(monkeypatch: pytest.MonkeyPatch) -> None:
    first = spec_hash("rnn", 1)
    monkeypatch.setattr(Rnn, "revision", 2)
    assert spec_hash("rnn", 1) != first
    assert spec_hash("lstm", 1) == spec_hash("lstm", 1)


def test_stacked_recurrent_layers_are_one_revision_further() -> None:
    recurrent, deep = model_registry.model_entry("rnn"), model_registry.model_entry("mlp")
    assert [model_revision(recurrent, layers) for layers in (1, 2, 3)] == [1, 2, 2]
    assert [model_revision(deep, layers) for layers in (3, 30)] == [1, 1]


def test_a_record_without_a_revision_is_of_the_first() -> None:
    assert ModelSpec.model_validate({"name": "rnn", "hidden": 4, "layers": 1, "params": {}}).revision == 1


def test_a_run_of_an_earlier_revision_is_not_made_again(before: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Rnn, "revision", 2)
    record = before.read_record()
    before.write_record(record.model_copy(update={"status": "interrupted"}))
    for command in (["verify", str(before.path)], ["train", "--resume", str(before.path)]):
        result = cli(*command)
        assert result.exit_code == 2 and "Traceback" not in result.output
        assert "made by revision 1 of rnn, this version has 2" in result.stderr, result.stderr


def test_its_trained_weights_are_scored_with_a_line(before: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    same = cli("evaluate", str(before.path), "--json")
    assert same.exit_code == 0 and "revision" not in same.stderr
    monkeypatch.setattr(Rnn, "revision", 2)
    other = cli("evaluate", str(before.path), "--json")
    assert other.exit_code == 0 and "made by revision 1 of rnn, this version has 2" in other.stderr
    assert json.loads(other.stdout)["evaluation"] == json.loads(same.stdout)["evaluation"]


def test_it_goes_on_from_its_checkpoint_where_that_is_asked_for(
    before: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = before.read_record()
    monkeypatch.setattr(Rnn, "revision", 2)
    before.checkpoint_path(8).unlink()
    before.write_record(record.model_copy(update={"status": "interrupted"}))
    done = cli("train", "--resume", str(before.path), "--force-resume")
    assert done.exit_code == 0, done.output
    assert before.read_record().result.test == record.result.test
    for path in before.checkpoints():
        path.unlink()
    before.write_record(record.model_copy(update={"status": "interrupted"}))
    begun = cli("train", "--resume", str(before.path), "--force-resume")
    assert begun.exit_code == 2 and "revision 1 of rnn" in begun.stderr


def test_two_revisions_are_two_rows_that_say_so(
    before: RunFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Rnn, "revision", 2)
    again = cli("train", "--model", "rnn", "--task", "copy", *WORDS, "--runs-dir", str(tmp_path), "-q")
    assert again.exit_code == 0, again.output
    page = cli("report", str(tmp_path), "-o", str(tmp_path / "page.html"))
    assert page.exit_code == 0, page.output
    text = (tmp_path / "page.html").read_text()
    assert "rnn (revision 1)" in text and "rnn (revision 2)" in text
    compared = ["compare", "--models", "rnn", "--tasks", "copy", *WORDS, "--seeds", "1", "--no-run", "--json"]
    board = json.loads(cli(*compared, "--runs-dir", str(tmp_path)).stdout)
    rows = [row for table in board["tables"] for row in table["rows"]]
    assert [row["settings"]["revision"] for row in rows] == [2]
