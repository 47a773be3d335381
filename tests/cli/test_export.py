"""`stablebench export`: what the files have is what the records have, and nothing is overwritten."""

import csv
import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import stablebench as sb
from stablebench.api import table_files
from stablebench.cli.app import app
from stablebench.runs.curve import read_curve
from stablebench.runs.store import RunFolder

STORE = Path(__file__).parents[1] / "store_0_1_0" / "store"
FOLDERS = sorted(path.parent for path in STORE.rglob("record.json"))


def invoke(*arguments: str | Path, code: int = 0) -> str:
    result = CliRunner().invoke(app, ["export", *map(str, arguments)])
    assert result.exit_code == code, result.output
    return result.output


def expected(folder: Path) -> dict[str, Any]:
    record = RunFolder(folder).read_record()
    return {
        "run": folder.relative_to(STORE).as_posix(),
        "seed": record.spec.seed,
        "status": record.status,
        "test.loss": (record.result.test or {}).get("loss"),
        "model.hidden": record.spec.model.hidden,
        "optim.lr": record.spec.optim.lr,
    }


def read(path: Path) -> list[dict[str, Any]]:
    if path.suffix == ".jsonl":
        return [json.loads(line) for line in path.read_text().splitlines()]
    if path.suffix == ".csv":
        text = {"run", "status"}
        rows = csv.DictReader(path.read_text().splitlines())
        return [{k: v if k in text or not v else _number(v) for k, v in row.items()} for row in rows]
    pyarrow = pytest.importorskip("pyarrow.parquet")
    return pyarrow.read_table(path).to_pylist()


def _number(text: str) -> float | str:
    try:
        return float(text)
    except ValueError:
        return text


@pytest.mark.parametrize("ending", [".jsonl", ".csv", ".parquet"])
def test_a_row_a_run_with_settings_and_metrics(tmp_path: Path, ending: str) -> None:
    if ending == ".parquet":
        pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    path = tmp_path / f"runs{ending}"
    assert f"{len(FOLDERS)} runs" in invoke(path, STORE)
    rows = {row["run"]: row for row in read(path)}
    assert len(rows) == len(FOLDERS) > 4
    for folder in FOLDERS:
        wanted = expected(folder)
        row = rows[wanted["run"]]
        assert {key: row[key] or None if row[key] == "" else row[key] for key in wanted} == wanted


def test_curves_have_a_row_an_evaluation(tmp_path: Path) -> None:
    invoke(tmp_path / "runs.csv", STORE, "--curves", tmp_path / "curves.jsonl")
    rows = read(tmp_path / "curves.jsonl")
    for folder in FOLDERS:
        of_run = [row for row in rows if row["run"] == folder.relative_to(STORE).as_posix()]
        lines = list(read_curve(folder / "metrics.jsonl"))
        assert [{key: row[key] for key in line} for row, line in zip(of_run, lines, strict=True)] == lines
    assert {row["model_name"] for row in rows} >= {"rnn", "cornn"}


def test_of_a_folder_only_its_runs(tmp_path: Path) -> None:
    invoke(tmp_path / "runs.jsonl", STORE / "adding" / "cornn")
    assert [row["model_name"] for row in read(tmp_path / "runs.jsonl")] == ["cornn", "cornn"]


def test_every_eval_ever_writes_a_record_a_model(tmp_path: Path) -> None:
    words = (tmp_path / "data", STORE, "--as", "every-eval-ever", "--organization", "me")
    output = invoke(*words)
    files = list((tmp_path / "data").rglob("*.json"))
    documents = [json.loads(file.read_text()) for file in files]
    assert {document["model_info"]["name"] for document in documents} == {"cornn", "rnn", "roafnn"}
    assert all(document["source_metadata"]["source_organization_name"] == "me" for document in documents)
    assert "no score, not in the records: lstm on copy: no run has ended" in output
    assert "this file exists; --force overwrites it" in invoke(*words, code=2)
    invoke(*words, "--force")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["quick"], "quick: must end in .parquet, .csv, .jsonl. The file comes first: `stablebench export runs"),
        (["runs.xlsx", "quick"], "runs.xlsx: must end in .parquet, .csv, .jsonl."),
        (["runs.csv", "--curves", "curves"], "curves: must end in"),
        (["runs.csv", "--curves", "./runs.csv"], "must be another file than that of the runs"),
        (["data", "--as", "every-eval-ever", "--curves", "c.csv"], "leave one of the two out"),
        (["runs.csv", "nothing"], "neither a suite nor a folder with runs"),
        (["runs.csv"], "There are no runs in runs"),
    ],
)
def test_what_cannot_be_written_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    assert message in invoke(*words, code=2)
    assert not list(tmp_path.iterdir())


def test_a_file_that_exists_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "runs.csv"
    path.write_text("mine")
    assert "--force overwrites it" in invoke(path, STORE, code=2) and path.read_text() == "mine"
    invoke(path, STORE, "--force")
    assert path.read_text() != "mine"


def test_parquet_without_a_package_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    for package in ("pyarrow", "polars"):
        monkeypatch.setitem(sys.modules, package, None)
    assert "needs pyarrow or polars" in invoke(tmp_path / "a.parquet", STORE, code=2)
    assert "pip install pyarrow" in invoke(tmp_path / "a.parquet", STORE, code=2)


def test_an_unreadable_record_is_named(tmp_path: Path) -> None:
    broken = tmp_path / "runs" / "copy" / "rnn" / "x-s0"
    broken.mkdir(parents=True)
    (broken / "record.json").write_text("{")
    (tmp_path / "runs" / "adding").symlink_to(STORE / "adding")
    assert "not exported: " in invoke(tmp_path / "runs.csv", tmp_path / "runs", code=1)
    assert len((tmp_path / "runs.csv").read_text().splitlines()) > 1


COLUMNS: list[dict[str, Any]] = [
    {"a": 1, "b": "x", "c": [0.9, 0.999], "d": float("nan"), "e": True, "big": 2**70},
    {"a": 0.5, "b": 2, "c": None, "d": 1.0, "e": None, "big": 1, "late": "é"},
]


@pytest.mark.parametrize("package", ["pyarrow", "polars"])
def test_a_column_has_one_type(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, package: str) -> None:
    import sys

    pytest.importorskip(package, reason=f"{package} is not installed")
    if package == "polars":
        monkeypatch.setitem(sys.modules, "pyarrow", None)
    table_files.write_rows(tmp_path / "a.parquet", COLUMNS)
    monkeypatch.undo()
    one, two = read(tmp_path / "a.parquet")
    assert (one["a"], two["a"]) == (1.0, 0.5) and (one["b"], two["b"]) == ("x", "2")
    assert (one["c"], two["c"], one["e"], two["e"]) == ("[0.9, 0.999]", None, True, None)
    assert one["d"] != one["d"] and (one["big"], one["late"], two["late"]) == (str(2**70), None, "é")


def test_json_lines_have_every_column_and_no_nan(tmp_path: Path) -> None:
    table_files.write_rows(tmp_path / "a.jsonl", COLUMNS)
    one, two = read(tmp_path / "a.jsonl")
    assert one == COLUMNS[0] | {"d": None, "late": None} and two == COLUMNS[1] | {"c": None, "e": None}
    assert "NaN" not in (tmp_path / "a.jsonl").read_text()


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_listed_runs_are_a_frame(library: Any) -> None:
    module = pytest.importorskip(library, reason=f"{library} is not installed")
    runs = sb.list_runs(STORE)
    frame, curves = runs.to_frame(library=library), runs.to_frame(library=library, curves=True)
    assert isinstance(frame, module.DataFrame) and len(frame) == len(FOLDERS)
    assert list(frame["run"]) == [folder.relative_to(STORE).as_posix() for folder in FOLDERS]
    assert len(curves) == sum(len(list(read_curve(folder / "metrics.jsonl"))) for folder in FOLDERS)


def test_a_frame_without_its_library_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "polars", None)
    with pytest.raises(sb.UserError, match="needs polars, which is not installed: pip install polars"):
        sb.list_runs(STORE).to_frame(library="polars")
    with pytest.raises(sb.UserError, match="No library named 'numpy'"):
        sb.list_runs(STORE).to_frame(library="numpy")  # pyright: ignore[reportArgumentType]
