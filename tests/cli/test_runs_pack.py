"""`runs pack` and `runs unpack` as a user types them: the same tables, and clear words where weights are missing."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from stablebench.cli.app import app

SMALL = ["--T", "5", "--hidden", "6", "--steps", "12", "--batch-size", "4", "--set", "task.S=2"]
SUITE = ["--models", "rnn,roarnn", "--tasks", "copy", "--seeds", "2", *SMALL, "--set", "train.eval_every=4"]


def call(*words: str | Path) -> Result:
    return CliRunner().invoke(app, [str(word) for word in words])


@pytest.fixture(scope="module")
def there(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the run store `runs`, its archive `a.jsonl`, and what that was unpacked to, `back`."""
    folder = tmp_path_factory.mktemp("archive")
    assert call("compare", *SUITE, "--runs-dir", folder / "runs", "--quiet").exit_code == 0
    result = call("runs", "pack", "--runs-dir", folder / "runs", "-o", folder / "a.jsonl")
    assert result.exit_code == 0 and "a.jsonl: 4 runs, 4 of them new" in result.stdout
    result = call("runs", "unpack", folder / "a.jsonl", "--runs-dir", folder / "back")
    assert result.exit_code == 0 and result.stdout == f"{folder / 'back'}: 4 runs unpacked\n"
    return folder


def first_run(store: Path) -> Path:
    return sorted(store.glob("copy/rnn/*"))[0]


@pytest.mark.parametrize(
    "command",
    [
        ("compare", *SUITE, "--no-run", "--columns", "all", "--statistics"),
        ("compare", *SUITE, "--no-run", "--json"),
        ("compare", *SUITE, "--no-run", "--format", "csv"),
        ("list", "runs", "--json"),
    ],
    ids=lambda command: " ".join((command[0], command[-1])),
)
def test_tables_are_the_same_to_the_byte(command: tuple[str, ...], there: Path) -> None:
    before, after = (call(*command, "--runs-dir", there / store) for store in ("runs", "back"))
    assert before.exit_code == 0 and before.stdout
    assert after.stdout == before.stdout


def test_the_report_has_the_same_tables(there: Path) -> None:
    pages = []
    for store in ("runs", "back"):
        page = there / f"{store}.html"
        assert call("report", "--runs-dir", there / store, "-o", page).exit_code == 0
        pages.append(page.read_text().replace(str(there / store), "STORE").replace(page.name, "PAGE"))
    before, after = ([part.partition("</table>")[0] for part in page.split("<table")[1:]] for page in pages)
    assert len(before) > 3
    of_evaluations = [i for i, table in enumerate(before) if "gradient" not in pages[0].split("<table")[i][-400:]]
    assert [after[i] for i in of_evaluations] == [before[i] for i in of_evaluations]
    assert call("plot", "curves", "--runs-dir", there / "back", "-o", there / "curves.png").exit_code == 0


def test_packing_again_changes_nothing(there: Path) -> None:
    text = (there / "a.jsonl").read_bytes()
    for store in ("runs", "back"):
        result = call("runs", "pack", "--runs-dir", there / store, "-o", there / "a.jsonl")
        assert result.exit_code == 0 and "4 runs, 0 of them new" in result.stdout
        assert (there / "a.jsonl").read_bytes() == text
    assert "0 runs unpacked, 4 were there" in call("runs", "unpack", there, "--runs-dir", there / "back").stdout
    assert call("runs", "pack", *SUITE, "--runs-dir", there / "back", "-o", there / "by_task").exit_code == 0
    assert (there / "by_task" / "copy.jsonl").read_bytes() == text


def test_compare_skips_unpacked_runs(there: Path) -> None:
    records = {path: path.stat().st_mtime_ns for path in (there / "back").glob("*/*/*/record.json")}
    result = call("compare", *SUITE, "--runs-dir", there / "back")
    assert result.exit_code == 0 and "runs to do" not in result.stderr
    assert {path: path.stat().st_mtime_ns for path in (there / "back").glob("*/*/*/record.json")} == records


def test_missing_weights_are_said(there: Path) -> None:
    run = first_run(there / "back")
    said = "the run's weights were not kept, it was unpacked from an archive"
    result = call("evaluate", run)
    assert result.exit_code == 2 and said in result.stderr and "stablebench train --model rnn" in result.stderr
    result = call("train", "--resume", run)
    assert result.exit_code == 0 and "Already finished" in result.stdout and said in result.stdout
    result = call("train", "--resume", run, "--steps", "20")
    assert result.exit_code == 2 and said in result.stderr
    assert said not in call("train", "--resume", first_run(there / "runs")).stdout


def test_an_unpacked_run_is_verified_by_its_evaluations(there: Path) -> None:
    run = first_run(there / "back")
    result = call("verify", run)
    assert result.exit_code == 0, result.output
    curve = run / "metrics.jsonl"
    text = curve.read_text()
    curve.write_text(text.replace('"split": "validation", "loss": ', '"split": "validation", "loss": 1'))
    assert call("verify", run).exit_code == 1
    curve.write_text(text)


def test_an_interrupted_run_starts_again(there: Path, tmp_path: Path) -> None:
    """Its archive has its record, and not the checkpoint that it would be resumed from."""
    store = tmp_path / "runs"
    assert call("runs", "unpack", there / "a.jsonl", "--runs-dir", store).exit_code == 0
    path = first_run(store) / "record.json"
    record = json.loads(path.read_text())
    path.write_text(json.dumps(record | {"status": "interrupted", "step": 8}))
    result = call("compare", *SUITE, "--runs-dir", store)
    assert result.exit_code == 0 and "it starts again from the beginning" in result.stderr
    again = json.loads(path.read_text())
    assert (again["status"], again["result"]["test"]) == ("finished", record["result"]["test"])
    assert not (path.parent / "unpacked.txt").exists()


def test_other_records_are_left_as_they_are(there: Path, tmp_path: Path) -> None:
    run = first_run(there / "runs")
    mine = tmp_path / "runs" / run.relative_to(there / "runs")
    mine.mkdir(parents=True)
    text = (run / "record.json").read_text().replace('"parameters": ', '"parameters": 1')
    (mine / "record.json").write_text(text)
    result = call("runs", "unpack", there / "a.jsonl", "--runs-dir", tmp_path / "runs")
    assert result.exit_code == 1 and "3 runs unpacked" in result.stdout
    assert f"left as they are: copy/rnn/{run.name}" in result.stderr
    assert (mine / "record.json").read_text() == text
    archive = tmp_path / "a.jsonl"
    archive.write_bytes((there / "a.jsonl").read_bytes())
    pack = ("runs", "pack", "--runs-dir", tmp_path / "runs", "-o", archive)
    result = call(*pack)
    assert result.exit_code == 1 and archive.read_bytes() == (there / "a.jsonl").read_bytes()
    assert call(*pack, "--force").exit_code == 0 and archive.read_bytes() != (there / "a.jsonl").read_bytes()


def test_a_damaged_archive_is_one_message(there: Path, tmp_path: Path) -> None:
    archive = tmp_path / "a.jsonl"
    archive.write_text((there / "a.jsonl").read_text().replace('"status":"finished"', '"status":"finnished"', 1))
    result = call("runs", "unpack", archive, "--runs-dir", tmp_path / "runs")
    assert result.exit_code == 2 and not (tmp_path / "runs").exists()
    assert result.stderr.startswith(f"Error: {archive}:3: ") and result.stderr.count("\n") == 1
    assert call("runs", "pack", "--runs-dir", there / "runs", "-o", archive).exit_code == 2
    result = call("runs", "unpack", tmp_path / "none.jsonl")
    assert result.exit_code == 2 and "cannot be read" in result.stderr
